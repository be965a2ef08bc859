"""The wheel and the sdist, each in an empty environment without torch: `check` and `compile` work."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from trtdsl.elaborate import elaborate_file
from trtdsl.syntax.grammar import SERIALISED

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.zoo


def run(*command: str | Path, cwd: Path) -> str:
    """The command's output; fails with all of it."""
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist, built from what git would check out."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=folder)
    return folder


def test_the_wheel_ships_the_grammar_worked_out(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.getinfo(f"trtdsl/grammar/{SERIALISED}").file_size > 10_000


@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_works_in_an_empty_environment(built: Path, tmp_path: Path, kind: str) -> None:
    (package,) = built.glob(kind)
    venv.create(tmp_path / "venv", with_pip=True)
    binaries = tmp_path / "venv" / "bin"
    run(binaries / "python", "-m", "pip", "install", "--quiet", package, cwd=tmp_path)
    missing = run(
        binaries / "python", "-c", "import importlib.util as u; print(u.find_spec('torch'))", cwd=tmp_path
    )
    assert missing.strip() == "None"

    model = ROOT / "examples" / "resnet" / "resnet.trtnet"
    shutil.copy(model, tmp_path)
    random = np.random.default_rng(0)
    weights = {
        weight.key: random.random(weight.type.shape, dtype=np.float32)
        for weight in elaborate_file(model, "resnet18").weights
    }
    save_file(weights, tmp_path / "resnet18.safetensors")
    chosen = ["resnet.trtnet", "resnet18.safetensors", "--model", "resnet18"]
    assert "69 operators" in run(binaries / "trtdsl", "check", *chosen, cwd=tmp_path)
    assert "wrote resnet18.engine" in run(binaries / "trtdsl", "compile", *chosen, cwd=tmp_path)
    assert (tmp_path / "resnet18.engine").stat().st_size > 40_000_000
