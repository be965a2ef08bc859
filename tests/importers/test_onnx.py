"""ONNX files as text: shape arithmetic, labels, scopes, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from trtdsl import DiagnosticError, elaborate_text
from trtdsl.importers.module import Imported
from trtdsl.importers.onnx_file import read_model
from trtdsl.importers.onnx_import import import_onnx, import_onnx_program
from trtdsl.importers.onnx_inputs import Axes
from trtdsl.importers.onnx_scopes import calls_of, scope_of
from trtdsl.reference import run, to_numpy
from trtdsl.types import Symbol

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
make_node: Any = helper.make_node


def model_of(
    nodes: list[Any],
    inputs: dict[str, tuple[int, list[Any]]],
    outputs: list[str],
    arrays: dict[str, Any] | None = None,
    opset: int = 18,
) -> Any:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(each), name) for name, each in (arrays or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def imported(model: Any, **dims: Symbol) -> Imported:
    return import_onnx_program(*read_model(model, "m", Axes(dims)))


def computed(found: Imported, **inputs: Any) -> list[Any]:
    return [to_numpy(each) for each in run(elaborate_text(found.text), inputs, found.constants).values()]


def body(found: Imported) -> str:
    """The text without its head: what stands behind the inputs."""
    return found.text.partition("\n\n")[2].removesuffix("}\n").strip()


def refusal(model: Any) -> list[str]:
    with pytest.raises(DiagnosticError) as caught:
        imported(model)
    return [each.message for each in caught.value.diagnostics]


def test_sizes_are_computed_with_dimensions() -> None:
    nodes = [
        make_node("Shape", ["x"], ["shape"]),
        make_node("Gather", ["shape", "zero"], ["n"]),
        make_node("Mul", ["n", "two"], ["m"]),
        make_node("Unsqueeze", ["m", "axes"], ["m1"]),
        make_node("Concat", ["m1", "rest"], ["wanted"], axis=0),
        make_node("Reshape", ["x", "wanted"], ["y"]),
    ]
    arrays = {"zero": np.int64(0), "two": np.int64(2), "axes": np.array([0]), "rest": np.array([-1])}
    found = imported(model_of(nodes, {"x": (FLOAT, ["batch", 6])}, ["y"], arrays))
    assert "dim batch = 1 .. 8 .. 64" in found.text
    assert body(found) == "output y = reshape(x, 2 * batch, 3)"
    assert computed(found, x=np.zeros((5, 6), np.float32))[0].shape == (10, 3)


def test_a_comparison_of_sizes_is_decided_by_the_ranges() -> None:
    branches = {
        name: helper.make_graph(
            [make_node(operator, ["x"], ["b"])],
            name,
            [],
            [helper.make_tensor_value_info("b", FLOAT, None)],
        )
        for name, operator in (("then_branch", "Relu"), ("else_branch", "Neg"))
    }
    nodes = [
        make_node("Size", ["x"], ["size"]),
        make_node("Greater", ["size", "three"], ["many"]),
        make_node("If", ["many"], ["y"], **branches),
    ]
    model = model_of(nodes, {"x": (FLOAT, ["N", 4])}, ["y"], {"three": np.int64(3)})
    assert body(imported(model)) == "output y = relu(x)"
    small = imported(model, N=Symbol("N", 0, 0, 0))
    assert body(small) == "output y = -x"


def test_of_a_branch_that_an_input_decides_both_are_computed() -> None:
    branches = {
        name: helper.make_graph(
            [make_node(operator, ["x"], ["b"])],
            name,
            [],
            [helper.make_tensor_value_info("b", FLOAT, None)],
        )
        for name, operator in (("then_branch", "Exp"), ("else_branch", "Neg"))
    }
    node = make_node("If", ["c"], ["y"], **branches)
    found = imported(model_of([node], {"x": (FLOAT, [3]), "c": (BOOL, [1])}, ["y"]))
    x = np.array([1, 2, 3], np.float32)
    assert np.allclose(computed(found, x=x, c=np.array([True]))[0], np.exp(x))
    assert np.allclose(computed(found, x=x, c=np.array([False]))[0], -x)


def test_a_loop_of_a_known_number_of_runs_is_written_out() -> None:
    step = helper.make_graph(
        [
            make_node("Mul", ["state", "x"], ["next"]),
            make_node("Identity", ["going"], ["going_out"]),
            make_node("Identity", ["next"], ["row"]),
        ],
        "step",
        [
            helper.make_tensor_value_info("i", INT64, []),
            helper.make_tensor_value_info("going", BOOL, []),
            helper.make_tensor_value_info("state", FLOAT, [3]),
        ],
        [
            helper.make_tensor_value_info(name, kind, None)
            for name, kind in (("going_out", BOOL), ("next", FLOAT), ("row", FLOAT))
        ],
    )
    node = make_node("Loop", ["count", "", "x"], ["last", "rows"], body=step)
    found = imported(model_of([node], {"x": (FLOAT, [3])}, ["last", "rows"], {"count": np.int64(2)}))
    x = np.array([1, 2, 3], np.float32)
    last, rows = computed(found, x=x)
    assert np.array_equal(last, x**3)
    assert np.array_equal(rows, np.stack([x**2, x**3]))


def test_weights_lie_where_their_names_say() -> None:
    node = make_node("Conv", ["x", "stem.conv.weight", "stem.conv.bias"], ["y"], pads=[1, 1, 1, 1])
    arrays = {
        "stem.conv.weight": np.ones((8, 3, 3, 3), np.float32),
        "stem.conv.bias": np.ones(8, np.float32),
    }
    found = imported(model_of([node], {"x": (FLOAT, [1, 3, 8, 8])}, ["y"], arrays))
    assert body(found) == "output y = x -> stem.conv: Conv2d(8, 3, padding = 1)"
    assert found.constants.keys() == arrays.keys()


def test_weights_without_names_of_their_own_lie_where_the_node_is() -> None:
    node = make_node("Conv", ["x", "onnx::Conv_3"], ["y"], name="/layer1/layer1.0/conv1/Conv")
    arrays = {"onnx::Conv_3": np.ones((8, 3, 3, 3), np.float32)}
    found = imported(model_of([node], {"x": (FLOAT, [1, 3, 8, 8])}, ["y"], arrays))
    assert body(found) == "output y = x -> layer1.0.conv1: Conv2d(8, 3, bias = false)"
    assert list(found.constants) == ["layer1.0.conv1.weight"]


def test_a_transposed_matrix_is_a_linear_layer_again() -> None:
    matrix = np.arange(6, dtype=np.float32).reshape(3, 2)
    nodes = [
        make_node("MatMul", ["x", "onnx::MatMul_9"], ["p"], name="/fc/MatMul"),
        make_node("Add", ["fc.bias", "p"], ["y"], name="/fc/Add"),
    ]
    arrays = {"onnx::MatMul_9": matrix, "fc.bias": np.ones(2, np.float32)}
    found = imported(model_of(nodes, {"x": (FLOAT, [5, 4, 3])}, ["y"], arrays))
    assert body(found) == "output y = x -> fc: Linear(2)"
    assert np.array_equal(found.constants["fc.weight"], matrix.T)
    x = np.ones((5, 4, 3), np.float32)
    assert np.allclose(computed(found, x=x)[0], x @ matrix + 1)


def test_a_matrix_under_its_own_key_keeps_its_layout() -> None:
    node = make_node("MatMul", ["x", "c_fc.weight"], ["y"])
    arrays = {"c_fc.weight": np.ones((3, 2), np.float32)}
    found = imported(model_of([node], {"x": (FLOAT, [5, 3])}, ["y"], arrays))
    assert body(found) == "output y = matmul(x, (c_fc.weight: Parameter(3, 2)))"


def test_vectors_that_an_exporter_merged_are_each_modules_own_again() -> None:
    names = ["a.weight", "a.bias", "a.running_mean", "a.running_var"]
    nodes = [
        make_node("BatchNormalization", ["x", *names], ["h"], name="/a/BatchNormalization"),
        make_node("BatchNormalization", ["h", *names], ["y"], name="/b/BatchNormalization"),
    ]
    arrays = {name: np.full(3, number + 1, np.float32) for number, name in enumerate(names)}
    found = imported(model_of(nodes, {"x": (FLOAT, [1, 3, 4, 4])}, ["y"], arrays))
    assert body(found) == "output y = x -> a: BatchNorm2d -> b: BatchNorm2d"
    assert np.array_equal(found.constants["b.running_mean"], arrays["a.running_mean"])


def test_padding_of_unequal_sides_is_a_padding_in_front() -> None:
    node = make_node("Conv", ["x", "c.weight"], ["y"], auto_pad="SAME_UPPER", strides=[2, 2])
    arrays = {"c.weight": np.ones((1, 1, 3, 3), np.float32)}
    found = imported(model_of([node], {"x": (FLOAT, [1, 1, 4, 4])}, ["y"], arrays))
    assert body(found) == "output y = x -> pad((0, 1, 0, 1)) -> c: Conv2d(1, 3, stride = 2, bias = false)"


def test_all_that_is_missing_is_told_at_once() -> None:
    nodes = [
        make_node("NonZero", ["x"], ["p"], name="first"),
        make_node("Cast", ["p"], ["q"], to=FLOAT),
        make_node("Bernoulli", ["x"], ["r"], name="second"),
        make_node("Bernoulli", ["r"], ["s"], name="third"),
        make_node("Bernoulli", ["x"], ["t"], name="fourth"),
    ]
    assert refusal(model_of(nodes, {"x": (FLOAT, [3])}, ["q", "s", "t"])) == [
        "`NonZero` at `first` cannot be imported: the size of its result depends on values; a comparison with"
        " `where` does not",
        "`Bernoulli` at `second` cannot be imported: it draws random numbers, 2 times",
    ]


def test_an_input_of_a_dtype_that_tensorrt_lacks_is_named() -> None:
    node = make_node("Neg", ["x"], ["y"])
    (message,) = refusal(model_of([node], {"x": (TensorProto.DOUBLE, [3])}, ["y"]))
    assert message == "the input `x` cannot be imported: TensorRT lacks float64"


def test_functions_are_read_as_their_bodies() -> None:
    function = helper.make_function(
        "local",
        "Twice",
        ["a"],
        ["b"],
        [make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 18)],
    )
    model = model_of([make_node("Twice", ["x"], ["y"], domain="local")], {"x": (FLOAT, [3])}, ["y"])
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("local", 1))
    assert body(imported(model)) == "output y = x + x"


def test_pieces_of_a_sequence_are_a_split() -> None:
    nodes = [
        make_node("SplitToSequence", ["x", "size"], ["pieces"], axis=1),
        make_node("SequenceAt", ["pieces", "first"], ["a"]),
        make_node("SequenceAt", ["pieces", "last"], ["b"]),
        make_node("Sub", ["a", "b"], ["y"]),
    ]
    arrays = {"size": np.int64(3), "first": np.int64(0), "last": np.int64(-1)}
    found = imported(model_of(nodes, {"x": (FLOAT, ["N", 6])}, ["y"], arrays))
    x = np.arange(12, dtype=np.float32).reshape(2, 6)
    assert np.array_equal(computed(found, x=x)[0], x[:, :3] - x[:, 3:])


def split_in_loop() -> list[Any]:
    """What PyTorch's old exporter makes of ``tensor_split``: a loop that inserts a part in each run."""
    body = helper.make_graph(
        [
            make_node("Gather", ["starts", "number"], ["start"]),
            make_node("Add", ["number", "one"], ["following"]),
            make_node("Gather", ["starts", "following"], ["stop"]),
            make_node("Unsqueeze", ["start", "zero"], ["from"]),
            make_node("Unsqueeze", ["stop", "zero"], ["to"]),
            make_node("Slice", ["x", "from", "to", "axis"], ["part"]),
            make_node("SequenceInsert", ["before", "part"], ["after"]),
            make_node("Identity", ["going"], ["goes"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            *map(value_info, ("going", "before")),
        ],
        [*map(value_info, ("goes", "after"))],
    )
    return [
        make_node("SequenceEmpty", [], ["none"]),
        make_node("Loop", ["count", "true", "none"], ["parts"], body=body),
        make_node("Slice", ["x", "rest", "end", "axis"], ["last"]),
        make_node("SequenceInsert", ["parts", "last"], ["all"]),
    ]


def value_info(name: str) -> Any:
    return helper.make_empty_tensor_value_info(name)


SPLIT = {
    "starts": np.array([0, 1, 4]), "one": np.int64(1), "zero": np.array([0]), "axis": np.array([1]),
    "count": np.int64(2), "true": np.bool_(True), "rest": np.array([4]), "end": np.array([6]),
}  # fmt: skip


@pytest.mark.parametrize("activations", [["Sigmoid", "Tanh", "Tanh"], ["sigmoid", "tanh", "tanh"], None])
def test_a_recurrent_layer_as_keras_has_it(activations: list[str] | None) -> None:
    """Batches in front, all gates' activations named, one bias of zeros, and the sequence's last state."""
    random = np.random.default_rng(0)
    arrays = {
        name: random.standard_normal(shape).astype(np.float32)
        for name, shape in {"w": (1, 20, 4), "r": (1, 20, 5), "b": (1, 40)}.items()
    }
    given = {"activations": activations} if activations else {}
    names = ["turned", "w", "r", "b"]
    nodes = [
        make_node("Transpose", ["x"], ["turned"], perm=[1, 0, 2]),
        make_node("LSTM", names, ["all", "last"], direction="forward", hidden_size=5, **given),
        make_node("Squeeze", ["all", "one"], ["sequence"]),
        make_node("Transpose", ["sequence"], ["y"], perm=[1, 0, 2]),
        make_node("Squeeze", ["last", "zero"], ["h"]),
    ]
    arrays |= {"one": np.array([1]), "zero": np.array([0])}
    model = model_of(nodes, {"x": (FLOAT, ["N", 7, 4])}, ["y", "h"], arrays)
    found = imported(model)
    assert ": LSTM(5)" in found.text and "permute(0, 2, 1, 3)" not in found.text
    x = random.standard_normal((3, 7, 4)).astype(np.float32)
    wanted = ReferenceEvaluator(model).run(None, {"x": x})
    for mine, theirs in zip(computed(found, x=x), wanted, strict=True):
        assert np.allclose(mine, theirs, atol=1e-5)


def test_a_sequence_that_a_loop_makes_is_its_tensors() -> None:
    nodes = [
        *split_in_loop(),
        make_node("SequenceErase", ["all", "zero0"], ["rest_of"]),
        make_node("SequenceLength", ["all"], ["length"]),
        make_node("Cast", ["length"], ["factor"], to=TensorProto.FLOAT),
        make_node("ConcatFromSequence", ["rest_of"], ["joined"], axis=-1),
        make_node("Mul", ["joined", "factor"], ["y"]),
    ]
    arrays = {**SPLIT, "zero0": np.int64(0)}
    found = imported(model_of(nodes, {"x": (FLOAT, ["N", 6])}, ["y"], arrays))
    x = np.arange(12, dtype=np.float32).reshape(2, 6)
    assert np.array_equal(computed(found, x=x)[0], x[:, 1:] * 3)


@pytest.mark.parametrize("last", ["Relu", "SequenceAt", "output"])
def test_a_sequence_is_no_tensor(last: str) -> None:
    nodes = {
        "Relu": [make_node("Relu", ["all"], ["y"])],
        "SequenceAt": [make_node("SequenceAt", ["x", "one"], ["y"])],
        "output": [make_node("Identity", ["all"], ["y"])],
    }[last]
    with pytest.raises(DiagnosticError, match="sequence, which the language does not have"):
        imported(model_of([*split_in_loop(), *nodes], {"x": (FLOAT, ["N", 6])}, ["y"], SPLIT))


def test_an_output_does_not_take_the_name_that_a_later_one_reads() -> None:
    nodes = [
        make_node("Add", ["a", "b"], ["y"]),
        make_node("Concat", ["y", "a"], ["joined"], axis=0),
        make_node("Concat", ["joined", "joined"], ["z"], axis=0),
        make_node("Relu", ["z"], ["w"]),
    ]
    found = imported(model_of(nodes, {"a": (FLOAT, [2]), "b": (FLOAT, [2])}, ["y", "w", "z"]))
    a, b = np.array([1, -2], np.float32), np.array([1, 1], np.float32)
    y = a + b
    z = np.concatenate([y, a, y, a])
    for mine, wanted in zip(computed(found, a=a, b=b), (y, np.maximum(z, 0), z), strict=True):
        assert np.array_equal(mine, wanted)


def test_the_least_float_is_written_as_one_that_fits() -> None:
    node = make_node("Where", ["c", "x", "least"], ["y"])
    arrays = {"least": np.finfo(np.float32).min}
    found = imported(model_of([node], {"c": (BOOL, [3]), "x": (FLOAT, [3])}, ["y"], arrays))
    x = np.ones(3, np.float32)
    (y,) = computed(found, c=np.zeros(3, bool), x=x)
    assert (y == arrays["least"]).all()


def test_a_projection_keeps_its_key() -> None:
    nodes = [
        make_node("Transpose", ["attn.in_proj_weight"], ["turned"], perm=[1, 0]),
        make_node("MatMul", ["x", "turned"], ["y"], name="/attn/MatMul"),
    ]
    arrays = {"attn.in_proj_weight": np.ones((6, 2), np.float32)}
    found = imported(model_of(nodes, {"x": (FLOAT, [4, 2])}, ["y"], arrays | {"fc.weight": np.ones(1)}))
    assert body(found) == "output y = linear(x, (attn.in_proj_weight: Parameter(6, 2)))"


def test_names_of_other_frameworks_give_labels() -> None:
    nodes = [
        make_node("Conv", ["x", "conv2d_3.w_0"], ["h"], name="p2o.Conv.0"),
        make_node("Add", ["h", "elementwise_1"], ["y"], name="p2o.Add.0"),
    ]
    arrays = {
        "conv2d_3.w_0": np.ones((2, 3, 1, 1), np.float32),
        "elementwise_1": np.ones((1, 2, 1, 1), np.float32),
    }
    found = imported(model_of(nodes, {"x": (FLOAT, [1, 3, 4, 4])}, ["y"], arrays))
    assert body(found) == "output y = x -> conv2d_3: Conv2d(2, 1)"


def test_axes_without_names_are_batches_and_images() -> None:
    node = make_node("Relu", ["x"], ["y"])
    found = imported(model_of([node], {"x": (FLOAT, [None, 3, "?", "?"])}, ["y"]))
    assert "input x: float32[N, 3, H, W]" in found.text
    assert "dim H = 32 .. 256 .. 1024, step = 32" in found.text
    fixed = imported(model_of([node], {"x": (FLOAT, [None, 3])}, ["y"]), N=Symbol("N", 2, 2, 2))
    assert "input x: float32[2, 3]" in fixed.text


def named(name: str, **dims: Symbol) -> Imported:
    return imported(model_of([make_node("Relu", ["x"], ["y"])], {"x": (FLOAT, [name, 3])}, ["y"]), **dims)


@pytest.mark.parametrize("name", ["unk__214", "p2o.DynamicDimension.0", "?"])
def test_axes_without_a_name_of_their_own_are_named_by_where_they_stand(name: str) -> None:
    assert "dim N = 1 .. 8 .. 64" in named(name).text


def test_axes_of_one_name_are_one_dimension() -> None:
    node = make_node("Add", ["a", "b"], ["y"])
    inputs: dict[str, Any] = {"a": (FLOAT, ["unk__1", 3]), "b": (FLOAT, ["unk__1", 1])}
    assert body(imported(model_of([node], inputs, ["y"]))) == "output y = a + b"


def test_the_sides_of_images_are_multiples() -> None:
    node = make_node("Relu", ["x"], ["y"])
    found = imported(model_of([node], {"x": (FLOAT, ["batch", "height", "width", 3])}, ["y"]))
    assert "dim height = 32 .. 256 .. 1024, step = 32" in found.text


def saved(model: Any, path: Path) -> Path:
    onnx.save(model, path)
    return path


def test_names_stay_where_the_language_has_them(tmp_path: Path) -> None:
    node = make_node("Sum", ["input", "def", "x:0"], ["output"])
    inputs: dict[str, Any] = {name: (FLOAT, [2]) for name in ("input", "def", "x:0")}
    found = import_onnx(saved(model_of([node], inputs, ["output"]), tmp_path / "m.onnx"))
    assert found.graph
    assert [each.name for each in found.graph.inputs] == ["input", "_def", "x_0"]
    assert [each.name for each in found.graph.outputs] == ["output"]
    assert [note.message for note in found.notes] == [
        "the file's input `def` is called `_def`, in the text and in its engines",
        "the file's input `x:0` is called `x_0`, in the text and in its engines",
    ]


def test_a_size_that_the_file_calculates(tmp_path: Path) -> None:
    node = make_node("Reshape", ["x", "shape"], ["y"])
    inputs: dict[str, Any] = {"x": (FLOAT, ["2*half", "length + 1"])}
    model = model_of([node], inputs, ["y"], {"shape": np.array([2, -1, 3])})
    found = import_onnx(saved(model, tmp_path / "m.onnx"), {"length": Symbol("length", 2, 2, 2)})
    assert "input x: float32[2 * half, 3]" in found.text


def test_a_guessed_range_is_in_steps_where_the_model_takes_others(tmp_path: Path) -> None:
    node = make_node("Reshape", ["x", "shape"], ["y"])
    model = model_of([node], {"x": (FLOAT, ["N", "length"])}, ["y"], {"shape": np.array([0, -1, 4])})
    found = import_onnx(saved(model, tmp_path / "m.onnx"))
    assert "dim length = 4 .. 64 .. 512, step = 4" in found.text
    assert "dim N = 1 .. 8 .. 64\n" in found.text


def test_a_split_of_a_dynamic_dimension(tmp_path: Path) -> None:
    node = make_node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2)
    model = model_of([node], {"x": (FLOAT, ["N", "length"])}, ["a", "b"], opset=18)
    path = saved(model, tmp_path / "m.onnx")
    assert "chunk(x, 2, 1)" in import_onnx(path, {"length": Symbol("length", 4, 8, 16, 2)}).text
    found = import_onnx(path, {"length": Symbol("length", 3, 8, 17)})
    assert found.graph
    x = np.arange(14, dtype=np.float32).reshape(2, 7)
    for ours, theirs in zip(run(found.graph, {"x": x}).values(), (x[:, :4], x[:, 4:]), strict=True):
        assert np.array_equal(to_numpy(ours), theirs)


def test_a_guessed_range_begins_where_the_model_fits(tmp_path: Path) -> None:
    pads = {"pads": np.array([0, 0, 0, 6])}
    node = make_node("Pad", ["x", "pads"], ["y"], mode="reflect")
    path = saved(model_of([node], {"x": (FLOAT, [2, "length"])}, ["y"], pads), tmp_path / "m.onnx")
    found = import_onnx(path)
    assert "dim length = 8 .. 64 .. 512" in found.text
    assert found.guessed == ("length",)
    given = import_onnx(path, {"length": Symbol("length", 7, 7, 9)})
    assert "dim length = 7 .. 7 .. 9" in given.text
    assert given.guessed == ()
    with pytest.raises(
        DiagnosticError, match="reflection by 6 needs a dimension larger than length"
    ) as error:
        import_onnx(path, {"length": Symbol("length", 1, 7, 9)})
    assert error.value.diagnostics[0].help == ()


def test_a_refusal_for_a_guessed_range_says_what_to_give(tmp_path: Path) -> None:
    node = make_node("Squeeze", ["x", "axes"], ["y"])
    model = model_of([node], {"x": (FLOAT, [2, "length"])}, ["y"], {"axes": np.array([1])})
    with pytest.raises(DiagnosticError) as error:
        import_onnx(saved(model, tmp_path / "m.onnx"))
    (advice,) = error.value.diagnostics[0].help
    assert advice == (
        "the file gives no sizes of `length`, taken to be 1 .. 64 .. 512: give them with"
        " --dim length=MIN..OPT..MAX, or the only one with --dim length=SIZE"
    )


def test_a_range_for_a_dimension_that_there_is_not(tmp_path: Path) -> None:
    model = model_of([make_node("Relu", ["x"], ["y"])], {"x": (FLOAT, ["batch", 3])}, ["y"])
    with pytest.raises(DiagnosticError, match="no input of the file has a dimension `N`") as error:
        import_onnx(saved(model, tmp_path / "m.onnx"), {"N": Symbol("N", 1, 2, 3)})
    assert error.value.diagnostics[0].help == ("its dynamic dimensions: `batch`",)


def test_what_a_body_gives_of_a_refused_node_is_not_refused_again() -> None:
    inner = helper.make_graph(
        [make_node("Identity", ["broken"], ["b"])],
        "inner",
        [],
        [helper.make_tensor_value_info("b", FLOAT, None)],
    )
    nodes = [
        make_node("Det", ["x"], ["broken"]),
        make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=inner),
        make_node("Unsqueeze", ["y", "axes"], ["z"]),
    ]
    arrays = {"yes": np.array(True), "axes": np.array([0])}
    model = model_of(nodes, {"x": (FLOAT, [2, 2])}, ["z"], arrays)
    assert refusal(model) == ["`Det` cannot be imported: the language has no determinant"]


def test_a_tensor_of_what_is_not_a_number() -> None:
    value = numpy_helper.from_array(np.array([np.nan], np.float32))
    node = make_node("ConstantOfShape", ["shape"], ["nothing"], value=value)
    nodes = [make_node("Shape", ["x"], ["shape"]), node, make_node("Add", ["x", "nothing"], ["y"])]
    found = imported(model_of(nodes, {"x": (FLOAT, ["N", 2])}, ["y"]))
    assert body(found) == "output y = x + full((N, 2), nan)"
    assert np.isnan(computed(found, x=np.zeros((3, 2), np.float32))[0]).all()


def test_elements_are_written_at_places() -> None:
    node = make_node("ScatterND", ["x", "places", "values"], ["y"])
    inputs: dict[str, Any] = {"x": (FLOAT, ["N", 3]), "values": (FLOAT, [2, 3])}
    found = imported(model_of([node], inputs, ["y"], {"places": np.array([[0], [2]])}))
    x, values = np.zeros((4, 3), np.float32), np.ones((2, 3), np.float32)
    assert computed(found, x=x, values=values)[0].sum(1).tolist() == [3, 0, 3, 0]


def test_a_file_with_external_data(tmp_path: Path) -> None:
    node = make_node("Gemm", ["x", "fc.weight", "fc.bias"], ["y"], transB=1)
    arrays = {"fc.weight": np.ones((2, 300), np.float32), "fc.bias": np.zeros(2, np.float32)}
    model = model_of([node], {"x": (FLOAT, ["N", 300])}, ["y"], arrays)
    path = tmp_path / "two-layers.onnx"
    onnx.save(model, path, save_as_external_data=True, location="data.bin", size_threshold=0)
    found = import_onnx(path)
    assert found.text.splitlines()[0] == "model two_layers {"
    assert body(found) == "output y = x -> fc: Linear(2)"
    assert np.array_equal(found.weights["fc.weight"], arrays["fc.weight"])


def test_what_is_not_a_model_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(DiagnosticError, match="cannot be read as an ONNX model"):
        import_onnx(path)


def edited(change: Callable[[Any], object]) -> Any:
    """A small model, `relu(x @ W)`, as an edit left it."""
    nodes = [make_node("MatMul", ["x", "W"], ["m"], name="first"), make_node("Relu", ["m"], ["y"])]
    model = model_of(nodes, {"x": (FLOAT, ["N", 8])}, ["y"], {"W": np.ones((8, 4), np.float32)})
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", FLOAT, ["N", 4]))
    change(model)
    return model


def softmax(model: Any) -> None:
    model.graph.node.append(make_node("Softmax", ["y"], ["q"], axis=1.5))
    model.graph.output[0].name = "q"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: setattr(model.graph.output[0], "name", "q"), "nothing makes its output `q`"),
        (
            lambda model: setattr(model.graph.input[0], "name", "X"),
            "`MatMul` at `first` reads `x`, which nothing makes",
        ),
        (
            lambda model: model.graph.node.append(make_node("Sigmoid", ["m"], ["y"])),
            "`Relu` and `Sigmoid` both make `y`",
        ),
        (
            lambda model: model.graph.node.append(make_node("Sigmoid", ["m"], ["W"])),
            "`Sigmoid` makes `W`, which is there already",
        ),
        (
            lambda model: model.graph.node.append(make_node("Add", ["q", "y"], ["q"])),
            "`Add` reads what is computed of its own result",
        ),
        (lambda model: model.ClearField("opset_import"), "it does not say of which opset its operators are"),
        (
            lambda model: setattr(model.opset_import[0], "version", 999),
            f"it is of opset 999, and the installed `onnx` knows them up to {onnx.defs.onnx_opset_version()};"
            " a newer `onnx` may know it",
        ),
        (
            lambda model: model.graph.node.append(make_node("Sigmoid", ["m"], ["q"], alpha=2)),
            "`Sigmoid` has an attribute `alpha`, which ONNX's operator does not have",
        ),
        (softmax, "`Softmax` has a value of type FLOAT for `axis`, which is of type INT"),
        (
            lambda model: setattr(model.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 7),
            ", as `onnx.checker` says: [ShapeInferenceError] Inference error(s): (op_type:MatMul,"
            " node name: first):"
            " [ShapeInferenceError] Incompatible dimensions for matrix multiplication",
        ),
    ],
)
def test_a_file_that_contradicts_itself_is_told(
    change: Callable[[Any], object], message: str, tmp_path: Path
) -> None:
    path = saved(edited(change), tmp_path / "x.onnx")
    with pytest.raises(DiagnosticError) as caught:
        import_onnx(path)
    (found,) = [each.message for each in caught.value.diagnostics]
    separator = "" if message.startswith(",") else ": "
    assert found.startswith(f"{path} is not a sound ONNX model{separator}{message}")


def test_nodes_in_any_order_are_read(tmp_path: Path) -> None:
    def reverse(model: Any) -> None:
        nodes = list(model.graph.node)[::-1]
        del model.graph.node[:]
        model.graph.node.extend(nodes)

    path = tmp_path / "x.onnx"
    text = import_onnx(saved(edited(lambda _: None), path)).text
    assert import_onnx(saved(edited(reverse), path)).text == text


def test_a_module_whose_own_operations_stand_beside_its_items() -> None:
    """A subclass of `Sequential`, as the old exporter names what it runs."""
    nodes = [
        make_node("Relu", ["x"], ["a"], name="/mid/mid.0/Relu"),
        make_node("Sigmoid", ["a"], ["b"], name="/mid/mid.1/Sigmoid"),
        make_node("Tanh", ["b"], ["c"], name="/mid/mid.2/Tanh"),
        make_node("Softplus", ["c"], ["d"], name="/mid/mid.3/Softplus"),
        make_node("Concat", ["a", "d"], ["y"], name="/mid/Concat", axis=1),
    ]
    found = imported(model_of(nodes, {"x": (FLOAT, ["N", 8])}, ["y"]))
    x = np.ones((2, 8), np.float32)
    assert computed(found, x=x)[0].shape == (2, 16)
    assert "block Mid" in found.text


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("/conv1/Conv", "conv1"),
        ("/layer1/layer1.0/conv1/Conv", "layer1.0.conv1"),
        ("/features/features.1/block/block.0/block.0.0/Conv", "features.1.block.0.0"),
        ("/Add_2", ""),
        ("Conv_12", ""),
    ],
)
def test_a_nodes_name_says_where_it_ran(name: str, path: str) -> None:
    calls = calls_of(make_node("Conv", [], [], name=name))
    assert (calls[-1].path if calls else "") == path


def test_containers_are_not_blocks() -> None:
    calls = calls_of(make_node("Conv", [], [], name="/layer1/layer1.0/conv1/Conv"))
    assert [(call.path, call.name) for call in calls] == [
        ("layer1", "Sequential"),
        ("layer1.0", "Layer"),
        ("layer1.0.conv1", "Conv"),
    ]


def test_a_node_without_modules_gives_its_weights_a_place() -> None:
    assert scope_of((), "model/conv2d/Conv2D", "Conv") == "model.conv2d.Conv2D"
    assert scope_of((), "", "Conv") == "conv"
    assert scope_of((), "3:a b", "Conv") == "_3.a_b"


@pytest.mark.parametrize("where", ["output", "value_info"])
def test_a_value_declared_of_another_type_is_refused(where: str) -> None:
    nodes = [make_node("Relu", ["x"], ["h"], name="/act/Relu"), make_node("Neg", ["h"], ["y"])]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xhy"]
    wrong = infos[2] if where == "output" else infos[1]
    wrong.type.tensor_type.elem_type = TensorProto.FLOAT16
    graph = helper.make_graph(nodes, "g", infos[:1], infos[2:], value_info=infos[1:2])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    with pytest.raises(DiagnosticError) as caught:
        read_model(model, "m")
    (found,) = caught.value.diagnostics
    said = "`h` is float16, and `Relu` at `/act/Relu`" if wrong is infos[1] else "`y` is float16, and `Neg`"
    assert found.message == f"the file says that {said} makes it float32"
