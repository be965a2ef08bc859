"""The wheel ships the grammar worked out: no start of the command line has to wait for that."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class GrammarHook(BuildHookInterface):
    """Puts what lark makes of the grammar beside it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        root = Path(self.root)
        spec = importlib.util.spec_from_file_location("grammar", root / "trtdsl" / "syntax" / "grammar.py")
        assert spec and spec.loader
        grammar = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(grammar)
        self._folder = tempfile.TemporaryDirectory()
        shipped = Path(self._folder.name) / grammar.SERIALISED
        _, serialised = grammar.build((root / "grammar" / "trtnet.lark").read_bytes())
        shipped.write_bytes(serialised)
        build_data["force_include"][str(shipped)] = f"trtdsl/grammar/{grammar.SERIALISED}"
