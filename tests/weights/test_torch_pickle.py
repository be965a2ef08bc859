"""Pickles that want more than tensors: nothing of theirs runs, and none of them can exhaust the machine."""

from __future__ import annotations

import os
import pickle
import resource
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from trtdsl.diagnostics import DiagnosticError
from trtdsl.weights import load_checkpoint


class Attack:
    """Creates the file it is given when it is unpickled by Python."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(2, 2)


ATTACKS = {
    "posix.system": lambda mark: Attack(os.system, f"touch {mark}"),
    "builtins.eval": lambda mark: Attack(eval, f"open({str(mark)!r}, 'w')"),
    "io.open": lambda mark: Attack(open, str(mark), "w"),
    "builtins.getattr": lambda mark: Attack(getattr, mark, "touch"),
    "torch.serialization.load": lambda mark: Attack(torch.load, str(mark)),
}


def legacy(value: object, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def plain(value: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(value, protocol=4))


@pytest.mark.parametrize("save", [torch.save, legacy, plain])
@pytest.mark.parametrize("name", ATTACKS)
def test_code_is_named_and_not_executed(tmp_path: Path, name: str, save: Callable[[object, Path], None]):
    mark, path = tmp_path / "mark", tmp_path / "w.pth"
    save({"x": torch.ones(1) if save is not plain else 1, "y": ATTACKS[name](mark)}, path)
    with pytest.raises(DiagnosticError) as caught:
        load_checkpoint(path)
    assert f"has code in its pickle (`{name}`); refused, nothing was executed" in str(caught.value)
    assert not mark.exists()


def test_the_attack_would_work_on_python(tmp_path: Path):
    mark = tmp_path / "mark"
    pickle.loads(pickle.dumps(ATTACKS["posix.system"](mark)))
    assert mark.exists()


@pytest.mark.parametrize("save", [torch.save, legacy])
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_a_whole_module_is_explained(tmp_path: Path, save: Callable[[object, Path], None]):
    save(Net(), tmp_path / "w.pth")
    with pytest.raises(DiagnosticError) as caught:
        load_checkpoint(tmp_path / "w.pth")
    assert f"holds a whole pickled module (`{Net.__module__}.Net`), not a state dict" in str(caught.value)
    assert "torch.save(model.state_dict(), path)" in str(caught.value)


@pytest.fixture
def little_memory() -> Iterator[None]:
    """At most 1 GiB more than now: an allocation by an untrusted size fails instead of passing unseen."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**30, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


def archive(path: Path, data: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as target:
        target.writestr("archive/data.pkl", data)
        target.writestr("archive/data/0", bytes(64))
    return path


def tensor(size: bytes, stride: bytes, offset: bytes = b"K\0", numel: bytes = b"K\x10") -> bytes:
    """The pickle of ``{"x": tensor}`` over 16 floats."""
    storage = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0000X\3\0\0\0cpu" + numel + b"tQ"
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + offset + size + stride + b"\x89NtR"
    return b"\x80\2}X\1\0\0\0x" + rebuild + b"s."


HUGE = b"\x8a\x09" + (2**64).to_bytes(9, "little")
BOMBS = {
    "memo index": b"\x80\2]r\xff\xff\xff\xff.",
    "bytes": b"\x80\4\x8e" + struct.pack("<Q", 2**40) + b"x.",
    "bytearray": b"\x80\5\x96" + struct.pack("<Q", 2**40) + b"x.",
    "text": b"\x80\4\x8d" + struct.pack("<Q", 2**62) + b"x.",
    "long": b"\x80\2\x8b\xff\xff\xff\x7fx.",
    "deep tuple as a key": b"\x80\2})" + b"\x85" * 1_000_000 + b"Ns.",
    "deep lists": b"\x80\2}N" + b"]" * 1_000_000 + b"a" * 999_999 + b"s.",
    "marks": b"\x80\2" + b"(" * 1_000_000 + b".",
    "list in itself": b"\x80\2]q\0h\0a.",
    "dict in itself": b"\x80\2}q\0X\5\0\0\0modelh\0s.",
    "long name": b"\x80\4\x8c\1aX"
    + struct.pack("<L", 10**6)
    + b"a" * 10**6
    + b"q\0"
    + b"\x8c\1ah\0\x93" * 10**5
    + b".",
    "doubling lists": b"\x80\2]q\0" + b"(h\0h\0eh\0" * 1000 + b".",
    "size": tensor(b"(" + HUGE + b"t", b"(K\1t"),
    "expansion": tensor(b"(\x8a\5\0\0\0\0\1K\2t", b"(K\0K\0t"),
    "too many elements": tensor(b"(K\x11t", b"(K\1t"),
    "offset": tensor(b"(K\x10t", b"(K\1t", offset=b"K\1"),
    "negative offset": tensor(b"(K\1t", b"(K\1t", offset=b"J\xff\xff\xff\xff"),
    "negative stride": tensor(b"(K\2t", b"(J\xff\xff\xff\xfft", offset=b"K\1"),
    "negative size": tensor(b"(J\xff\xff\xff\xfft", b"(K\1t"),
    "size of true": tensor(b"(\x88t", b"(K\1t"),
    "rank": tensor(b"(" + b"K\1" * 65 + b"t", b"(" + b"K\1" * 65 + b"t"),
    "ranks differ": tensor(b"(K\1t", b"(t"),
    "storage larger than its record": tensor(b"(K\1t", b"(K\1t", numel=b"M\0\1"),
    "empty but huge": tensor(b"(K\0" + HUGE + b"t", b"(K\1K\1t"),
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.usefixtures("little_memory")
def test_absurd_pickles_are_refused(tmp_path: Path, name: str):
    with pytest.raises(DiagnosticError):
        load_checkpoint(archive(tmp_path / "w.pth", BOMBS[name]))


def test_the_tensor_those_were_made_from_is_fine(tmp_path: Path):
    weights = load_checkpoint(archive(tmp_path / "w.pth", tensor(b"(K\4K\4t", b"(K\1K\4t")))
    assert weights["x"].shape == (4, 4)


def test_no_import_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DiagnosticError, match=r"`trap\.boom`"):
        load_checkpoint(archive(tmp_path / "w.pth", b"\x80\2ctrap\nboom\n)R."))


def test_names_from_the_file_are_made_printable(tmp_path: Path):
    with pytest.raises(DiagnosticError) as caught:
        load_checkpoint(archive(tmp_path / "w.pth", b"\x80\2cevil\x1b[31m\nname\r\n)R."))
    assert "\x1b" not in str(caught.value)
    assert "\r" not in str(caught.value)


@pytest.mark.parametrize("warnings", ["error", "default"])
def test_a_name_with_a_broken_escape_is_a_diagnostic(tmp_path: Path, warnings: str):
    path = archive(tmp_path / "w.pth", b"\x80\2cevil\nna\\dme\n)R.")
    program = f"import trtdsl; trtdsl.load_weights({str(path)!r})"
    command = [sys.executable, "-W", warnings, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "trtdsl.diagnostics.DiagnosticError: error: `" in done.stderr
