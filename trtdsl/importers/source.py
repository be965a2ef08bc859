"""What the command line imports.

In: ``torchvision.models:resnet18``, ``model.py:Net``, ``model.pt2`` or ``model.onnx``, and what
the options say.  Out: an :class:`~trtdsl.importers.module.Imported` and the module that it is of.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any
from zipfile import is_zipfile

import msgspec

from trtdsl.diagnostics import Diagnostic, UsageError, cannot_read
from trtdsl.importers.capture import capture, read_range
from trtdsl.importers.constructed import Constructed, recording
from trtdsl.importers.inputs import Inputs, read_inputs
from trtdsl.importers.likely import likely_type
from trtdsl.importers.module import Imported, checked_import, import_exported, name_of
from trtdsl.importers.onnx_import import import_onnx
from trtdsl.ir.names import identifier
from trtdsl.syntax.source import is_checkpoint

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

    def with_weights(self, imported: Imported) -> Imported:
        """With the module's own weights too, to be written beside the text."""
        from trtdsl.verification.oracle import state_of

        if self.inputs is None:
            return imported
        assert imported.graph
        state = state_of(self.module)
        keys = [weight.key for weight in imported.graph.weights if not weight.constant]
        return msgspec.structs.replace(imported, weights={key: state[key] for key in keys})


def open_source(
    source: str,
    inputs: Mapping[str, str],
    dims: Mapping[str, str],
    arguments: Mapping[str, Any],
    weights: Path | None,
    name: str,
) -> Opened:
    """What a path stands for; raises :class:`~trtdsl.diagnostics.UsageError`."""
    from trtdsl.verification.loading import load_module, object_at, require_export
    from trtdsl.verification.oracle import load_state, with_ties
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
    if is_checkpoint(Path(source)):
        raise UsageError(_of_weights(source))
    found = object_at(source)
    with recording() as constructed:
        _, module = load_module(found, arguments, "`trtdsl import`", name=source)
    if not inputs:
        raise UsageError(_without_inputs(source, module))
    _require_all(source, module, inputs)
    if weights is not None:
        state = with_ties(module, load_checkpoints((weights,)))
        load_state(source, module, state)
    read = read_inputs(inputs, dims)
    called = name or _called(source, found, arguments, module)
    return Opened(source, called, module.eval(), inputs=read, constructed=constructed)


def _called(source: str, found: object, arguments: Mapping[str, Any], module: nn.Module) -> str:
    """A model's name: of what makes many models that which it is told first, ``create_model("resnet18")``;
    else the maker's own, or the class's."""
    attribute = source.rpartition(":")[2].rpartition(".")[2]
    if inspect.isroutine(found):
        told = arguments.get(_needed_first(found))
        if isinstance(told, str):
            return identifier(told.rpartition("/")[2])
        verb, _, made = attribute.partition("_")
        if verb in _VERBS:
            # PyTorch's own containers say no more.
            is_plain = type(module).__module__.startswith("torch.")
            return made or verb if is_plain else name_of(module)
    return attribute if attribute.islower() else name_of(module)


_VERBS = frozenset(("build", "create", "from", "get", "load", "make"))
"""How the names of makers begin that say nothing of what they make."""


def _needed_first(maker: Callable[..., Any]) -> str:
    """The first parameter of a maker, if that has no default."""
    try:
        first = next(iter(inspect.signature(maker).parameters.values()), None)
    except (TypeError, ValueError):  # of what is not written in Python
        return ""
    return first.name if first and first.default is inspect.Parameter.empty else ""


def _of_weights(source: str) -> Diagnostic:
    help = f"name what makes the module: `trtdsl import package.module:Class --weights {quote(source)}`"
    return Diagnostic(f"`{source}` holds weights, not the network that they belong to", help=(help,))


def _load_exported(source: str) -> Any:
    import torch

    if not is_zipfile(source):
        # torch prints a traceback of its own before it raises.
        raise UsageError(
            Diagnostic(f"torch.export cannot load `{source}`: torch.export.save did not write it")
        )
    try:
        return torch.export.load(source)
    except Exception as error:  # torch's errors have no common base
        message = f"torch.export cannot load `{source}`: {type(error).__name__}: {_first_line(error)}"
        raise UsageError(Diagnostic(message)) from error


def _require_file(source: str) -> None:
    if not Path(source).is_file():
        raise cannot_read(source, "is a directory" if Path(source).is_dir() else "no such file")


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), "")


def _refuse_for_files(**given: Any) -> None:
    for option, value in given.items():
        if value:
            text = f"`--{option}` is about a module: a file has its inputs and weights already"
            raise UsageError(Diagnostic(text))


def _require_all(source: str, module: nn.Module, inputs: Mapping[str, str]) -> None:
    """Refuse inputs without one that ``forward`` needs."""
    parameters = inspect.signature(module.forward).parameters
    known = [each for each in parameters.values() if each.kind in _NAMED]
    by_name = all(name in parameters for name in inputs)
    left = [each for each in known if each.name not in inputs] if by_name else known[len(inputs) :]
    missing = [each.name for each in left if each.default is inspect.Parameter.empty]
    if missing:
        text = f"{source} takes {_signature(module)}: `{missing[0]}` is not given"
        advice = f"--input '{missing[0]}={likely_type(module, missing[0])}'"
        raise UsageError(Diagnostic(text, help=(advice,)))


_NAMED = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)


def _signature(module: nn.Module) -> str:
    signature = re.sub(r"'|torch\.(?=Tensor)", "", str(inspect.signature(module.forward)))
    return signature.partition(" ->")[0]


def _without_inputs(source: str, module: nn.Module) -> Diagnostic:
    takes = f"it is called with {_signature(module)}"
    first = next(iter(inspect.signature(module.forward).parameters), "x")
    advice = f"--input '{first}={likely_type(module, first)}', with letters for dynamic dimensions"
    return Diagnostic(f"what {source} takes is not known: give the type of each input", help=(takes, advice))
