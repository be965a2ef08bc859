"""Layers that an exporter took apart, put together again.

In: a program as the file has it.  Out: one in which a layer norm, gelu, silu, hardswish, RMS norm or
attention made of small operations is one operation; what nobody reads any more is left for ``simplify``::

    before: x * 0.5 * (erf(x / 1.4142135) + 1)
    after:  gelu(x)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from trtdsl.importers.onnx_types import result_types
from trtdsl.importers.program import Argument, Operation, Program, Ref
from trtdsl.ops.refused import Refused
from trtdsl.types import TensorType

_ROOTS = frozenset({"mul", "div", "add", "matmul"})
_RESHAPES = ("reshape", "flatten", "squeeze", "unsqueeze")


def recognized(program: Program, called: Mapping[str, str] = {}) -> Program:
    """The program with what its operations together are.

    ``called`` says of a value which call of the source it is a part of: operations of several are left apart.
    """
    found = _Recognizer(program, called)
    for operation in program.operations:
        found.take(operation)
    return msgspec.structs.replace(program, operations=tuple(found.operations), types=found.types)


class _Recognizer:
    """Operations so far, and what made each value."""

    def __init__(self, program: Program, called: Mapping[str, str]) -> None:
        self._called = called
        self._call = ""
        self.types: dict[str, TensorType] = dict(program.types)
        self.operations: list[Operation] = []
        self._made: dict[str, Operation] = {}

    def take(self, operation: Operation) -> None:
        """The next operation, or what it is the last part of."""
        self._call = self._called.get(operation.results[0], "")
        if operation.name in _ROOTS:
            for rule in _RULES:
                found = rule(self, operation)
                if found is not None and self._fits(found, operation):
                    operation = Operation(*found, operation.results, operation.calls, operation.frames)
                    break
        operation = self._undone(operation)
        self.operations.append(operation)
        self._made |= dict.fromkeys(operation.results, operation)

    def _undone(self, operation: Operation) -> Operation:
        """What undoes a move of elements in front of it is what was there before, by another name."""
        if operation.name == "permute":
            source = self._unturned(operation)
        else:
            source = self._unshaped(operation) if operation.name in _RESHAPES else None
        if source is None:
            return operation
        return msgspec.structs.replace(operation, name="alias", arguments={"self": source})

    def _unturned(self, operation: Operation) -> Ref | None:
        """The source of a permutation whose order this one turns back."""
        value = operation.arguments["self"]
        while alias := self.made(value, "alias"):
            value = alias.arguments["self"]
        before = self.made(value, "permute")
        if before is None:
            return None
        first: Any = before.arguments["dims"]
        second: Any = operation.arguments["dims"]
        source = before.arguments["self"]
        is_same = [first[each] for each in second] == list(range(len(first)))
        return source if is_same and isinstance(source, Ref) else None

    def _unshaped(self, operation: Operation) -> Ref | None:
        """The tensor that had this shape before others gave it another."""
        value = operation.arguments["self"]
        while before := self.made(value, "alias", "permute", *_RESHAPES):
            value = before.arguments["self"]
            if not isinstance(value, Ref) or self._moves(before, value):
                return None
            if self.types[value.value] == self.types[operation.results[0]]:
                return value
        return None

    def _moves(self, operation: Operation, source: Ref) -> bool:
        """Whether a permutation is more than a reshape."""
        order: Any = operation.arguments.get("dims", ())
        kept = [each for each in order if self.types[source.value].shape[each] != 1]
        return operation.name == "permute" and kept != sorted(kept)

    def _fits(self, found: tuple[str, Mapping[str, Argument]], operation: Operation) -> bool:
        try:
            types = result_types(*found, self.types)
        except Refused:
            return False
        return types[0] == self.types[operation.results[0]]

    def made(self, value: Argument, *names: str) -> Operation | None:
        """The operation that made a value, where it is one of these."""
        found = self._made.get(value.value) if isinstance(value, Ref) else None
        if found is None or found.name not in names:
            return None
        return found if self._called.get(found.results[0], "") == self._call else None

    def add(self, name: str, calls: Any, /, **arguments: Argument) -> Ref:
        """A further operation in front."""
        result, number = f"{name}_again", 1
        while result in self.types:
            number += 1
            result = f"{name}_again_{number}"
        (self.types[result],) = result_types(name, arguments, self.types)
        self.operations.append(Operation(name, arguments, (result,), calls))
        self._made[result] = self.operations[-1]
        return Ref(result)

    def factors(self, value: Argument, depth: int = 3) -> tuple[float, list[Ref]]:
        """A product as its number and its tensors; powers of a tensor are it several times."""
        number, tensors = 1.0, list[Ref]()
        operation = self.made(value, "mul", "div", "pow") if depth else None
        if operation is None:
            return (1.0, [value]) if isinstance(value, Ref) else (_number(value), [])
        left, right = _sides(operation)
        if operation.name == "pow":
            count = _number(right)
            if count in (2, 3):
                inner, several = self.factors(left, depth - 1)
                return inner ** int(count), several * int(count)
            return 1.0, [Ref(operation.results[0])]
        if operation.name == "div":
            if isinstance(right, Ref):
                return 1.0, [Ref(operation.results[0])]
            number, tensors = self.factors(left, depth - 1)
            return number / _number(right), tensors
        for side in (left, right):
            more, others = self.factors(side, depth - 1)
            number, tensors = number * more, [*tensors, *others]
        return number, tensors

    def shape(self, value: Argument) -> tuple[Any, ...]:
        return self.types[value.value].shape if isinstance(value, Ref) else ()

    def swapped(self, value: Argument) -> Ref | None:
        """Of a matrix the one that it is the transposed of."""
        operation = self.made(value, "permute")
        if operation is None:
            return self._swapped_between(value)
        dims: Any = operation.arguments["dims"]
        source = operation.arguments["self"]
        order = (*dims[:-2], dims[-1], dims[-2])
        if order == tuple(range(len(order))):
            return source if isinstance(source, Ref) else None
        return self.add("permute", operation.calls, self=source, dims=order)

    def _swapped_between(self, value: Argument) -> Ref | None:
        """The same where the batch's dimensions are one while the last two change places."""
        behind = self.made(value, "reshape")
        turned = self.made(behind.arguments["self"], "permute") if behind else None
        front = self.made(turned.arguments["self"], "reshape") if turned else None
        if turned is None or front is None or turned.arguments["dims"] != (0, 2, 1):
            return None
        source = front.arguments["self"]
        (*lead, length, width), joined = self.shape(source), self.shape(turned.arguments["self"])
        is_whole = joined[1:] == (length, width) and self.shape(value) == (*lead, width, length)
        return source if is_whole and isinstance(source, Ref) else None


Found = tuple[str, dict[str, Argument]] | None


def _number(value: Argument) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    return math.nan


def _sides(operation: Operation) -> tuple[Argument, Argument]:
    left, right, *_ = operation.arguments.values()
    return left, right


def _is(value: float, wanted: float) -> bool:
    return math.isclose(value, wanted, rel_tol=1e-6)


def _orders(operation: Operation) -> Iterator[tuple[Argument, Argument]]:
    left, right = _sides(operation)
    yield left, right
    yield right, left


def _plus(known: _Recognizer, value: Argument, number: float) -> Argument:
    """What a number is added to; None where none is."""
    operation = known.made(value, "add")
    for side, other in _orders(operation) if operation else ():
        if _is(_number(other), number):
            return side
    return None


# --- Activations ------------------------------------------------------------------------------------------


def _activation(known: _Recognizer, operation: Operation) -> Found:
    if operation.name not in ("mul", "div"):
        return None
    number, tensors = _product(known, operation)
    if len(tensors) != 2:
        return None
    for x, gate in (tensors, tensors[::-1]):
        found = _gated(known, x, gate, number)
        if found:
            return found
    return None


def _product(known: _Recognizer, operation: Operation) -> tuple[float, list[Ref]]:
    left, right = _sides(operation)
    number, tensors = known.factors(left)
    if operation.name == "div":
        return (number / _number(right), tensors) if not isinstance(right, Ref) else (number, [])
    more, others = known.factors(right)
    return number * more, [*tensors, *others]


def _gated(known: _Recognizer, x: Ref, gate: Ref, number: float) -> Found:
    """``x`` times a gate that it opens itself."""
    if sigmoid := known.made(gate, "sigmoid"):
        scale, tensors = known.factors(sigmoid.arguments["self"])
        return ("silu", {"self": x}) if number == 1 and scale == 1 and tensors == [x] else None
    if hard := known.made(gate, "hardsigmoid"):
        return ("hardswish", {"self": x}) if number == 1 and hard.arguments["self"] == x else None
    if clipped := known.made(gate, "hardtanh"):
        is_six = _is(number, 1 / 6) and clipped.arguments.get("max_val") == 6
        shifted = _plus(known, clipped.arguments["self"], 3)
        return ("hardswish", {"self": x}) if is_six and shifted == x else None
    if not _is(number, 0.5):
        return None
    inner = _plus(known, gate, 1)
    if erf := known.made(inner, "erf"):
        scale, tensors = known.factors(erf.arguments["self"])
        return ("gelu", {"self": x}) if _is(scale, math.sqrt(0.5)) and tensors == [x] else None
    if tanh := known.made(inner, "tanh"):
        scale, tensors = known.factors(tanh.arguments["self"])
        if _is(scale, math.sqrt(2 / math.pi)) and len(tensors) == 1 and _is_cubic(known, tensors[0], x):
            return "gelu", {"self": x, "approximate": "tanh"}
    return None


def _is_cubic(known: _Recognizer, value: Ref, x: Ref) -> bool:
    """Whether a value is ``x + 0.044715 x³``."""
    operation = known.made(value, "add")
    for side, other in _orders(operation) if operation else ():
        number, tensors = known.factors(other)
        if side == x and _is(number, 0.044715) and tensors == [x, x, x]:
            return True
    return False


# --- Normalisations ---------------------------------------------------------------------------------------


def _normalization(known: _Recognizer, operation: Operation) -> Found:
    """``(x - mean) / sqrt(variance + eps)``, and the same without the mean."""
    if operation.name not in ("mul", "div"):
        return None
    for above, below in _orders(operation) if operation.name == "mul" else (_sides(operation),):
        inside = _under_root(known, below, operation.name == "div")
        squares, eps = _with_epsilon(known, inside)
        mean = known.made(squares, "mean")
        if mean is None or not isinstance(above, Ref):
            continue
        dims = _last_dims(known, mean, above)
        number, tensors = known.factors(mean.arguments["self"])
        if not dims or number != 1 or tensors != [above, above]:
            continue
        given: dict[str, Argument] = {"normalized_shape": known.shape(above)[-dims:], "eps": eps}
        source = _centred(known, above, dims)
        if source is not None:
            return "layer_norm", {"input": source, **given}
        return "rms_norm", {"input": above, **given}
    return None


def _under_root(known: _Recognizer, value: Argument, divides: bool) -> Argument:
    root = known.made(value, "sqrt" if divides else "rsqrt")
    if root is not None:
        return root.arguments["self"]
    inverse = known.made(value, "reciprocal") if not divides else None
    inner = known.made(inverse.arguments["self"], "sqrt") if inverse else None
    return inner.arguments["self"] if inner else None


def _with_epsilon(known: _Recognizer, value: Argument) -> tuple[Argument, float]:
    operation = known.made(value, "add")
    for side, other in _orders(operation) if operation else ():
        if not math.isnan(_number(other)):
            return side, _number(other)
    return None, 0.0


def _last_dims(known: _Recognizer, mean: Operation, of: Ref) -> int:
    """How many last dimensions a mean is over; 0 where it is over others."""
    dims: Any = mean.arguments["dim"]
    rank = len(known.shape(of))
    is_last = mean.arguments.get("keepdim") and tuple(dims) == tuple(range(rank - len(dims), rank))
    return len(dims) if is_last else 0


def _centred(known: _Recognizer, value: Ref, dims: int) -> Argument:
    """What a value is the difference of from its own mean."""
    operation = known.made(value, "sub")
    if operation is None:
        return None
    source, mean = _sides(operation)
    found = known.made(mean, "mean")
    if found is None or found.arguments["self"] != source or not isinstance(source, Ref):
        return None
    return source if _last_dims(known, found, source) == dims else None


def _affine(known: _Recognizer, operation: Operation) -> Found:
    """A factor or a summand right after a normalisation, as its weight or bias."""
    for side, weight in _orders(operation):
        norm = known.made(side, "layer_norm", "rms_norm")
        if norm is None or not isinstance(weight, Ref):
            continue
        if known.shape(weight) != norm.arguments["normalized_shape"]:
            continue
        has = norm.arguments.keys()
        if operation.name == "mul" and not {"weight", "bias"} & has:
            return norm.name, {**norm.arguments, "weight": weight}
        if operation.name == "add" and norm.name == "layer_norm" and "weight" in has and "bias" not in has:
            return norm.name, {**norm.arguments, "bias": weight}
    return None


# --- Attention --------------------------------------------------------------------------------------------


def _attention(known: _Recognizer, operation: Operation) -> Found:
    """``softmax(q @ kᵀ * scale + mask) @ v``, whether or not rows without any key are guarded."""
    if operation.name != "matmul":
        return None
    weights, value = _sides(operation)
    softmax = known.made(_unguarded(known, weights), "softmax")
    rank = len(known.shape(value))
    if softmax is None or rank < 3 or softmax.arguments["dim"] != rank - 1:
        return None
    scores = softmax.arguments["self"]
    mask: Argument = None
    scale, product = _scaled(known, scores)
    if product is None and (sum := known.made(scores, "add")) is not None:
        for scores, other in _orders(sum):
            scale, product = _scaled(known, scores)
            if product is not None:
                mask = other
                break
    if product is None or (mask is not None and not isinstance(mask, Ref)):
        return None
    query, turned = _sides(product)
    before, query = _one_factor(known, query)
    times, turned = _one_factor(known, turned)
    key = known.swapped(turned)
    if key is None or query is None or len(known.shape(query)) != rank:
        return None
    scale *= before * times
    given: dict[str, Argument] = {"query": query, "key": key, "value": value}
    if mask is not None:
        given["attn_mask"] = mask
    width = known.shape(query)[-1]
    if not isinstance(width, int) or not math.isclose(scale, width**-0.5, rel_tol=1e-4):
        given["scale"] = scale
    return "scaled_dot_product_attention", given


def _unguarded(known: _Recognizer, value: Argument) -> Argument:
    """``where(isnan(w), 0, w)`` is ``w`` where no row is masked as a whole, and 0 there as in PyTorch."""
    guard = known.made(value, "where")
    if guard is None:
        return value
    test = known.made(guard.arguments["condition"], "isnan")
    inner = guard.arguments["other"]
    is_guard = test is not None and test.arguments["self"] == inner and _number(guard.arguments["self"]) == 0
    return inner if is_guard else value


def _scaled(known: _Recognizer, value: Argument) -> tuple[float, Operation | None]:
    number, tensor = _one_factor(known, value)
    return number, known.made(tensor, "matmul")


def _one_factor(known: _Recognizer, value: Argument) -> tuple[float, Argument]:
    """A number times a tensor."""
    operation = known.made(value, "mul", "div")
    if operation is None:
        return 1.0, value
    left, right = _sides(operation)
    if isinstance(left, Ref) and not isinstance(right, Ref):
        number = _number(right)
        return (1 / number if operation.name == "div" else number), left
    if operation.name == "mul" and isinstance(right, Ref) and not isinstance(left, Ref):
        return _number(left), right
    return 1.0, value


_RULES: Sequence[Callable[[_Recognizer, Operation], Found]] = (
    _activation,
    _normalization,
    _affine,
    _attention,
)
