"""The plainest sketch: one model, every label in full.

In: a program's statements.  Out: a sketch without blocks and loops, the fallback of the importer and its
oracle.
"""

from __future__ import annotations

from collections.abc import Sequence

from trtdsl.importers.names import hints_of
from trtdsl.importers.program import Program, Ref
from trtdsl.importers.sketch import Block, Item, Sketch, Statement
from trtdsl.types import Symbol, ValueRange


def flat(program: Program, statements: Sequence[Statement]) -> Sketch:
    """The sketch of a program as one model."""
    return of_model(program, tuple(statements), ())


def of_model(program: Program, items: Sequence[Item], blocks: Sequence[Block]) -> Sketch:
    """The sketch of a program whose model has these items."""
    taken = {program.input_names.get(each, each) for each in program.inputs}
    outputs = tuple(
        (f"output_{name}" if name in taken else name, value.value)
        for name, value in program.outputs
        if isinstance(value, Ref)
    )
    model = Block(
        name=program.name,
        parameters=(),
        tensors=tuple(
            (name, f"{type} in {_range(program.values[name])}" if name in program.values else str(type))
            for name, type in program.inputs.items()
        ),
        items=tuple(items),
        returns=tuple(value for _, value in outputs),
        documentation=(f"{program.source}.",) if program.source else (),
        hints={**hints_of(items, blocks), **program.input_names},
    )
    return Sketch(model, tuple(blocks), tuple(map(dimension, program.symbols)), outputs)


def _range(values: ValueRange) -> str:
    """``0 .. 1`` for floats too, as it is written by hand."""
    whole = [int(each) if float(each).is_integer() and abs(each) < 1e15 else each for each in values]
    return f"{whole[0]} .. {whole[1]}"


def dimension(symbol: Symbol) -> str:
    """A dimension's declaration."""
    step = f", step = {symbol.step}" if symbol.step > 1 else ""
    return f"dim {symbol.name} = {symbol.minimum} .. {symbol.optimum} .. {symbol.maximum}{step}"
