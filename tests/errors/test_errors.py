"""What a user reads after a mistake: each ``NAME.trtnet`` here gives exactly the text of ``NAME.err``.

``NAME.json``, where it exists, says more: the model and its parameters, the weights map, and the checkpoint
to bind, with the constants beside it and the prefix of its keys.
``UPDATE_GOLDEN=1 pytest tests/errors`` writes the ``.err`` files anew; read what changed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.errors.checkpoints import CANARY, write_bad, write_weights
from trtdsl.diagnostics import Diagnostic, DiagnosticError, Source, render
from trtdsl.elaborate import elaborate, read_source
from trtdsl.types import DType
from trtdsl.weights.bind import bind
from trtdsl.weights.checkpoint import load_checkpoints

HERE = Path(__file__).parent
NAMES = sorted(path.stem for path in HERE.glob("*.trtnet"))


def diagnostics(name: str, folder: Path) -> tuple[Diagnostic, ...]:
    """What checking a file says, its checkpoint written into ``folder``."""
    sidecar = HERE / f"{name}.json"
    settings: dict[str, Any] = json.loads(sidecar.read_text()) if sidecar.exists() else {}
    source = Path(f"{name}.trtnet")
    try:
        lines = Path(settings.get("weights_map", ""))
        found = elaborate(
            read_source(source, str(source)),
            str(source),
            settings.get("model"),
            settings.get("defines"),
            weights_map=Source(str(lines), read_source(lines, str(lines))) if lines.name else None,
        )
        if "weights" not in settings and "checkpoint" not in settings:
            return found.warnings
        os.chdir(folder)
        path = Path("weights.pth")
        if "weights" in settings:
            write_weights(path, settings["weights"])
        else:
            write_bad(path, settings["checkpoint"])
        wanted = settings.get("weights_dtype")
        dtype = wanted if wanted in (None, "model") else DType(wanted)
        files = [path]
        if "constants" in settings:
            files.append(Path("m.constants.safetensors"))
            write_weights(files[1], settings["constants"])
        bound = bind(found.graph, load_checkpoints(files), dtype, prefix=settings.get("prefix"))
        return (*found.warnings, *bound.warnings)
    except DiagnosticError as error:
        return error.diagnostics


@pytest.mark.parametrize("name", NAMES)
def test_mistake_reads_as_written(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    text = "\n\n".join(map(render, diagnostics(name, tmp_path))) + "\n"
    assert not (tmp_path / CANARY).exists(), "the checkpoint's code was executed"
    golden = HERE / f"{name}.err"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_every_golden_text_has_its_source() -> None:
    assert {path.stem for path in HERE.glob("*.err")} == set(NAMES)
