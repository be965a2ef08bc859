"""Small files that ask for gigabytes or hours: each is answered in seconds and a few hundred megabytes.

Every file is opened, bound and read in a process of its own, whose memory and CPU time are limited.
"""

from __future__ import annotations

import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from trtdsl.weights import safetensors, state_dict, torch_zip, zip_archive
from trtdsl.weights import tensor as tensors

MEMORY = 600  # MB beyond what Python needs with its libraries imported
SECONDS = 12  # of CPU time; no case needs more than four
PROGRAM = """
import re, resource, sys
from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate_text
from trtdsl.weights import bind, load_checkpoint
import safetensors, zipfile

path, memory, seconds = sys.argv[1:4]
graph = elaborate_text("model m() { input x: float32[2, 4] output y = x -> fc: Linear(4) }")
status = open("/proc/self/status").read()
used = int(re.search(r"VmSize:\\s*(\\d+)", status)[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + int(memory) * 2**20,) * 2)
spent = int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2])) + 1
resource.setrlimit(resource.RLIMIT_CPU, (spent + int(seconds),) * 2)
try:
    weights = load_checkpoint(path)
    for key in weights:
        weights[key]
    print("loaded", len(weights))
    for warning in bind(graph, weights).warnings:
        print(warning)
    print("bound")
except DiagnosticError as error:
    print(error)
"""


def answer(path: Path, *, memory: int = MEMORY) -> str:
    """What is printed about a file within the limits."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), str(memory), str(SECONDS)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, (done.returncode, done.stdout[-500:], done.stderr[-2000:])
    assert len(done.stdout) < 20_000
    return done.stdout


# --- How the files are made -------------------------------------------------------------------------------


def archive(path: Path, records: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as target:
        for name, data in records.items():
            target.writestr(f"archive/{name}", data)
    return path


def deflated(block: bytes, times: int) -> bytes:
    """A block many times over, compressed, without having all of it in memory."""
    machine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    start = machine.compress(block) + machine.flush(zlib.Z_FULL_FLUSH)
    again = machine.compress(block) + machine.flush(zlib.Z_FULL_FLUSH)
    return start + again * (times - 1) + machine.flush()


def zip_of(path: Path, name: bytes, compressed: bytes, size: int) -> Path:
    """An archive of one deflated record that says how large it is."""
    sizes = struct.pack("<3L2H", 0, len(compressed), size, len(name), 0)
    local = struct.pack("<4s5H", b"PK\3\4", 20, 0, 8, 0, 0) + sizes + name
    entry = struct.pack("<4s6H", b"PK\1\2", 20, 20, 0, 8, 0, 0) + sizes + struct.pack("<3H2L", 0, 0, 0, 0, 0)
    entry += name
    begin = len(local) + len(compressed)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(entry), begin, 0)
    path.write_bytes(local + compressed + entry + end)
    return path


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<L", len(data)) + data


def tensor(size: int) -> bytes:
    """The instructions that push a float32 tensor of so many elements, over storage `0`."""
    count = b"J" + struct.pack("<L", size)
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + count + b"tQ"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\0(" + count + b"t(K\1t\x89NtR"


def legacy(path: Path, found: bytes) -> Path:
    """A checkpoint of the old format around a pickled object that needs no storage."""
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
    path.write_bytes(magic + b"\x80\2M\xe9\x03." + b"\x80\2}." + b"\x80\2" + found + b"\x80\2].")
    return path


def colliding_keys(count: int) -> bytes:
    """A dict of integer keys that all have the hash 0."""
    keys = [(index * (2**61 - 1)).to_bytes(10, "little") for index in range(count)]
    return b"}(" + b"".join(b"\x8a\x0a" + key + b"N" for key in keys) + b"u."


def nested(depth: int, width: int) -> bytes:
    """Dicts in dicts, each in all the places of the one around it: width**depth paths."""
    found = b"}"
    for level in range(depth):
        keys = b"".join(text(f"k{index}") + b"h" + bytes([level]) for index in range(width))
        found += b"q" + bytes([level]) + b"}(" + keys + b"u"
    return found + b"."


# --- The files --------------------------------------------------------------------------------------------


def _two_to_the_thirty(path: Path) -> Path:
    compressed = deflated(b"}" * 2**20, 2**10)
    return zip_of(path, b"archive/data.pkl", compressed, 2**30)


def _compressed_pickle(path: Path) -> Path:
    return archive(path, {"data.pkl": b"\x80\2" + b"}0" * 4_000_000 + b"}."}, zipfile.ZIP_DEFLATED)


def _large_storage(path: Path) -> Path:
    found = b"\x80\2}" + text("fc.weight") + tensor(16) + b"s."
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("archive/data.pkl", found)
        target.writestr("archive/data/0", bytes(2**28))
    return path


def _shared_storage(path: Path) -> Path:
    weight = tensor(2**22)
    keys = b"".join(text(f"w{index}") + b"h\0" for index in range(5000))
    found = b"\x80\2" + weight + b"q\x000}(" + keys + b"u."
    return archive(path, {"data.pkl": found, "data/0": bytes(2**24)}, zipfile.ZIP_DEFLATED)


def _wrapped_key(path: Path) -> Path:
    found = b"\x80\2}" + text("module." * 200_000 + "fc.weight") + tensor(16) + b"s."
    return archive(path, {"data.pkl": found, "data/0": bytes(64)})


def _wrapped_safetensors(path: Path) -> Path:
    entry = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    header = json.dumps({"module." * 200_000 + "fc.weight": entry}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
    return path


def _many_keys(path: Path) -> Path:
    keys = b"".join(text(f"f{index}.weight") + b"h\0" for index in range(100_000))
    found = b"\x80\2" + tensor(16) + b"q\x000}(" + keys + b"u."
    return archive(path, {"data.pkl": found, "data/0": bytes(64)})


def _dict_in_many_places(path: Path) -> Path:
    inner = b"}(" + b"".join(text(f"n{index}") + b"N" for index in range(40_000)) + b"uq\0"
    outer = b"}(" + b"".join(text(f"k{index}") + b"h\0" for index in range(40_000)) + b"u."
    return archive(path, {"data.pkl": b"\x80\2" + inner + b"0" + outer})


FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "2**30 opcodes": (_two_to_the_thirty, "expand to 1073741824, more than 16 times as many"),
    "compressed pickle": (_compressed_pickle, "has a pickle of 8000004 bytes compressed into a file of"),
    "large compressed storage": (_large_storage, "more than 16 times as many; torch.save compresses nothing"),
    "shared compressed storage": (_shared_storage, "loaded 5000"),
    "a key of wrappers": (_wrapped_key, "has a key of 1400009 characters, `module.module."),
    "a key of wrappers, safetensors": (_wrapped_safetensors, "has a key of 1400009 characters, `module."),
    "keys that collide": (
        lambda path: archive(path, {"data.pkl": b"\x80\2" + colliding_keys(300_000)}),
        "holds no state dict; its keys are `0`, `2305843009213693951`",
    ),
    "keys that collide, legacy": (
        lambda path: legacy(path, colliding_keys(300_000)),
        "holds no state dict; its keys are `0`, `2305843009213693951`",
    ),
    "deep tuple as a key, legacy": (
        lambda path: legacy(path, b"})" + b"\x85" * 1_000_000 + b"Ns."),
        "holds no state dict; its keys are `tuple`",
    ),
    "one dict in many places": (_dict_in_many_places, "holds no state dict; its keys are `k0`, `k1`"),
    "dicts in dicts": (
        lambda path: archive(path, {"data.pkl": b"\x80\2" + nested(8, 300)}),
        "holds no state dict; its keys are `k0`, `k1`",
    ),
    "dicts in dicts, legacy": (
        lambda path: legacy(path, nested(8, 300)),
        "holds no state dict; its keys are `k0`, `k1`",
    ),
    "100,000 keys and none of them": (_many_keys, "the checkpoint has none of the 2 keys of model `m`"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_small_file_costs_little(tmp_path: Path, name: str):
    make, expected = FILES[name]
    path = make(tmp_path / "w.pth")
    assert path.stat().st_size < 5_000_000
    assert expected in answer(path)


# --- Paths ------------------------------------------------------------------------------------------------


def _fifo(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def _loop(folder: Path) -> Path:
    (folder / "a").symlink_to(folder / "b")
    (folder / "b").symlink_to(folder / "a")
    return folder / "a"


PATHS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "/dev/zero": (lambda _: Path("/dev/zero"), "is not a regular file"),
    "FIFO": (_fifo, "is not a regular file"),
    "link to /dev/zero": (
        lambda folder: ((folder / "z").symlink_to("/dev/zero"), folder / "z")[1],
        "is not a regular file",
    ),
    "loop of links": (_loop, "too many levels of symbolic links"),
    "long name": (lambda folder: folder / ("x" * 5000), "file name too long"),
    "long path": (lambda folder: folder / ("x/" * 50_000), "file name too long"),
    "long folder": (lambda folder: folder / ("x" * 5000) / "w.pth", "file name too long"),
}


@pytest.mark.parametrize("name", PATHS)
def test_a_path_that_leads_to_no_file(tmp_path: Path, name: str):
    make, expected = PATHS[name]
    path = make(tmp_path)
    found = answer(path)
    assert expected in found
    assert str(path)[:60] in found


SHARDS: dict[str, tuple[Callable[[Path], str], str]] = {
    "100,000 characters": (lambda _: "x" * 100_000, "xxxx` is missing"),
    "256 characters": (lambda _: "x" * 256, "xxxx` is missing"),
    "FIFO": (lambda folder: _fifo(folder).name, "pipe`: it is not a regular file"),
    "loop of links": (lambda folder: _loop(folder).name, "too many levels"),
    "/dev/zero": (lambda folder: ((folder / "z").symlink_to("/dev/zero"), "z")[1], "is not a regular file"),
    "the index itself": (lambda _: "model.index.json", "is not a checkpoint"),
}


@pytest.mark.parametrize("name", SHARDS)
def test_a_shard_that_is_no_file(tmp_path: Path, name: str):
    make, expected = SHARDS[name]
    index = tmp_path / "model.index.json"
    index.write_text(json.dumps({"weight_map": {"fc.weight": make(tmp_path)}}))
    assert expected in answer(index)


def test_an_index_larger_than_any_is_not_parsed(tmp_path: Path):
    index = tmp_path / "model.index.json"
    with index.open("wb") as file:
        file.write(b'{"weight_map": ')
        file.truncate(2**28)
    assert "is neither a checkpoint nor the index of one: it has 268435456 bytes" in answer(index)


def test_the_bounds_are_documented():
    page = (Path(__file__).parents[2] / "docs" / "checkpoints.md").read_text()
    bounds = page.partition("## Bounds")[2]
    whole, times = zip_archive.ALWAYS_EXPANDED, zip_archive.MOST_EXPANSION
    for row in (
        f"a key | {state_dict.LONGEST_KEY} characters",
        f"the rank of a tensor | {tensors.MAX_RANK} |",
        f"{whole >> 20} MiB, and {times} times the size of the file",
        f"the size of the file, or {torch_zip.ALWAYS_RUN >> 20} MiB",
        f"{tensors.ALWAYS_ALLOWED >> 20} MiB, or {tensors.MAX_EXPANSION} times its storage",
        f"an index | {safetensors.MAX_HEADER:,} bytes",
    ):
        assert row in bounds
