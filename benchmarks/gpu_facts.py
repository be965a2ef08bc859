"""What is known of a row's engines once they are built; it lies beside ours.

`float16.built.json` holds what the engines are made of and what building fills in the row:

    {"made of": {"batch": 8, ...}, "build_s": 31.2, "layers": 84, "onnx_build_s": 28.0, "onnx_failure": ""}

While the ONNX route's engine is being built, the same lies in `float16.ours.json`. TensorRT may abort the
process there, so that only who has begun the process (`gpu_many.py`) can say why there is one engine alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpu_table import Row

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from trtdsl.output import write_atomically

FACTS = ("build_s", "layers", "onnx_build_s", "onnx_failure")
"""Fields of a row that building fills."""
BUILT, OURS = ".built.json", ".ours.json"


def engine_of(folder: Path, row: Row) -> Path:
    """Where our engine of a row lies, among those of every model."""
    name = "-".join(filter(None, (row.precision, row.variant)))
    return folder / row.model / f"{name}.engine"


class Facts:
    """The files of facts of one engine of ours."""

    def __init__(self, engine: Path) -> None:
        self._built, self._ours = engine.with_suffix(BUILT), engine.with_suffix(OURS)

    def forget(self) -> None:
        self._built.unlink(missing_ok=True)
        self.forget_ours()

    def forget_ours(self) -> None:
        """Forget that the ONNX route was ever begun."""
        self._ours.unlink(missing_ok=True)

    def begin_onnx(self, row: Row, made_of: Mapping[str, Any]) -> None:
        """Our engine is built, and the other is next."""
        known = {"made of": made_of, **{name: getattr(row, name) for name in FACTS}}
        write_atomically(self._ours, json.dumps(known).encode())

    def finish(self, row: Row, made_of: Mapping[str, Any]) -> None:
        """All is built that can be."""
        self.begin_onnx(row, made_of)
        self._ours.replace(self._built)

    def finish_without_onnx(self, why: str) -> bool:
        """Whether the ONNX route had been begun and not ended; it has failed then."""
        if not self._ours.exists():
            return False
        known = {**json.loads(self._ours.read_text()), "onnx_failure": why}
        write_atomically(self._ours, json.dumps(known).encode())
        self._ours.replace(self._built)
        return True

    def fill(self, row: Row, made_of: Mapping[str, Any] | None = None) -> bool:
        """Whether all is built, of ``made_of`` if given; the row has the facts then."""
        known = json.loads(self._built.read_text()) if self._built.exists() else {}
        if not known or made_of not in (None, known["made of"]):
            return False
        vars(row).update({name: known[name] for name in FACTS})
        return True


def built_in(folder: Path, precision: str) -> list[Row]:
    """The rows whose engines are built, without variants."""
    rows = [Row(path.parent.name, precision) for path in sorted(folder.glob(f"*/{precision}{BUILT}"))]
    return [row for row in rows if Facts(engine_of(folder, row)).fill(row)]
