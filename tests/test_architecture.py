"""Imports go one way, and the heavy ones stay where they belong."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import networkx as nx
import pytest

PACKAGE = Path(__file__).parent.parent / "trtdsl"

LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"diagnostics", "types"}),
    frozenset({"array_files", "collection", "flags", "json_object", "output"}),
    frozenset({"profiles", "recipe"}),
    frozenset({"options"}),
    frozenset({"ops"}),
    frozenset({"ir"}),
    frozenset({"syntax"}),
    frozenset({"elaborate", "weights", "passes", "reference", "trt", "evaluate"}),
    frozenset({"given", "fitting"}),
    frozenset({"precision"}),
    frozenset({"runtime", "support"}),
    frozenset({"compile"}),
    frozenset({"runner"}),
    frozenset({"calibrate", "explain"}),
    frozenset({"verification", "exporters"}),
    frozenset({"importers"}),
    frozenset({"cli"}),
    frozenset({"__main__"}),
)
"""From the bottom; a part may import what stands below it, and itself."""

ALONE = ("evaluate",)
"""Parts that import nothing of trtdsl but themselves."""

TORCH = ("reference.py", "evaluate/", "precision/", "verification/", "importers/")
TENSORRT = ("trt/", "evaluate/", "runtime/")


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, at any depth."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module


def layer(part: str) -> int:
    return next(number for number, parts in enumerate(LAYERS) if part in parts)


def forbidden(path: Path, modules: Iterator[str]) -> list[str]:
    """The imports of a file that go up, or sideways to another part of its layer."""
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    found: list[str] = []
    for module in modules:
        package, _, rest = module.partition(".")
        other = rest.partition(".")[0]
        if package != "trtdsl" or not other or other == part or part == "__init__":
            continue
        if part in ALONE or layer(other) >= layer(part):
            found.append(module)
    return found


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    assert forbidden(path, imported(path)) == []


def circles(paths: list[Path]) -> list[list[str]]:
    """The groups of files that import each other, for the sake of types too."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    names = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in paths}
    for name, path in names.items():
        for module in imported(path):
            graph.add_edge(name, module)
    return sorted(sorted(group) for group in nx.strongly_connected_components(graph) if len(group) > 1)


@pytest.mark.parametrize(
    "part",
    [
        "diagnostics",
        "elaborate",
        "evaluate",
        "exporters",
        "importers",
        "passes",
        "precision",
        "runtime",
        "trt",
        "weights",
    ],
)
def test_no_files_import_each_other(part: str) -> None:
    assert circles([path for path in files() if path.relative_to(PACKAGE).parts[0] == part]) == []


def test_a_circle_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.test_architecture.PACKAGE", tmp_path / "p")
    (tmp_path / "p").mkdir()
    paths = [tmp_path / "p" / f"{name}.py" for name in "abc"]
    for path, other in zip(paths, "bac", strict=True):
        path.write_text(f"from p.{other} import x\n" if path.stem != other else "")
    assert circles(paths) == [["p.a", "p.b"]]


def test_an_upward_import_is_found() -> None:
    assert forbidden(PACKAGE / "ops" / "shape.py", iter(["trtdsl.ir", "trtdsl.types", "numpy"])) == [
        "trtdsl.ir"
    ]
    assert forbidden(PACKAGE / "evaluate" / "x.py", iter(["trtdsl.types"])) == ["trtdsl.types"]
    assert forbidden(PACKAGE / "passes" / "x.py", iter(["trtdsl.trt.lower"])) == ["trtdsl.trt.lower"]


@pytest.mark.parametrize(
    ("package", "allowed"), [("torch", TORCH), ("tensorrt", TENSORRT), ("tensorrt_rtx", TENSORRT)]
)
def test_heavy_packages_stay_in_their_places(package: str, allowed: tuple[str, ...]) -> None:
    users = [
        p.relative_to(PACKAGE).as_posix()
        for p in files()
        if package in {m.partition(".")[0] for m in imported(p)}
    ]
    assert [user for user in users if not user.startswith(allowed)] == []


@pytest.mark.parametrize(
    "module",
    ["trtdsl", "trtdsl.compile", "trtdsl.cli", "trtdsl.passes", "trtdsl.weights", "trtdsl.verification"],
)
def test_importing_brings_in_neither_torch_nor_tensorrt(module: str) -> None:
    code = (
        f"import sys, {module}; print([m for m in ('torch', 'tensorrt', 'tensorrt_rtx') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_numbers_of_things_are_written_by_one_function() -> None:
    """`counted(1, "key")`; no message says "1 keys"."""
    inline = re.compile(r"""['"]s['"] (if|\*)""")
    found = [path.name for path in files() if inline.search(path.read_text(encoding="utf-8"))]
    assert found == []
