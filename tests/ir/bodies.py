"""Operators with bodies, for tests: a loop unrolled when it is lowered, and a choice made by a parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from trtdsl.elaborate.builtins import prelude
from trtdsl.ops.base import OPERATORS, Function, Op, Signature
from trtdsl.ops.lowering import Network, Tensor
from trtdsl.ops.refused import Refused
from trtdsl.types import TensorType


class Repeat(Function, abstract=True):
    """``state = body(state, other)``, some times over."""

    name = "repeat_times"
    bodies = ("body",)
    examples = ("repeat_times",)

    times: int = 2

    def body_inputs(self, state: TensorType, other: TensorType) -> Mapping[str, tuple[TensorType, ...]]:
        return {"body": (state, other)}

    def infer(self, state: TensorType, other: TensorType, *, bodies: Mapping[str, Signature]) -> TensorType:
        if bodies["body"].outputs != (state,):
            raise Refused("the body must give the type that it takes", "state")
        return state

    def lower(
        self, net: Network, state: Tensor, other: Tensor, *, bodies: Mapping[str, Callable[..., Any]]
    ) -> Tensor:
        for _ in range(self.times):
            (state,) = bodies["body"](state, other)
        return state

    def reference(
        self, torch: Any, state: Any, other: Any, *, bodies: Mapping[str, Callable[..., Any]]
    ) -> Any:
        for _ in range(self.times):
            (state,) = bodies["body"](state, other)
        return state


class Run(Function, abstract=True):
    """``body(input)``."""

    name = "run_once"
    bodies = ("body",)
    examples = ("run_once",)

    def body_inputs(self, input: TensorType) -> Mapping[str, tuple[TensorType, ...]]:
        return {"body": (input,)}

    def infer(self, input: TensorType, *, bodies: Mapping[str, Signature]) -> tuple[TensorType, ...]:
        return bodies["body"].outputs

    def lower(self, net: Network, input: Tensor, *, bodies: Mapping[str, Callable[..., Any]]) -> Any:
        return bodies["body"](input)

    def reference(self, torch: Any, input: Any, *, bodies: Mapping[str, Callable[..., Any]]) -> Any:
        return bodies["body"](input)


class Either(Function, abstract=True):
    """``first(input)`` or ``second(input)``, as ``take_first`` says."""

    name = "either"
    bodies = ("first", "second")
    examples = ("either",)

    take_first: bool = True

    def body_inputs(self, input: TensorType) -> Mapping[str, tuple[TensorType, ...]]:
        return {"first": (input,), "second": (input,)}

    def infer(self, input: TensorType, *, bodies: Mapping[str, Signature]) -> tuple[TensorType, ...]:
        if bodies["first"].outputs != bodies["second"].outputs:
            raise Refused("both bodies must give the same types", "input")
        return bodies["first"].outputs

    def lower(self, net: Network, input: Tensor, *, bodies: Mapping[str, Callable[..., Any]]) -> Any:
        return bodies["first" if self.take_first else "second"](input)

    def reference(self, torch: Any, input: Any, *, bodies: Mapping[str, Callable[..., Any]]) -> Any:
        return bodies["first" if self.take_first else "second"](input)


@contextmanager
def declared(*operators: type[Op]) -> Iterator[None]:
    """The language has these operators within the block, and forgets them behind it."""
    for operator in operators:
        operator.register()
    prelude.cache_clear()
    try:
        yield
    finally:
        for operator in operators:
            del OPERATORS[operator.name]
        prelude.cache_clear()
