"""What the command line imports.

In: ``torchvision.models:resnet18``, ``model.py:Net``, ``model.pt2`` or ``model.onnx``, and what stands behind
the options.  Out: an :class:`~trtdsl.importers.module.Imported` and the module that it is of.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from trtdsl.diagnostics import Diagnostic, UsageError
from trtdsl.importers.capture import capture, read_range
from trtdsl.importers.constructed import Constructed, recording
from trtdsl.importers.inputs import Inputs, read_inputs
from trtdsl.importers.module import Imported, checked_import, import_exported, name_of
from trtdsl.importers.onnx_import import import_onnx

if TYPE_CHECKING:
    from torch import nn


ONNX = ".onnx"


class Opened(msgspec.Struct, frozen=True):
    """A source, opened: a module with its inputs, or an exported program."""

    source: str
    name: str
    module: Any
    exported: Any = None
    inputs: Inputs | None = None
    dims: Mapping[str, str] = {}
    constructed: Constructed | None = None

    @property
    def onnx(self) -> Path | None:
        """The file, where it is of ONNX."""
        return Path(self.source) if self.source.endswith(ONNX) else None

    def imported(self, *, is_flat: bool = False) -> Imported:
        """Its text, checked."""
        if self.onnx is not None:
            dims = {name: read_range(name, range) for name, range in self.dims.items()}
            return import_onnx(self.onnx, dims, name=self.name, is_flat=is_flat)
        if self.exported is not None:
            return import_exported(
                self.exported, self.dims, name=self.name, source=self.source, is_flat=is_flat
            )
        assert self.inputs
        captured = capture(self.module, self.name, self.inputs, self.source, self.constructed)
        from trtdsl.verification.oracle import state_of

        return checked_import(captured, state_of(self.module), is_flat)


def open_source(
    source: str,
    inputs: Mapping[str, str],
    dims: Mapping[str, str],
    arguments: Mapping[str, Any],
    weights: Path | None,
    name: str,
) -> Opened:
    """What a path stands for; raises :class:`~trtdsl.diagnostics.UsageError`."""
    from trtdsl.verification.oracle import load_module, load_state, object_at, require_export, with_ties
    from trtdsl.weights import load_checkpoints

    if source.endswith(ONNX):
        _refuse_for_files(input=inputs, arg=arguments, weights=weights)
        _require_file(source)
        return Opened(source, name or Path(source).stem, None, dims=dims)
    require_export("`trtdsl import`")
    if source.endswith(".pt2"):
        _refuse_for_files(input=inputs, arg=arguments, weights=weights)
        _require_file(source)
        exported = _load_exported(source)
        return Opened(source, name or Path(source).stem, exported.module(), exported, dims=dims)
    found = object_at(source)
    with recording() as constructed:
        _, module = load_module(found, arguments, "`trtdsl import`")
    if not inputs:
        raise UsageError(_without_inputs(source, module))
    if weights is not None:
        state = with_ties(module, load_checkpoints((weights,)))
        load_state(source, module, state)
    attribute = source.rpartition(":")[2].rpartition(".")[2]
    called = attribute if attribute.islower() else name_of(module)
    read = read_inputs(inputs, dims)
    return Opened(source, name or called, module.eval(), inputs=read, constructed=constructed)


def _load_exported(source: str) -> Any:
    import torch

    try:
        return torch.export.load(source)
    except Exception as error:  # torch's errors have no common base
        message = f"torch.export cannot load `{source}`: {type(error).__name__}: {_first_line(error)}"
        raise UsageError(Diagnostic(message)) from error


def _require_file(source: str) -> None:
    if not Path(source).is_file():
        raise UsageError(Diagnostic(f"cannot read `{source}`: no such file"))


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), "")


def _refuse_for_files(**given: Any) -> None:
    for option, value in given.items():
        if value:
            text = f"`--{option}` is about a module: a file has its inputs and weights already"
            raise UsageError(Diagnostic(text))


def _without_inputs(source: str, module: nn.Module) -> Diagnostic:
    signature = re.sub(r"'|torch\.(?=Tensor)", "", str(inspect.signature(module.forward)))
    takes = f"it is called with {signature.partition(' ->')[0]}"
    first = next(iter(inspect.signature(module.forward).parameters), "x")
    advice = f"--input '{first}=float32[N, 3, 224, 224]', with letters for dynamic dimensions"
    return Diagnostic(f"what {source} takes is not known: give the type of each input", help=(takes, advice))
