"""What `trtdsl` says of commands that import something wrong, or import nothing: each gives exactly the text
of its golden file.

``UPDATE_GOLDEN=1 pytest tests/importers/test_messages.py`` writes them anew; read what changed.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest

from tests.command import trtdsl

HERE = Path(__file__).parent / "messages"

FILES = {
    "model.py": """\
import torch
from torch import nn


class Net(nn.Module):
    def forward(self, x):
        return torch.relu(x)


class Masked(nn.Module):
    def forward(self, x, mask, *, scale=None):
        return torch.relu(x) * mask


class Wide(nn.Module):
    def __init__(self, width, depth=2):
        super().__init__()
        self.fc = nn.Linear(width, 4)

    def forward(self, x):
        return self.fc(x)


class Broken(nn.Module):
    def __init__(self):
        raise RuntimeError("the weights are not there")


class Plain:
    pass


def make(width, height):
    return Wide(width)


number = 3
net = Net()
""",
    "wrong.py": "def f(:\n",
    "lacks.py": "import nonesuch\n",
    "text.pt2": "not a program",
    "text.onnx": "x",
    "a text.onnx": "x",
    "model.pth": "not a checkpoint",
}
X = "--input 'x=float32[N, 4]'"

CASES = {
    # What SOURCE names.
    "no_module": f"import nonesuch:Net {X}",
    "no_submodule": f"import torch.nonesuch:Net {X}",
    "no_script": f"import missing.py:Net {X}",
    "script_without_name": f"import model.py {X}",
    "dot_for_colon": f"import torch.nn.Linear {X}",
    "one_word": f"import resnet18 {X}",
    "checkpoint": f"import model.pth {X}",
    "name_misspelt": f"import model.py:Nett {X}",
    "script_with_wrong_syntax": f"import wrong.py:Net {X}",
    "script_lacks_package": f"import lacks.py:Net {X}",
    "number": f"import model.py:number {X}",
    "plain_class": f"import model.py:Plain {X}",
    # What it is called with.
    "argument_missing": f"import model.py:Wide {X}",
    "arguments_missing": f"import model.py:make {X}",
    "argument_misspelt": f"import model.py:Wide --arg widht=4 {X}",
    "argument_of_module": f"import model.py:net --arg width=4 {X}",
    "argument_without_value": f"import model.py:Wide --arg width {X}",
    "constructor_raises": f"import model.py:Broken {X}",
    "no_inputs": "import model.py:Masked",
    "input_missing": f"import model.py:Masked {X}",
    "input_misspelt": f"import model.py:Masked {X} --input 'msk=float32[N, 4]'",
    # What the inputs are.
    "bracket_open": "import model.py:Net --input x=float32[N,3,224,224",
    "comma_missing": "import model.py:Net --input 'x=float32[N 3]'",
    "dtype_missing": "import model.py:Net --input 'x=[N, 3]'",
    "shape_missing": "import model.py:Net --input x=float32",
    "second_input": f"import model.py:Masked {X} --input 'mask=float32(N, 4)'",
    "values_without_end": "import model.py:Net --input 'x=float32[N, 3] in 0'",
    "range_without_end": f"import model.py:Net {X} --dim N=1..8",
    "range_with_commas": f"import model.py:Net {X} --dim N=1,8,64",
    "range_of_names": f"import model.py:Net {X} --dim N=a..b..c",
    "dim_misspelt": f"import model.py:Net {X} --dim M=1..8..64",
    # Files.
    "no_program": "import text.pt2",
    "no_onnx": "import text.onnx",
    "no_folder": f"import model.py:Net {X} -o missing/net.trtnet",
    "folder": f"import model.py:Net {X} -o .",
    "name_of_two_words": f"import model.py:Net {X} --name 'my net'",
    "no_checkpoint": f"import model.py:Net {X} --weights missing.pth",
    "check_script": "check model.py",
    "check_name": "check model.py:Net",
    "check_onnx": "check text.onnx",
    "check_onnx_quoted": "check 'a text.onnx'",
    "check_program": "check text.pt2",
    "compile_script": "compile model.py model.pth",
}


@pytest.mark.parametrize("name", CASES)
def test_message(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for file, text in FILES.items():
        Path(file).write_text(text)
    code = trtdsl(*shlex.split(CASES[name]))
    found = capsys.readouterr()
    text = f"$ trtdsl {CASES[name]}\n{found.out}{found.err}exit {code}\n"
    text = text.replace(sys.executable, "PYTHON").replace(str(tmp_path), "FOLDER")
    golden = HERE / f"{name}.err"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


def test_no_golden_is_left_over() -> None:
    assert {path.stem for path in HERE.iterdir()} == {*CASES}
