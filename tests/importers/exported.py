"""Modules as files of PyTorch's ONNX exporter, with the text that their exported programs give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from trtdsl.importers.module import import_exported

RANGES = {"N": "1 .. 2 .. 16", "S": "2 .. 8 .. 64"}


class Exported:
    """A module as a file, and the text that its exported program gives."""

    def __init__(self, make: Callable[[], tuple[nn.Module, tuple[Any, ...], Any]], folder: Path) -> None:
        torch.manual_seed(0)
        module, arguments, axes = make()
        with torch.no_grad():
            for each in module.parameters():
                each.add_(0.01 * torch.randn_like(each))
        ranges = {"N": torch.export.Dim("N", min=1, max=16), "S": torch.export.Dim("S_", min=2, max=64)}
        shapes = tuple({axis: ranges[name] for axis, name in each.items()} for each in axes)
        program = torch.export.export(module, arguments, dynamic_shapes=shapes)
        used = {name: each for name, each in RANGES.items() if name in str(axes)}
        self.module = module
        self.wanted = import_exported(program, used, name="net")
        self._given, self._axes, self._folder = arguments, axes, folder

    def path(self, *, is_optimized: bool = False) -> Path:
        """The module's file, which is written when it is first asked for."""
        path = self._folder / f"model{is_optimized}.onnx"
        if not path.exists():
            assert self.wanted.graph
            outputs = [each.name for each in self.wanted.graph.outputs]
            torch.onnx.export(
                self.module, self._given, path, dynamic_shapes=self._axes, output_names=outputs,
                dynamo=True, optimize=is_optimized, verbose=False, external_data=False,
            )  # fmt: skip
        return path

    def read(self) -> Any:
        return onnx.load(str(self.path()))
