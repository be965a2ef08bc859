"""Imports: whose blocks become visible, under which names, from where."""

from __future__ import annotations

from pathlib import Path

import pytest

from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate_file
from trtdsl.ir import Graph


def graph_in(folder: Path, **files: str) -> Graph:
    """The graph of ``main.trtnet`` among other files."""
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.trtnet"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return elaborate_file(folder / "main.trtnet")


def model(imports: str, block: str) -> str:
    return f"{imports}\nmodel main() {{ input x: float32[1, 3, 8, 8] output y = x -> l: {block} }}"


RELU = "block R()(x) { return relu(x) }"


@pytest.mark.parametrize(
    ("imports", "block"),
    [
        ('import "other.trtnet"', "R"),
        ('import "other.trtnet" as o', "o.R"),
        ('import "./other.trtnet" as o import "other.trtnet" as p', "p.R"),
    ],
)
def test_blocks_come_under_their_names(tmp_path: Path, imports: str, block: str) -> None:
    (node,) = graph_in(tmp_path, main=model(imports, block), other=RELU).nodes
    assert (node.op.name, node.scope) == ("relu", "l")


def test_paths_are_relative_to_the_importing_file(tmp_path: Path) -> None:
    other = 'import "../base.trtnet" import "near.trtnet" block A()(x) { return x -> R -> B }'
    near = "block B()(x) { return tanh(x) }"
    main = model('import "parts/a.trtnet"', "A")
    graph = graph_in(tmp_path, main=main, base=RELU, parts__a=other, parts__near=near)
    assert [node.op.name for node in graph.nodes] == ["relu", "tanh"]


def test_what_a_file_imports_is_not_passed_on(tmp_path: Path) -> None:
    files = {"other": 'import "base.trtnet"\nblock A()(x) { return x -> R }', "base": RELU}
    with pytest.raises(DiagnosticError, match="unknown name `R`"):
        graph_in(tmp_path, main=model('import "other.trtnet"', "R"), **files)


def test_names_that_begin_with_an_underscore_stay_in_their_file(tmp_path: Path) -> None:
    other = "def shown(x) { return _inner(x) }\ndef _inner(x) { return tanh(x) }"
    main = 'import "other.trtnet"\nblock _inner()(x) { return x -> shown -> relu }\n' + model("", "_inner")
    graph = graph_in(tmp_path, main=main, other=other)
    assert [node.op.name for node in graph.nodes] == ["tanh", "relu"]


def test_an_import_stands_in_an_operators_place(tmp_path: Path) -> None:
    main = model('import "other.trtnet"', "relu")
    (node,) = graph_in(tmp_path, main=main, other="block relu()(x) { return x -> tanh }").nodes
    assert node.op.name == "tanh"
    (node,) = graph_in(
        tmp_path, main=main.replace('net"', 'net" as o'), other="block relu()(x) { return x }"
    ).nodes
    assert node.op.name == "relu"


def test_a_block_keeps_its_own_files_names(tmp_path: Path) -> None:
    other = "block R()(x) { return x -> S }\nblock S()(x) { return tanh(x) }"
    main = "block S()(x) { return relu(x) }\n" + model("", "o.R")
    (node,) = graph_in(tmp_path, main='import "other.trtnet" as o\n' + main, other=other).nodes
    assert node.op.name == "tanh"


def test_the_standard_library_is_found_from_anywhere(tmp_path: Path) -> None:
    main = model('import "std/resnet.trtnet" as r', "r.BasicBlock(3)")
    keys = [weight.key for weight in graph_in(tmp_path, main=main).weights]
    assert keys[0] == "l.conv1.weight"


def test_a_file_imported_twice_is_read_once(tmp_path: Path) -> None:
    other = 'import "base.trtnet" as b\nblock A()(x) { return x -> b.R }'
    main = 'import "base.trtnet" as b\n' + model('import "other.trtnet"', "A")
    assert len(graph_in(tmp_path, main=main, other=other, base=RELU).nodes) == 1


def test_origins_lead_through_files(tmp_path: Path) -> None:
    (node,) = graph_in(tmp_path, main=model('import "other.trtnet"', "R"), other=RELU).nodes
    places = [Path(str(origin.span)).name for origin in node.origins]
    assert places == ["other.trtnet:1:23", "main.trtnet:2:61"]


def test_a_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "other.trtnet").write_text(RELU, encoding="utf-8-sig")
    assert graph_in(tmp_path, main=model('import "other.trtnet"', "R")).nodes
