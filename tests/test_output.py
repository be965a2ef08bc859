"""Writing: whole files or none, and those that belong together at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trtdsl.diagnostics import DiagnosticError
from trtdsl.output import write_atomically, write_together


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
    with pytest.raises(DiagnosticError, match=r"cannot write `.*folder`: Is a directory"):
        write_atomically(tmp_path / "folder", b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]
