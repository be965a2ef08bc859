"""What a start of the command line imports: checking and formatting a text need no arrays and no TensorRT."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
HEAVY = ("numpy", "ml_dtypes", "torch", "tensorrt", "tensorrt_rtx", "cuda", "networkx", "safetensors", "rich")

# Packages may import modules when Python itself starts, as a path file of cuda-bindings 12.9 does.
PROGRAM = """
import sys
before = {*sys.modules}
from trtdsl.cli import main
try:
    main()
except SystemExit as done:
    assert not done.code, done.code
print("imported:", *sorted(name for name in sys.modules.keys() - before if "." not in name))
"""


@pytest.mark.parametrize("command", [["check"], ["fmt", "--check"]], ids=" ".join)
@pytest.mark.parametrize("model", ["resnet/resnet18.trtnet", "cnn/cnn.trtnet"])
def test_a_text_needs_no_arrays(command: list[str], model: str) -> None:
    run = [sys.executable, "-c", PROGRAM, *command, str(EXAMPLES / model)]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    imported = done.stdout.splitlines()[-1].split()
    assert imported[0] == "imported:"
    assert not {*HEAVY} & {*imported}
