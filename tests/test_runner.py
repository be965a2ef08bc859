"""A model that is called: on the CPU here, with the checks of an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

import trtdsl
from trtdsl.diagnostics import RefusedByTensorRT, UsageError

TEXT = """
model pair(width = 4) {
  dim N = 1 .. 2 .. 8
  input x: float32[N, 3]
  input index: int64[N] in 0 .. 9
  output sum = (x -> fc: Linear(width)) + (index -> table: Embedding(10, width))
  output half = to(x, float16)
}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runner")
    path.joinpath("pair.trtnet").write_text(TEXT)
    generator = torch.Generator().manual_seed(0)
    shapes = {"fc.weight": (4, 3), "fc.bias": (4,), "table.weight": (10, 4)}
    torch.save(
        {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}, path / "pair.pth"
    )
    return path


@pytest.fixture(scope="module")
def pair(folder: Path) -> trtdsl.Runner:
    return trtdsl.load(folder / "pair.trtnet", folder / "pair.pth", device="cpu")


def arrays(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, 3)).astype(np.float32)
    return {"x": x, "index": random.integers(0, 10, count)}


def expected(folder: Path, x: np.ndarray, index: np.ndarray) -> np.ndarray:
    state = {key: tensor.numpy() for key, tensor in torch.load(folder / "pair.pth").items()}
    return x @ state["fc.weight"].T + state["fc.bias"] + state["table.weight"][index]


def test_a_call_gives_the_outputs(pair: trtdsl.Runner, folder: Path) -> None:
    for count in (1, 2, 8):
        given = arrays(count)
        found = pair(**given)
        np.testing.assert_allclose(found["sum"], expected(folder, **given), rtol=0, atol=1e-5)
        assert found["half"].dtype == np.float16
        assert np.array_equal(found["half"], given["x"].astype(np.float16))


def test_it_says_what_it_takes_and_where_it_computes(pair: trtdsl.Runner) -> None:
    assert [(each.name, each.dtype, each.shape) for each in pair.inputs] == [
        ("x", "float32", ("N", 3)),
        ("index", "int64", ("N",)),
    ]
    assert [each.name for each in pair.outputs] == ["sum", "half"]
    assert "the CPU" in pair.place and "PyTorch" in pair.place
    assert pair.manifest.profiles[0].dims == {"N": (1, 2, 8)}


def test_tensors_of_pytorch_are_taken(pair: trtdsl.Runner, folder: Path) -> None:
    given = arrays(2)
    found = pair.run({name: torch.from_numpy(array) for name, array in given.items()})
    np.testing.assert_allclose(found["sum"], expected(folder, **given), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.zeros((2, 3))}, "input `x` is float32, but the array is float64"),
        ({"x": np.zeros((2, 4), np.float32)}, "dimension 1 must be 3, not 4"),
        (
            {"x": np.zeros((3, 3), np.float32)},
            "`N` is 3 in dimension 0 of `x` and 2 in dimension 0 of `index`",
        ),
        ({"index": np.array([0, 10])}, "`index`"),
        ({"y": np.zeros(2)}, "no input `y`"),
    ],
)
def test_wrong_arrays_are_refused_as_by_an_engine(
    pair: trtdsl.Runner, change: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(UsageError) as error:
        pair.run({**arrays(2), **change})
    assert message in str(error.value)


def test_a_size_out_of_range(pair: trtdsl.Runner) -> None:
    with pytest.raises(UsageError, match="does not accept"):
        pair(**arrays(9))


OWN = """
model own {
  input count: int32[2]
  output twice = count + count
  output w = scale: Parameter(3)
  output again = scale: Parameter(3)
}
"""


def test_outputs_are_the_callers_own(tmp_path: Path) -> None:
    (tmp_path / "own.trtnet").write_text(OWN)
    network = trtdsl.load(tmp_path / "own.trtnet", {"scale": np.ones(3, np.float32)}, device="cpu")
    given = {"count": np.array([1, 2**30 - 1])}
    found = network.run(given)
    assert found["twice"].tolist() == [2, 2**31 - 2]
    found["w"][:] = 5
    assert found["again"].tolist() == [1, 1, 1] == network.run(given)["w"].tolist()
    assert network.run({"count": torch.tensor([1, 2**30 - 1])})["twice"].tolist() == [2, 2**31 - 2]
    for array in (np.array([1, 2**40]), torch.tensor([1, 2**40])):
        with pytest.raises(
            UsageError, match=r"`count` is int32, which does not hold the array's 1099511627776"
        ):
            network.run({"count": array})


@pytest.mark.parametrize("name", ["options", "check"])
def test_options_of_another_type(name: str, folder: Path) -> None:
    given: Any = {name: {}}
    with pytest.raises(UsageError, match=rf"`{name}` must be .*Options, not dict"):
        trtdsl.load(folder / "pair.trtnet", folder / "pair.pth", device="cpu", **given)


def test_a_stream_gives_each_batch_in_order(pair: trtdsl.Runner, folder: Path) -> None:
    batches = [arrays(1 + seed % 8, seed) for seed in range(12)]
    found = list(pair.stream(iter(batches)))
    assert len(found) == 12
    for given, outputs in zip(batches, found, strict=True):
        np.testing.assert_allclose(outputs["sum"], expected(folder, **given), rtol=0, atol=1e-5)


def test_what_a_stream_is_given_wrong_is_raised_at_its_place(pair: trtdsl.Runner) -> None:
    results = pair.stream([arrays(1), arrays(9), arrays(1)])
    assert next(results)["sum"].shape == (1, 4)
    with pytest.raises(UsageError, match="does not accept"):
        next(results)


def test_a_graph_and_a_model_by_its_parameters(folder: Path) -> None:
    graph = trtdsl.elaborate_text("model double { input x: float32[2] output y = x + x }", "double.trtnet")
    assert trtdsl.load(graph, device="cpu")(x=np.array([1, 2], np.float32))["y"].tolist() == [2, 4]
    with pytest.raises(UsageError, match="has its weights already"):
        trtdsl.load(graph, folder / "pair.pth")
    with pytest.raises(trtdsl.DiagnosticError, match=r"fc\.weight"):
        check = trtdsl.CheckOptions(defines={"width": 5})
        trtdsl.load(folder / "pair.trtnet", folder / "pair.pth", device="cpu", check=check)
    with pytest.raises(UsageError, match="give a checkpoint"):
        trtdsl.load(folder / "pair.trtnet", device="cpu")


def test_a_state_dict(folder: Path, pair: trtdsl.Runner) -> None:
    state, given = torch.load(folder / "pair.pth"), arrays(2)
    found = trtdsl.load(folder / "pair.trtnet", state, device="cpu")(**given)
    assert np.array_equal(found["sum"], pair(**given)["sum"])
    check = trtdsl.CheckOptions(weights_prefix="net.")
    behind = {f"net.{key}": value for key, value in state.items()}
    assert trtdsl.load(folder / "pair.trtnet", behind, device="cpu", check=check)
    for weights, checked, message in (
        ({"ema": state}, trtdsl.CheckOptions(section="ema"), "have no section `ema`"),
        ({0: state["fc.bias"]}, trtdsl.CheckOptions(), "but one of these is 0"),
        (torch.nn.Linear(3, 4), trtdsl.CheckOptions(), r"not a `Linear`[^`]*give its `state_dict\(\)`"),
        (4, trtdsl.CheckOptions(), "weights are files or arrays by key, not 4"),
    ):
        with pytest.raises(UsageError, match=message):
            trtdsl.load(folder / "pair.trtnet", cast(Any, weights), device="cpu", check=checked)
    with pytest.raises(UsageError, match=r"arrays by key, where the name of a file is needed"):
        trtdsl.compile_file(folder / "pair.trtnet", state, folder / "pair.engine")


def test_a_parameter_may_be_a_number_of_numpy(folder: Path) -> None:
    check = trtdsl.CheckOptions(defines={"width": np.int64(4)})
    assert trtdsl.load(folder / "pair.trtnet", folder / "pair.pth", device="cpu", check=check)


def test_a_narrower_precision(folder: Path, pair: trtdsl.Runner) -> None:
    options = trtdsl.CompileOptions(precision="float16")
    half = trtdsl.load(folder / "pair.trtnet", folder / "pair.pth", device="cpu", options=options)
    given = arrays(4)
    off = np.abs(half(**given)["sum"] - pair(**given)["sum"]).max()
    assert 0 < off < 1e-2


def test_without_a_gpu_it_is_the_cpu_unless_the_gpu_is_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "the CPU" in trtdsl.load(folder / "pair.trtnet", folder / "pair.pth").place
    with pytest.raises(RefusedByTensorRT, match="no NVIDIA GPU"):
        trtdsl.load(folder / "pair.trtnet", folder / "pair.pth", device="gpu")


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("net.onnx", {}, "`net.onnx` is an ONNX file"),
        ("net.engine", {"device": "cpu"}, "which the CPU cannot run"),
        ("net.engine", {"weights": "net.pth"}, "has its weights in it"),
        ("net.engine", {}, "cannot read `net.engine`"),
        ("net.trtnet", {"device": "tpu"}, "must be `gpu` or `cpu`, not `tpu`"),
    ],
)
def test_what_cannot_be_loaded_so(path: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        trtdsl.load(path, **options)
    assert message in str(error.value)
