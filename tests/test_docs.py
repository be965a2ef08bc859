"""Every example in the documents is run: texts are elaborated, Python is executed, errors are compared."""

from __future__ import annotations

import re
import shlex
import shutil
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torchvision.transforms import functional

from benchmarks.zoo_table import text_lines
from tests.closeness import require_close
from tests.torch_release import can_import
from trtdsl import support
from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate, elaborate_file, elaborate_text
from trtdsl.ir import difference, show
from trtdsl.ops.describe import operator_pages
from trtdsl.runner import load
from trtdsl.syntax import format_text

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

PART = """model page {{
  dim N = 1 .. 8 .. 64
  dim H = 16 .. 32 .. 64
  dim W = 16 .. 32 .. 64
  input x: float32[N, 64, H, W]
  input v: float32[N, 8]
{}
}}
"""


@dataclass(frozen=True)
class Fence:
    """A fenced block: its kind, its text, and the text of the `error` block right after it."""

    page: str
    line: int
    kind: str
    text: str
    error: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def fences() -> Iterator[Fence]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found = list(re.finditer(r"^```([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
        for number, match in enumerate(found):
            after = found[number + 1] if number + 1 < len(found) else None
            adjacent = after and not text[match.end() : after.start()].strip()
            error = after[2] if after and adjacent and after[1] == "error" else ""
            line = text.count("\n", 0, match.start()) + 1
            yield Fence(page.name, line, match[1].strip(), match[2], error)


def of_kind(*kinds: str) -> list[Fence]:
    return [fence for fence in fences() if fence.kind in kinds]


@pytest.mark.parametrize("fence", of_kind("trtnet", "trtnet part"), ids=str)
def test_text(fence: Fence) -> None:
    indented = "".join(f"  {line}" if line.strip() else line for line in fence.text.splitlines(keepends=True))
    text = PART.format(indented.rstrip("\n")) if fence.kind.endswith("part") else fence.text
    assert format_text(text) == text
    try:
        elaborated = elaborate(text, str(ROOT / "docs" / "example.trtnet"))
    except DiagnosticError as error:
        messages = [f"{d.severity}: {d.message}" for d in error.diagnostics]
        assert messages == fence.error.strip().splitlines()
        return
    unused = re.compile(r"input `[xv]` is never used")
    messages = [f"warning: {d.message}" for d in elaborated.warnings if not unused.match(d.message)]
    assert messages == fence.error.strip().splitlines()
    again = elaborate(show(elaborated.graph), "again.trtnet").graph
    assert difference(elaborated.graph, again) is None


@pytest.mark.parametrize("size", [(60, 100), (301, 150)])
def test_images_are_prepared_as_by_torchvision(size: tuple[int, int]) -> None:
    """What the page has for that, without the network behind it."""
    (fence,) = (each for each in of_kind("trtnet") if "def prepared" in each.text)
    shape = ", ".join(map(str, (2, *size, 3)))
    text = f"{fence.text}\nmodel alone {{\n  input image: uint8[{shape}]\n  output y = prepared(image)\n}}\n"
    images = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
    found = torch.from_numpy(load(elaborate_text(text, "alone"), device="cpu")(image=images)["y"])
    whole = torch.from_numpy(images).flip(-1).permute(0, 3, 1, 2) / 255
    resized = functional.resize(whole, [224, 224], antialias=True)
    require_close(found, functional.normalize(resized, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))


@pytest.fixture
def readme_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the README's commands read: two models, one checkpoint right and one wrong."""
    shapes: dict[str, dict[str, Any]] = {}
    for name in ("cnn/cnn", "resnet/resnet18"):
        source = ROOT / "examples" / f"{name}.trtnet"
        shutil.copy(source, tmp_path)
        shapes[name] = {weight.key: weight.type.shape for weight in elaborate_file(source).weights}
    generator = torch.Generator().manual_seed(0)
    fitting = {key: torch.randn(shape, generator=generator) / 10 for key, shape in shapes["cnn/cnn"].items()}
    torch.save(fitting, tmp_path / "weights.pth")
    samples = np.random.default_rng(0).normal(size=(16, 3, 32, 32)).astype(np.float32)
    np.savez(tmp_path / "samples.npz", data=samples)
    wrong = shapes["resnet/resnet18"] | {"layer2.0.conv1.weight": (128, 32, 3, 3)}
    save_file(
        {key: np.zeros(shape, np.float32) for key, shape in wrong.items()}, tmp_path / "weights.safetensors"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("fence", of_kind("console"), ids=str)
def test_command_prints_what_the_page_shows(fence: Fence, readme_folder: Path) -> None:
    command, _, shown = fence.text.partition("\n")
    if command.startswith("$ trtdsl import") and not can_import():
        pytest.skip("importing asks for a newer PyTorch than the package's lowest")
    program, *arguments = shlex.split(command.removeprefix("$ "))
    path = Path(sys.executable).with_name(program)
    done = subprocess.run([path, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.stdout == shown


@pytest.mark.parametrize("fence", of_kind("python"), ids=str)
def test_python_runs(fence: Fence, readme_folder: Path) -> None:
    if ("import_" in fence.text or "onnx.export" in fence.text) and not can_import():
        pytest.skip("importing asks for a newer PyTorch than the package's lowest")
    exec(compile(fence.text, str(fence), "exec"), {"__name__": "__main__"})


def test_every_error_belongs_to_an_example() -> None:
    errors = len(of_kind("error"))
    assert errors == sum(bool(fence.error) for fence in of_kind("trtnet", "trtnet part")) > 0


def test_the_changelog_says_nothing_twice() -> None:
    """Merged line by line, it may keep what another branch has rewritten."""
    lines = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    twice = [line for line, count in Counter(filter(None, lines)).items() if count > 1]
    assert not twice


def test_the_lengths_of_examples_are_those_of_their_code() -> None:
    """As the table of examples/README.md counts them."""
    linked = r"\[(\d+) lines(?: of text)?\]\((examples/[\w/]+\.trtnet)\)"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lengths = {
        path: text_lines(path.read_text(encoding="utf-8")) for path in ROOT.glob("examples/*/*.trtnet")
    }
    stated = re.findall(linked, "".join(page.read_text(encoding="utf-8") for page in PAGES))
    assert len(stated) >= 2
    assert {path: int(count) for count, path in stated} == {path: lengths[ROOT / path] for _, path in stated}
    least, most, middle = min(lengths.values()), max(lengths.values()), statistics.median(lengths.values())
    assert f"a text of {least} to {most} lines, {middle:.0f} in the median of the examples" in readme


def headers(text: str) -> list[str]:
    """The blocks and defs that others may use, as they are called: ``Name(parameters)(tensors)``."""
    found = re.findall(r"^(?:block|def) ([A-Za-z].*?) \{$", text, re.MULTILINE | re.DOTALL)
    return [re.sub(r",? ?\n? *\)", ")", re.sub(r"\(\s+", "(", " ".join(each.split()))) for each in found]


def test_the_standard_library_is_on_its_page() -> None:
    """Every file under a heading, and below that what each of its blocks and defs takes."""
    page = (ROOT / "docs" / "standard-library.md").read_text(encoding="utf-8")
    sections = re.split(r"^## ", page, flags=re.MULTILINE)[1:]
    for path in sorted((ROOT / "trtdsl" / "std").glob("*.trtnet")):
        (section,) = (each for each in sections if f"std/{path.name}" in each.partition("\n")[0])
        shown = " ".join(section.split())
        missing = [each for each in headers(path.read_text(encoding="utf-8")) if f"`{each}`" not in shown]
        assert missing == [], path.name


def test_operator_pages_are_current() -> None:
    assert (ROOT / "docs" / "operators.md").read_text(encoding="utf-8") == operator_pages(), "run `make docs`"


def test_support_page_is_current() -> None:
    assert (ROOT / "docs" / "support.md").read_text(encoding="utf-8") == support.page(), "run `make docs`"
