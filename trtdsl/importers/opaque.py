"""Recurrent networks kept whole while ``torch.export`` runs a module.

In: a module being exported.  Out: the same, in which ``torch.lstm``, ``gru`` and ``rnn`` are single
operations of their own, ``trtdsl_import::lstm``: PyTorch's unroll along the sequence where tensors have no
values, which would fix its length.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import Any

from trtdsl.diagnostics import Diagnostic, DiagnosticError
from trtdsl.importers.places import running_place, span_of
from trtdsl.importers.schemas import NAMESPACE

_NAMES = ("lstm", "gru", "rnn_tanh", "rnn_relu")
_SCHEMA = (
    "(Tensor input, Tensor[] hx, Tensor[] params, bool has_biases, int num_layers, bool bidirectional,"
    " bool batch_first) -> "
)


@contextmanager
def recurrences_kept() -> Generator[None]:
    """In the meantime each call of a recurrent network is one operation.

    Raises :class:`~trtdsl.diagnostics.DiagnosticError` where one is called with a packed sequence.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    functions = {getattr(torch, name): name for name in _NAMES}
    packing: Any = getattr(torch, "_pack_padded_sequence")  # noqa: B009

    class Kept(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is packing:
                raise DiagnosticError(_packed())
            if func not in functions:
                return func(*args, **(kwargs or {}))
            return _call(functions[func], *args, **(kwargs or {}))

    _define()
    with Kept():
        yield


def _call(
    name: str,
    input: Any,
    hx: Any,
    params: Any,
    has_biases: Any,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: Any = None,
) -> Any:
    import torch

    if not isinstance(has_biases, bool):
        # A packed sequence comes with its batches' sizes, one argument more.
        raise DiagnosticError(_packed())
    states = list(hx) if isinstance(hx, (list, tuple)) else [hx]
    operation = getattr(getattr(torch.ops, NAMESPACE), name)
    return operation(input, states, list(params), has_biases, num_layers, bidirectional, bool(batch_first))


def _packed() -> Diagnostic:
    place = running_place()
    return Diagnostic(
        "a packed sequence cannot be imported: its sizes are the values of the lengths",
        span_of(*place) if place else None,
        help=(
            "give the network the padded tensor, and mask behind it what lies past each sequence's end:"
            " `torch.where(mask, y, 0)`",
        ),
    )


@cache
def _define() -> Any:
    """The operations, once for the process."""
    import torch

    library = torch.library.Library(NAMESPACE, "DEF")
    for name in _NAMES:
        results = ", ".join(["Tensor"] * (3 if name == "lstm" else 2))
        library.define(f"{name}{_SCHEMA}({results})")
        library.impl(name, _run(name), "CPU")
        library.impl(name, _shaped, "Meta")
    return library


def _run(name: str) -> Any:
    """What an operation computes: PyTorch's own."""
    import torch

    def run(
        input: Any, hx: Any, params: Any, has_biases: bool, num_layers: int, bidirectional: bool, first: bool
    ) -> Any:
        states = tuple(hx) if name == "lstm" else hx[0]
        options = (has_biases, num_layers, 0.0, False, bidirectional, first)
        return getattr(torch, name)(input, states, params, *options)

    return run


def _shaped(
    input: Any, hx: Any, params: Any, has_biases: bool, num_layers: int, bidirectional: bool, first: bool
) -> Any:
    """The shapes of what an operation computes."""
    # The recurrent weights act on what is handed on, which is narrower where it is projected.
    width = params[1].shape[1] * (2 if bidirectional else 1)
    output = input.new_empty((*input.shape[:-1], width))
    return (output, *(each.new_empty(each.shape) for each in hx))
