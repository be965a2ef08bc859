"""Writing: whole files or none, and those that belong together at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import trtdsl
from trtdsl.diagnostics import DiagnosticError, UsageError
from trtdsl.output import write_atomically, write_together
from trtdsl.runtime.engine import read_engine

TEXT = "model m() {\n  input x: float32[2, 3]\n  output y = exp(x)\n}\n"

KILLED = """
import os, pathlib, signal, sys, trtdsl
original, left = pathlib.Path.replace, int(sys.argv[1])

def replace(path, target):
    global left
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return original(path, target)

pathlib.Path.replace = replace
trtdsl.compile_file("m.trtnet", None, "m.engine", trtdsl.CompileOptions(tf32=False))
"""
"""A compilation that is killed before it replaces the file of that number."""


def test_files_that_belong_together_are_replaced_together(tmp_path: Path) -> None:
    engine, manifest = tmp_path / "a.engine", tmp_path / "a.engine.json"
    engine.write_bytes(b"old")
    manifest.write_bytes(b"old manifest")
    broken: Any = None
    for files in ({engine: b"new", manifest: broken}, {manifest: b"new manifest", engine: broken}):
        with pytest.raises(TypeError):
            write_together(files)
        assert (engine.read_bytes(), manifest.read_bytes()) == (b"old", b"old manifest")
    write_together({engine: b"new", manifest: b"new manifest"})
    assert (engine.read_bytes(), manifest.read_bytes()) == (b"new", b"new manifest")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.engine", "a.engine.json"]


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError, match=r"cannot write `.*missing"):
        write_atomically(tmp_path / "missing" / "a.engine", b"new")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DiagnosticError, match=r"cannot write `.*folder`: is a directory"):
        write_atomically(tmp_path / "folder", b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("replaced", [0, 1])
@pytest.mark.parametrize("before", ["no engine", "an engine"])
def test_the_next_compilation_mends_what_a_killed_one_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, replaced: int
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.trtnet").write_text(TEXT)
    if before == "an engine":
        # Another input, so that the engines differ.
        Path("old.trtnet").write_text(TEXT.replace("[2, 3]", "[5]"))
        trtdsl.compile_file("old.trtnet", None, "m.engine")
        Path("old.trtnet").unlink()
    killed = subprocess.run([sys.executable, "-c", KILLED, str(replaced)])
    assert killed.returncode == -signal.SIGKILL
    assert [name for name in names(tmp_path) if name.endswith(".tmp")]
    if replaced:
        with pytest.raises(UsageError):
            read_engine("m.engine")
    trtdsl.compile_file("m.trtnet", None, "m.engine")
    assert names(tmp_path) == ["m.engine", "m.engine.json", "m.trtnet"]
    assert read_engine("m.engine")[1].inputs[0].shape == (2, 3)


def test_the_temporary_files_of_others_stay(tmp_path: Path) -> None:
    others = [f".a.engine.{os.getppid()}.tmp", ".b.engine.999999999.tmp", ".a.engine.tmp", "a.engine.1.tmp"]
    for name in (*others, ".a.engine.999999999.tmp"):
        (tmp_path / name).touch()
    write_atomically(tmp_path / "a.engine", b"new")
    assert names(tmp_path) == sorted([*others, "a.engine"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_cannot_be_written_is_not_a_bug(unbuffered: str) -> None:
    command = [sys.executable, "-m", "trtdsl", "ops", "relu"]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
    said = "error: cannot write to standard output: no space left on device\n"
    assert (done.returncode, done.stderr) == (2, said)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_pipe_that_is_closed_ends_a_command_in_silence(unbuffered: str) -> None:
    command = [sys.executable, "-m", "trtdsl", "ops", "relu"]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, env=environment)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")
