"""From a module to text: the whole way.

In: a ``torch.nn.Module`` and the types of its inputs.  Out: an :class:`Imported`, the text and what stands
in the file beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trtdsl.diagnostics import Diagnostic, DiagnosticError
from trtdsl.importers.blocks import structured
from trtdsl.importers.capture import capture
from trtdsl.importers.constants import place_constants
from trtdsl.importers.constructed import Constructed
from trtdsl.importers.flat import flat, of_model
from trtdsl.importers.growing import with_growing_lists
from trtdsl.importers.program import Array, Operation, Program
from trtdsl.importers.recognise import with_attention
from trtdsl.importers.simplify import simplify
from trtdsl.importers.translate import Untranslated, constants_of, translatable, translate
from trtdsl.importers.tree import dissolved, tree_of
from trtdsl.importers.write import write
from trtdsl.ir.names import identifier
from trtdsl.syntax import format_text
from trtdsl.types import Symbol, TensorType

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Imported:
    """A text and the arrays that it needs beside the state dict, by the labels of its constants."""

    text: str
    constants: Mapping[str, Array]


def import_module(
    module: nn.Module,
    inputs: Mapping[str, TensorType],
    dims: Mapping[str, Symbol],
    *,
    name: str = "",
    source: str = "",
    is_flat: bool = False,
    constructed: Constructed | None = None,
) -> Imported:
    """A module's text; ``dims`` are the dynamic dimensions that the inputs' types name.

    ``constructed`` has the arguments of the modules' constructors, which name the blocks' parameters.

    The module is put into eval mode. Raises :class:`~trtdsl.diagnostics.DiagnosticError` with all that
    cannot be imported.
    """
    wish = name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(module).__name__).lower()
    program = capture(module.eval(), identifier(wish), inputs, dims, source, constructed)
    return import_program(program, is_flat=is_flat)


def import_program(program: Program, *, is_flat: bool = False) -> Imported:
    """A captured program's text."""
    program = with_growing_lists(with_attention(simplify(place_constants(program, translatable()))))
    try:
        statements = translate(program)
    except Untranslated as error:
        raise DiagnosticError(*_missing(error.missing)) from None
    if is_flat:
        sketch = flat(program, statements)
    else:
        items, blocks = structured(program, dissolved(tree_of(statements)))
        sketch = of_model(program, items, blocks)
    return Imported(format_text(write(sketch)), constants_of(statements, program))


def _missing(missing: Sequence[tuple[Operation, str]]) -> list[Diagnostic]:
    """One message for each operation that the language lacks: how often, where in the module, where in
    the source.
    """
    together: dict[tuple[str, str], list[Operation]] = {}
    for operation, reason in missing:
        together.setdefault((operation.name, reason), []).append(operation)
    found: list[Diagnostic] = []
    for (name, reason), operations in together.items():
        first = operations[0]
        times = "" if len(operations) == 1 else f", {len(operations)} times"
        place = f" in `{first.calls[-1].path}` ({first.calls[-1].name})" if first.calls else ""
        lines = tuple(f"{frame}: {frame.code}" for frame in first.frames[-1:])
        found.append(Diagnostic(f"`{name}`{place} cannot be imported: {reason}{times}", help=lines))
    return found
