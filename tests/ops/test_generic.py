"""What holds of every operator: one test over all examples instead of one for each operator."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import pytest
import torch

from tests.closeness import as_evaluated, expected, require_close, require_outputs
from tests.ops.examples import EXAMPLES, POINTS, Example, make
from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate_text
from trtdsl.evaluate import evaluate
from trtdsl.ir import Weight, difference, show
from trtdsl.ops.base import OPERATORS, REQUIRED, Module, Op, Spelling
from trtdsl.ops.refused import Refused
from trtdsl.options import CompileOptions
from trtdsl.reference import (
    ProfilePoint,
    carried,
    compute_node,
    resolve,
    run_node,
    to_torch,
    torch_dtype,
    type_of,
)
from trtdsl.trt.build import build
from trtdsl.trt.lower import lower
from trtdsl.types import DType, evaluate_shape

examples = pytest.mark.parametrize("example", EXAMPLES, ids=str)
points = pytest.mark.parametrize("at", POINTS)


@examples
def test_infers_what_the_arrow_says(example: Example) -> None:
    assert example.infer() == example.results


@examples
@points
def test_has_pytorchs_types(example: Example, at: ProfilePoint) -> None:
    """PyTorch's own shape rules, on tensors without values, agree with ``infer`` at each size."""
    sizes = example.sizes(at)
    if example.op.bodies:
        # Which branch is taken is not known of tensors without values.
        graph, arrays = example.graph(), example.arrays(at)
        results = compute_node(graph.nodes[-1], [to_torch(array) for array in arrays.values()], sizes)
    else:
        named = {name: _on_meta(type, sizes) for name, type in example.operands.items()}
        results = run_node(example.op.at(sizes), named, _on_meta_weights(example, sizes))
    found = tuple(map(type_of, results))
    wanted = (type.with_shape(evaluate_shape(type.shape, sizes)) for type in example.results)
    assert found == tuple(map(carried, wanted))


def _on_meta(type: Any, sizes: Mapping[str, int]) -> Any:
    if isinstance(type, list):
        return [_on_meta(each, sizes) for each in type]
    shape = evaluate_shape(type.shape, sizes)
    return torch.empty(shape, dtype=torch_dtype(type.dtype), device="meta")


def _on_meta_weights(example: Example, sizes: Mapping[str, int]) -> dict[str, torch.Tensor]:
    if not isinstance(example.op, Module):
        return {}
    types = example.op.weights(**example.operands)
    return {name: _on_meta(type, sizes) for name, type in types.items()}


@examples
@points
def test_lowers_to_what_pytorch_computes(example: Example, at: ProfilePoint) -> None:
    arrays = example.arrays(at)
    lowered = _lowered(example)
    found = evaluate(lowered.network, arrays, weights=lowered.weights)
    require_outputs(found, expected(example.graph(), arrays), example.op.tolerance)


FOLDING = [example for example in EXAMPLES if type(example.op).fold is not Op.fold]


@pytest.mark.parametrize("example", FOLDING, ids=str)
def test_folds_to_what_pytorch_computes(example: Example) -> None:
    """An operator that folds constants gives the values and dtypes that PyTorch does."""
    results = _folded(example)
    if results is None:
        return
    wanted = expected(example.graph(), example.arrays("opt")).values()
    for found, value, type in zip(results, wanted, example.results, strict=True):
        assert DType.of_numpy(found.dtype) == type.dtype
        require_close(as_evaluated(to_torch(found)), value, example.op.tolerance)


def _folded(example: Example) -> tuple[Any, ...] | None:
    """The results of the example's arrays as constants, None where they are left to the engine."""
    arrays = example.arrays("opt")
    (node,) = example.graph().nodes
    given = [value.data if isinstance(value, Weight) else arrays[value.name] for value in node.operands]
    folded = example.op.at(example.sizes("opt")).fold(**node.arguments(given))
    return folded if folded is None or isinstance(folded, tuple) else (folded,)


def test_most_folding_examples_fold() -> None:
    """Or the test above would hold of operators that never fold."""
    fold = {example: _folded(example) is not None for example in FOLDING}
    assert sum(fold.values()) > 0.6 * len(FOLDING)
    assert len({type(example.op) for example, folds in fold.items() if folds}) > 25
    # Who names a function of numpy folds by it, but for a factor that it does not know.
    stated = [example for example in FOLDING if getattr(example.op, "ufunc", "")]
    left = [example for example in stated if not fold[example] and getattr(example.op, "alpha", 1) == 1]
    assert left == []


@examples
def test_builds(example: Example) -> None:
    """TensorRT's own compiler takes the layers: what it refuses, it refuses only here."""
    has_float4 = any(type.dtype is DType.FLOAT4 for type in (*example.inputs.values(), *example.results))
    options = CompileOptions(targets=("sm120" if has_float4 else "sm89",))
    if example.name == "dynamic_quantize":
        # Its scale is an input here; one that is known is built in the tests of kernels.
        with pytest.raises(DiagnosticError, match="must be a build-time constant"):
            build(_lowered(example), options)
        return
    assert len(build(_lowered(example), options)) > 0


@lru_cache(maxsize=16)
def _lowered(example: Example) -> Any:
    return lower(example.graph())


# --- Names, order and defaults of parameters -------------------------------------------------------------

EMPTY = inspect.Parameter.empty

# nn.Parameter is given its values where ours is given their shape; arange's overloads give its first
# number two meanings, and those of the splits theirs two names, which the documentation joins. What PyTorch
# does not have is not compared.
_APART = ("Parameter", "arange", "tensor_split", "hsplit", "vsplit", "dsplit")
COMPARED = [cls for cls in OPERATORS.values() if cls.torch and cls.name not in _APART]


@pytest.mark.parametrize("cls", COMPARED, ids=lambda cls: cls.name)
def test_has_pytorchs_parameters(cls: type[Op]) -> None:
    theirs = signatures(cls.torch)
    called = getattr(cls, "call_parameters", ())
    assert {*called} <= {*signatures(f"{cls.torch}.forward")[0]} if called else True
    for name in (name for name in cls.parameters if name not in called):
        assert any(name in each for each in theirs), f"{cls.torch} has no parameter {name}"
        assert _has_default(name, _default(cls, name), theirs), f"{name} has another default"
    assert any(_is_complete(cls, each) for each in theirs)


def _default(cls: type[Op], name: str) -> Any:
    """A parameter's default, in Python's signatures' words."""
    found = cls.default(name)
    return EMPTY if found is REQUIRED else found


def _has_default(name: str, ours: Any, theirs: list[dict[str, Any]]) -> bool:
    """Whether a signature has this default; ours may also stand for an overload without the parameter."""
    if any(_same(ours, each[name]) for each in theirs if name in each):
        return True
    return ours is not EMPTY and any(name not in each for each in theirs)


def _same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, DType):
        ours = torch_dtype(ours)
    if isinstance(theirs, list) and len({*theirs}) < 2:
        # C++ repeats one number for each dimension, and has an empty list for none.
        theirs = theirs[0] if theirs else None
    elif isinstance(theirs, list):
        theirs = tuple(theirs)
    # A dimension that PyTorch guesses, with a warning, must be given.
    return ours == theirs or (theirs is None and ours is EMPTY)


def _is_complete(cls: type[Op], theirs: Mapping[str, Any]) -> bool:
    """Whether nothing that this signature requires is missing, and the order is the same."""
    operands = [operand.name for operand in cls.operands]
    ours = (*cls.order, *(name for name in cls.parameters if name not in cls.order))
    ours = ours if cls.order else (*operands, *cls.parameters)
    known = {*ours, *cls.bodies, *cls.ignored, *getattr(cls, "inferred", ()), "self"}
    required = [name for name, default in theirs.items() if default is EMPTY]
    common = [name for name in theirs if name in cls.parameters]
    # aten and torch.split call the first operand by other names.
    missing = [name for name in required if name not in known][
        len(operands) and not {*operands} <= {*theirs} :
    ]
    return common == [name for name in ours if name in common] and not missing


def signatures(path: str) -> list[dict[str, Any]]:
    """PyTorch's signatures of an object: Python's, or those of its overloads in C++."""
    found = resolve(path)
    if isinstance(found, type(torch.ops.aten.add)):
        return _overloads(found)
    try:
        parameters = inspect.signature(found).parameters.values()
    except ValueError:
        return _overloads(_packet(path))
    if isinstance(found, type) and all(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
        return [*_stated(found)] or [{}]
    if all(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters) and "functional" in path:
        # Functions that return indices on demand are chosen at the call; a private one has the signature.
        module, _, name = path.rpartition(".")
        return signatures(f"{module}._{name}")
    if all(p.kind is p.VAR_POSITIONAL for p in parameters):
        # So does what takes tensors one by one, or all of them as a list.
        return _overloads(_packet(path))
    return [{p.name: p.default for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}]


def _stated(cls: type) -> Iterator[dict[str, Any]]:
    """The overloads of a class's constructor that its source states."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(definition, ast.ClassDef)
    for each in definition.body:
        if isinstance(each, ast.FunctionDef) and each.name == "__init__" and len(each.args.args) > 1:
            names = [argument.arg for argument in each.args.args[1:]]
            defaults = [ast.literal_eval(default) for default in each.args.defaults]
            yield dict(zip(names, [EMPTY] * (len(names) - len(defaults)) + defaults, strict=True))


def _packet(path: str) -> Any:
    """The C++ operator behind a function: its name there may begin with its module's, or hold a `_`."""
    name = path.rpartition(".")[2]
    names = (name, f"linalg_{name}", name.replace("logsigmoid", "log_sigmoid"))
    return next(getattr(torch.ops.aten, each) for each in names if hasattr(torch.ops.aten, each))


def _overloads(packet: Any) -> list[dict[str, Any]]:
    return [_schema(getattr(packet, overload)) for overload in packet.overloads()]


def _schema(overload: Any) -> dict[str, Any]:
    arguments = overload._schema.arguments
    return {
        "input" if a.name == "self" else a.name: a.default_value if a.has_default_value() else EMPTY
        for a in arguments
        if not a.is_out
    }


# --- Spellings -------------------------------------------------------------------------------------------

SPELLED = [
    (cls, spelling) for cls in OPERATORS.values() for spelling in cls.spellings if not spelling.configure
]
"""Functions that take a module's weights are tried in test_functional.py."""


@pytest.mark.parametrize(("cls", "spelling"), SPELLED, ids=lambda each: getattr(each, "name", None))
def test_spelling_computes_what_pytorch_does(cls: type[Op], spelling: Spelling) -> None:
    """PyTorch's object of that name, given the same parameters in its order, gives the same result."""
    example = next(e for e in map(Example, cls.examples) if _suits(e, spelling))
    sizes = example.sizes("opt")
    values = _values(example, spelling)
    op = make(spelling.name, [], values).at(sizes)
    values = {name: getattr(op, name) for name in values}
    arrays = [to_torch(array) for array in example.arrays("opt").values()]
    ours = run_node(op, dict(zip(example.operands, arrays, strict=True)))
    target, parameters = resolve(spelling.torch), list(values.values())
    if spelling.name[0].isupper():
        theirs = target(*parameters).eval()(*arrays)
    else:
        theirs = target(*arrays, *parameters)
    for one, other in zip(ours, theirs if isinstance(theirs, tuple) else (theirs,), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def _suits(example: Example, spelling: Spelling) -> bool:
    """Whether the example's operands are such as the spelling takes, which may fix a dimension."""
    try:
        make(spelling.name, [], _values(example, spelling)).infer(**example.operands)
    except Refused:
        return False
    return True


def _values(example: Example, spelling: Spelling) -> dict[str, Any]:
    """The example's parameters that the spelling takes too, in the spelling's order."""
    return {name: getattr(example.op, name) for name in spelling.parameters if name in example.op.parameters}


@pytest.mark.parametrize(("cls", "spelling"), SPELLED, ids=lambda each: getattr(each, "name", None))
def test_spelling_has_pytorchs_defaults(cls: type[Op], spelling: Spelling) -> None:
    for name in set(spelling.parameters) & set(cls.parameters):
        theirs = [each for each in signatures(spelling.torch) if name in each]
        ours = spelling.defaults.get(name, _default(cls, name))
        if all(each[name] is EMPTY for each in theirs):
            # A module may ask for what the function may be called without, and here it need not be given.
            theirs += signatures(cls.torch)
        assert not theirs or _has_default(name, ours, theirs), f"{name} has another default"


# --- The text --------------------------------------------------------------------------------------------


@examples
def test_text_makes_the_operator(example: Example) -> None:
    """The example as a model's only statement elaborates to the same operator and types."""
    graph = elaborate_text(example.model())
    node = graph.nodes[-1]
    assert node.op == example.op
    assert tuple(str(value.type) for value in node.results) == tuple(map(str, example.results))


@examples
def test_is_printed_as_a_text_that_makes_the_same(example: Example) -> None:
    graph = elaborate_text(example.model())
    assert difference(graph, elaborate_text(show(graph))) is None
