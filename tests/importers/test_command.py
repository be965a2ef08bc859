"""`trtdsl import`, called as a user calls it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from tests.command import trtdsl
from tests.importers import modules
from trtdsl.importers import source
from trtdsl.importers.module import import_module
from trtdsl.importers.verifying import compared

HERE = Path(__file__).parent
WORDS = (
    f"{HERE / 'modules.py'}:Words",
    "--input",
    "ids=int64[N, S] in 0 .. 49",
    "--input",
    "mask=float32[N, S]",
)
LENGTH = ("--dim", "S=2..8..60")
EMPTY = (f"{HERE / 'modules.py'}:Empty", "--input", "x=float32[N, 4]")


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_text_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert trtdsl("import", *EMPTY, "--name", "soft") == 0
    found = capsys.readouterr()
    body = "  dim N = 1 .. 8 .. 32\n  input x: float32[N, 4]\n\n  output output = softmax(x * 2, -1)\n"
    assert found.out.endswith(f"model soft {{\n{body}}}\n")
    assert found.err == "assumed N = 1 .. 8 .. 32; to change this, give --dim N=1..8..32\n"


MAKERS = """from torch import nn

class SmallNet(nn.Linear):
    def __init__(self, kind = ""):
        super().__init__(4, 4)

    @classmethod
    def from_kind(cls, kind):
        return cls(kind)

def create_model(kind, width = 4):
    return SmallNet(kind)

def make_head():
    return nn.Sequential(nn.Linear(4, 4))

def get_net(kind = "wide"):
    return SmallNet(kind)

def tiny(kind = "wide"):
    return SmallNet(kind)
"""


@pytest.mark.parametrize(
    ("maker", "kind", "name"),
    [
        ("create_model", "resnet18", "resnet18"),
        ("create_model", "'hub/ResNet-18.in1k'", "ResNet_18_in1k"),
        ("SmallNet.from_kind", "wide", "wide"),
        ("SmallNet", "wide", "small_net"),
        ("make_head", None, "head"),
        ("get_net", "narrow", "small_net"),
        ("tiny", "narrow", "tiny"),
    ],
)
def test_what_a_maker_makes_has_a_name(
    maker: str, kind: str | None, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("makers.py").write_text(MAKERS)
    given = () if kind is None else ("--arg", f"kind={kind}")
    assert trtdsl("import", f"makers.py:{maker}", *given, "--input", "x=float32[N, 4]") == 0
    assert f"model {name} {{" in capsys.readouterr().out


def test_files_are_written_checked_and_verified(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["import", *WORDS, *LENGTH, "--dim", "N=1..2..4", "--arg", "depth=2", "-o", "words.trtnet"]
    assert trtdsl(*command, "--verify") == 0
    lines = capsys.readouterr().err.splitlines()
    count = len(Path("words.trtnet").read_text().splitlines())
    assert lines[0] == f"wrote words.trtnet: {count} lines, 14 weights"
    assert lines[1] == "wrote words.constants.safetensors: 1 constant, 2.0 kB"
    assert lines[2].startswith(f"equal to {WORDS[0]}: float32 at N = 3, S = ")
    assert "; float64 at N = 1, S = 2, relative error " in lines[2]
    assert lines[3] == "next: trtdsl compile words.trtnet weights.pth words.constants.safetensors"
    assert lines[4].startswith(
        'where weights.pth is what torch.save(module.state_dict(), "weights.pth") writes'
    )
    torch.save(modules.Words(depth=2).state_dict(), "weights.pth")
    assert trtdsl("check", "words.trtnet", "weights.pth", "words.constants.safetensors") == 0
    assert trtdsl("fmt", "--check", "words.trtnet") == 0


def test_the_weights_are_written_beside_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert trtdsl("import", *WORDS, *LENGTH, "-o", "words.trtnet", "--with-weights") == 0
    (*_, step) = capsys.readouterr().err.splitlines()
    command = "words.trtnet words.weights.safetensors words.constants.safetensors"
    assert step == f"next: trtdsl compile {command}"
    assert trtdsl("check", *command.split()) == 0


def test_a_file_of_two_words_is_quoted(capsys: pytest.CaptureFixture[str]) -> None:
    assert trtdsl("import", *WORDS, *LENGTH, "-o", "two words.trtnet", "--with-weights") == 0
    (*_, step) = capsys.readouterr().err.splitlines()
    files = "'two words.trtnet' 'two words.weights.safetensors' 'two words.constants.safetensors'"
    assert step == f"next: trtdsl compile {files}"


def test_a_range_is_written_as_a_person_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert trtdsl("import", EMPTY[0], "--input", "x=float32[N, 4] in 0 .. 0.5") == 0
    assert "input x: float32[N, 4] in 0 .. 0.5\n" in capsys.readouterr().out
    assert trtdsl("import", EMPTY[0], "--input", "x=float32[N, 4] in -1 .. 1") == 0
    assert "input x: float32[N, 4] in -1 .. 1\n" in capsys.readouterr().out


def test_constants_without_a_file_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert trtdsl("import", *WORDS, *LENGTH) == 0
    assert "the text needs 1 constant beside it, which `-o FILE` writes" in capsys.readouterr().err


def test_an_edited_text_is_not_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["import", *EMPTY, "-o", "empty.trtnet"]
    assert trtdsl(*command) == 0
    assert trtdsl(*command) == 0
    path = Path("empty.trtnet")
    path.write_text(path.read_text().replace("N = 1", "N = 2"))
    capsys.readouterr()
    assert trtdsl(*command) == 2
    assert "`empty.trtnet` is there and is another text" in capsys.readouterr().err
    assert "N = 2" in path.read_text()
    assert trtdsl(*command, "--force") == 0
    assert "N = 1" in path.read_text()


def test_an_exported_program(capsys: pytest.CaptureFixture[str]) -> None:
    batch, length = torch.export.Dim("batch", max=64), torch.export.Dim("length", min=2, max=60)
    shapes = ({0: batch, 1: length}, {0: batch, 1: length})
    examples = (torch.ones(3, 7, dtype=torch.int64), torch.ones(3, 7))
    program = torch.export.export(modules.Words().eval(), examples, dynamic_shapes=shapes, strict=False)
    torch.export.save(program, "words.pt2")
    assert trtdsl("import", "words.pt2", "-o", "words.trtnet", "--dim", "S=2..8..70", "--verify") == 0
    found = capsys.readouterr().err
    assert "next: trtdsl compile words.trtnet words.weights.safetensors words.constants.safetensors" in found
    assert "equal to words.pt2: float32 at N = " in found
    text = Path("words.trtnet").read_text()
    assert "dim N = 1 .. 8 .. 32" in text
    assert "dim S = 2 .. 8 .. 60" in text
    assert trtdsl("check", "words.trtnet", "words.weights.safetensors", "words.constants.safetensors") == 0
    capsys.readouterr()
    assert trtdsl("import", "words.pt2", "--dim", "Q=1..2..3") == 2
    assert "has no dimension `Q`; its dynamic dimensions are `N`, `S`" in capsys.readouterr().err
    assert trtdsl("import", "words.pt2", "--arg", "depth=2") == 2
    assert "`--arg` is about a module" in capsys.readouterr().err


def test_a_checkpoint_is_loaded_before(capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(modules.Words().state_dict(), "weights.pth")
    assert trtdsl("import", *WORDS, *LENGTH, "-o", "w.trtnet", "--weights", "weights.pth") == 0
    assert "next: trtdsl compile w.trtnet weights.pth w.constants.safetensors" in capsys.readouterr().err
    torch.save(modules.Words(width=16).state_dict(), "weights.pth")
    assert trtdsl("import", *WORDS, *LENGTH, "--weights", "weights.pth") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((EMPTY[0],), "give the type of each input"),
        ((EMPTY[0], "--input", "x"), "`--input x`: write it as `--input x=float32[N, 3, 224, 224]`"),
        ((*EMPTY, *EMPTY[1:]), "`--input x` is given twice"),
        (("torch.nn:Lineal", *EMPTY[1:]), "has no `Lineal`, did you mean `Linear`?"),
        (("torch.nn", *EMPTY[1:]), "`torch.nn` is not a `package.module:name`"),
        ((f"{HERE / 'modules.py'}:not_a_module", *EMPTY[1:]), "makes `int`, which is not a torch.nn.Module"),
        (("missing.pt2",), "cannot read `missing.pt2`: no such file"),
        (("missing.onnx",), "cannot read `missing.onnx`: no such file"),
    ],
)
def test_wrong_calls(arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert trtdsl("import", *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_is_not_an_exported_program(capsys: pytest.CaptureFixture[str]) -> None:
    Path("model.pt2").write_text("nothing")
    assert trtdsl("import", "model.pt2") == 2
    assert "torch.export cannot load `model.pt2`" in capsys.readouterr().err


def test_torch_and_onnx_are_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert trtdsl("import", *EMPTY) == 2
    found = capsys.readouterr().err
    assert "`trtdsl import` needs PyTorch, which is not installed" in found
    assert "pip install 'trtdsl[import]'" in found
    Path("model.onnx").write_bytes(b"")
    assert trtdsl("import", "model.onnx") == 2
    found = capsys.readouterr().err
    assert "reading an ONNX file needs onnx, which is not installed" in found
    assert "pip install 'trtdsl[import]'" in found


def test_a_difference_is_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(modules.Empty):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.softmax(x * 3, -1)

    def imported(opened: source.Opened, *, is_flat: bool = False) -> object:
        return import_module(Other(), {"x": "float32[N, 4]"}, is_flat=is_flat)

    monkeypatch.setattr(source.Opened, "imported", imported)
    assert trtdsl("import", *EMPTY, "--verify") == 1
    assert "differs: " in capsys.readouterr().err


def test_an_onnx_file(capsys: pytest.CaptureFixture[str]) -> None:
    weight = np.arange(12, dtype=np.float32).reshape(4, 3)
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"]), onnx.helper.make_node("Relu", ["y"], ["z"])],
        "graph",
        [value("x", onnx.TensorProto.FLOAT, ["batch", 4])],
        [value("z", onnx.TensorProto.FLOAT, ["batch", 3])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), "model.onnx")
    assert trtdsl("import", "model.onnx", "-o", "model.trtnet", "--verify") == 0
    found = capsys.readouterr().err
    assert "equal to model.onnx: float32 at batch = " in found
    assert "next: trtdsl compile model.trtnet model.weights.safetensors\n" in found
    assert trtdsl("check", "model.trtnet", "model.weights.safetensors") == 0
    assert "assumed batch = 1 .. 8 .. 64; to change this, give --dim batch=1..8..64\n" in found
    assert trtdsl("import", "model.onnx", "--dim", "batch=4..8..12, step = 4") == 0
    assert "dim batch = 4 .. 8 .. 12, step = 4" in capsys.readouterr().out
    assert trtdsl("import", "model.onnx", "--dim", "batch=3") == 0
    assert "input x: float32[3, 4]" in capsys.readouterr().out
    for range in ("1..8", "8..4..2", "2..3..3, step = 4"):
        assert trtdsl("import", "model.onnx", "--dim", f"batch={range}") == 2
        assert capsys.readouterr().err.startswith(f"error: `{range}`")
    assert trtdsl("import", "model.onnx", "--dim", "N=3") == 2
    assert "no input of the file has a dimension `N`" in capsys.readouterr().err
    assert trtdsl("import", "model.onnx", "--input", "x=float32[4, 4]") == 2
    assert "`--input` is about a module" in capsys.readouterr().err


def test_comparisons_stay_small() -> None:
    """Every layer is held at once, and attention grows with the square of an image's tokens."""
    module = torch.nn.Conv2d(3, 4, 3)
    dims = {"H": "64 .. 512 .. 1024", "W": "40 .. 41 .. 48"}
    imported = import_module(module, {"x": "float32[N, 3, H, W]"}, dims)
    first, least = compared(imported, module)
    assert first.sizes == {"N": 2, "H": 192, "W": 40} and least.sizes == {"N": 1, "H": 64, "W": 40}
    assert first.verification.equal and least.verification.equal
