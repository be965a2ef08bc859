"""Further random operators: statistics, products that are added to something, distances, recurrences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from tests.ops.random_cases import (
    DTYPES,
    FLOATS,
    NUMBERS,
    Case,
    axis,
    broadcast,
    dims_of,
    dtypes,
    make,
    shapes,
)
from trtdsl.types import Dim, DType, TensorType


def _seldom(draw: Any, times: int = 9) -> bool:
    """Once in ten draws: where something is to be wrong."""
    return draw(st.integers(0, times)) == 0


@st.composite
def statistics(draw: Any) -> Case:
    """Reductions beyond sums and extremes, of any dimensions, some with several results."""
    several = ["nansum", "nanmean", "count_nonzero", "var_mean", "std_mean", "vector_norm", "norm"]
    one = ["aminmax", "median", "kthvalue", "max", "min", "argmin", "cumprod", "cummax", "cummin", "renorm"]
    name = draw(st.sampled_from([*several, *one, "logcumsumexp", "dist", "trace", "diff"]))
    # Where a position is among the results, equal elements would be named by chance.
    positions = ("median", "kthvalue", "max", "min", "argmin", "cummax", "cummin")
    allowed = (DType.FLOAT32,) if name in positions else FLOATS if name == "renorm" else DTYPES
    # PyTorch's CPU has no trace of bools.
    allowed = NUMBERS if name == "trace" else allowed
    type = TensorType(draw(dtypes(allowed)), draw(shapes(0, 3)))
    dim = draw(dims_of(type.rank))
    any_dims = st.one_of(st.none(), dims_of(type.rank), st.lists(dims_of(type.rank), max_size=3).map(tuple))
    parameters: dict[str, Any] = {}
    if name in several:
        parameters["dim"] = draw(any_dims)
    elif name not in ("dist", "trace"):
        parameters["dim"] = draw(st.one_of(st.none(), st.just(dim))) if name in _WITHOUT_DIM else dim
    if name in _KEEPING:
        # Where PyTorch has a form without any dimension, that keeps none.
        none = name in ("median", "max", "min") and parameters["dim"] is None
        parameters["keepdim"] = not none and draw(st.booleans())
    if name in ("var_mean", "std_mean"):
        parameters["correction"] = draw(st.integers(0, 1))
    if name in ("nansum", "nanmean", "cumprod"):
        parameters["dtype"] = draw(st.sampled_from([None, None, DType.FLOAT32]))
    if name in ("vector_norm", "norm", "dist", "renorm"):
        key = "ord" if name == "vector_norm" else "p"
        parameters[key] = draw(st.sampled_from([2.0, 1.0, 3.0, 0.0, float("inf"), -float("inf"), 0.5]))
    if name == "renorm":
        parameters["maxnorm"] = draw(st.sampled_from([0.5, 2.0]))
    if name == "kthvalue":
        parameters["k"] = draw(st.integers(1, 3))
    if name == "diff":
        parameters["n"] = draw(st.integers(0, 2))
    if name == "dist":
        return make(name, {"input": type, "other": broadcast(draw, type.shape, type.dtype)}, **parameters)
    return make(name, {"x" if name == "vector_norm" else "input": type}, **parameters)


_WITHOUT_DIM = ("aminmax", "median", "max", "min", "argmin")
_KEEPING = (
    *("nansum", "nanmean", "var_mean", "std_mean", "vector_norm", "norm", "aminmax", "median"),
    *("kthvalue", "max", "min", "argmin"),
)


@st.composite
def added_products(draw: Any) -> Case:
    """``beta * input + alpha * product``, and products of vectors and matrices of other forms."""
    added = ["addmm", "baddbmm", "addbmm", "addmv", "addr"]
    name = draw(st.sampled_from([*added, *added, "mv", "dot", "vdot", "inner", "kron", "cross", "outer"]))
    dtype = draw(dtypes(NUMBERS if name in ("kron", "cross", "outer", "addr") else FLOATS))
    n, k, m = draw(axis("N", 1, 4)), draw(axis("K", 1, 4)), draw(axis("M", 1, 4))
    other = draw(axis("L", 1, 4)) if _seldom(draw) else k
    second = draw(dtypes(NUMBERS)) if _seldom(draw) else dtype

    def of(*shape: Dim) -> TensorType:
        return TensorType(dtype, shape)

    scales = st.sampled_from([1, 1, 0, 2, 0.5])
    numbers = {"beta": draw(scales), "alpha": draw(scales)} if name in added else {}
    if name in ("addmm", "baddbmm", "addbmm"):
        batch = () if name == "addmm" else (draw(axis("B", 1, 3)),)
        result = (*(batch if name == "baddbmm" else ()), n, m)
        first, last = ("mat1", "mat2") if name == "addmm" else ("batch1", "batch2")
        operands = {first: of(*batch, n, k), last: TensorType(second, (*batch, other, m))}
        return make(name, {"input": broadcast(draw, result, dtype), **operands}, **numbers)
    if name == "addmv":
        operands = {"mat": of(n, k), "vec": TensorType(second, (other,))}
        return make(name, {"input": broadcast(draw, (n,), dtype), **operands}, **numbers)
    if name == "addr":
        operands = {"vec1": of(n), "vec2": TensorType(second, (m,))}
        return make(name, {"input": broadcast(draw, (n, m), dtype), **operands}, **numbers)
    if name == "mv":
        return make(name, {"input": of(n, k), "vec": TensorType(second, (other,))})
    if name in ("dot", "vdot"):
        slot = "tensor" if name == "dot" else "other"
        return make(name, {"input": of(k), slot: TensorType(second, (other,))})
    if name == "outer":
        return make(name, {"input": of(n), "vec2": TensorType(second, (m,))})
    if name == "inner":
        left, right = draw(shapes(0, 2, 1, 3)), draw(st.sampled_from([(), (m,)]))
        return make(name, {"input": of(*left, k), "other": TensorType(second, (*right, other))})
    if name == "kron":
        return make(name, {"input": TensorType(dtype, draw(shapes(0, 3, 1, 3))), "other": of(n, m)})
    shape = tuple(draw(st.permutations([n, 3, 2 if _seldom(draw) else 3])))
    dim = draw(st.one_of(st.none(), dims_of(3)))
    return make(name, {"input": of(*shape), "other": broadcast(draw, shape, second)}, dim=dim)


@st.composite
def distances(draw: Any) -> Case:
    name = draw(st.sampled_from(["cdist", "pairwise_distance", "cosine_similarity"]))
    p = draw(st.sampled_from([2.0, 2.0, 1.0, 0.0, 3.0, 0.5, float("inf")]))
    dtype = draw(dtypes(FLOATS))
    if name == "cdist":
        batch, size = draw(shapes(0, 2, 1, 3)), draw(axis("K", 1, 4))
        other = draw(axis("L", 1, 4)) if _seldom(draw) else size
        rows = draw(axis("M", 1, 4)), draw(axis("P", 1, 4))
        first = (*broadcast(draw, batch, dtype).shape, rows[0], size)
        second = (*broadcast(draw, batch, dtype).shape, rows[1], other)
        return make(name, {"x1": TensorType(dtype, first), "x2": TensorType(dtype, second)}, p=p)
    shape = draw(shapes(0 if _seldom(draw) else 1, 3))
    # What PyTorch computes in half precision beside float32 is not exact enough to say anything.
    mixed = DType.INT64 if _seldom(draw) and dtype is DType.FLOAT32 else dtype
    operands = {"x1": broadcast(draw, shape, dtype), "x2": broadcast(draw, shape, mixed)}
    if name == "cosine_similarity":
        return make(name, operands, dim=draw(dims_of(len(shape))), eps=draw(st.sampled_from([1e-8, 0.5])))
    eps = draw(st.sampled_from([1e-6, 0.5]))
    return make(name, operands, p=p, eps=eps, keepdim=draw(st.booleans()))


@st.composite
def recurrences(draw: Any) -> Case:
    """Networks with one or two layers and their cells, with and without initial states."""
    name = draw(st.sampled_from(["LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell"]))
    dtype, hidden = draw(dtypes(FLOATS)), draw(st.integers(1, 4))
    features, batch = draw(st.integers(1, 3)), draw(axis("N", 1, 3))
    is_cell, batched = name.endswith("Cell"), draw(st.integers(0, 3)) > 0
    parameters: dict[str, Any] = {"hidden_size": hidden, "bias": draw(st.booleans())}
    if name.startswith("RNN"):
        parameters["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    between = (batch,) if batched else ()
    wrong = int(_seldom(draw))
    if is_cell:
        operands = {"input": TensorType(dtype, (*between, features))}
        state = TensorType(dtype, (*between, hidden + wrong))
        slots = ("h_0", "c_0") if name == "LSTMCell" else (_hidden_of(name),)
    else:
        parameters |= {
            "num_layers": draw(st.integers(1, 2)),
            "batch_first": draw(st.booleans()),
            "bidirectional": draw(st.booleans()),
        }
        if name == "LSTM" and hidden > 1 and draw(st.integers(0, 3)) == 0:
            parameters["proj_size"] = draw(st.integers(1, hidden - 1 + wrong))
        time = draw(axis("T", 1, 4))
        sizes = (batch, time) if parameters["batch_first"] else (time, batch)
        operands = {"input": TensorType(dtype, (*(sizes if batched else (time,)), features))}
        rows = parameters["num_layers"] * (2 if parameters["bidirectional"] else 1)
        width = parameters.get("proj_size", hidden)
        state = TensorType(dtype, (rows, *between, width + wrong))
        slots = ("h_0", "c_0") if name == "LSTM" else (_hidden_of(name),)
    if draw(st.booleans()):
        types = (state, state.with_shape((*state.shape[:-1], hidden)))
        operands |= dict(zip(slots, types, strict=False))
        if len(slots) == 2 and _seldom(draw):
            del operands["c_0"]
    return make(name, operands, **parameters)


def _hidden_of(name: str) -> str:
    from trtdsl.ops.base import OPERATORS

    return OPERATORS[name].operands[1].name


FURTHER: Mapping[str, st.SearchStrategy[Case]] = {
    "statistics": statistics(),
    "added products": added_products(),
    "distances": distances(),
    "recurrences": recurrences(),
}
