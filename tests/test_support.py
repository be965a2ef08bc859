"""What each release of TensorRT has, and what every operator becomes there."""

from __future__ import annotations

import dataclasses

import pytest
import tensorrt_rtx as trt

from tests.command import trtdsl
from tests.trt.releases import facts
from trtdsl.ops.base import OPERATORS
from trtdsl.support import NOT_REACHED, columns, layers_used, support
from trtdsl.trt.facts import facts_of
from trtdsl.trt.releases import RELEASES, release_facts

FOUR = ("TensorRT 8.5", "TensorRT 10.13", "TensorRT 11.4", "TensorRT-RTX 1.7")
READ_OFF = {"TensorRT 8.5": "8.5.3", "TensorRT 10.13": "10.13", "TensorRT 11.4": "11.4"}


@pytest.mark.parametrize("release", READ_OFF)
def test_the_facts_are_those_of_the_bindings(release: str) -> None:
    assert release_facts(release) == facts(READ_OFF[release])


def test_the_facts_of_rtx_are_those_installed() -> None:
    known, found = release_facts("TensorRT-RTX 1.7"), facts_of(trt)
    assert found.layers == known.layers
    for name, members in known.enums.items():
        assert found.enums.get(name, members) == members, name
    assert dataclasses.replace(found, enums={}) == dataclasses.replace(known, enums={})


def test_every_layer_is_reached_or_has_a_reason() -> None:
    used = layers_used("TensorRT 11.4")
    assert release_facts("TensorRT 11.4").layers - used == NOT_REACHED.keys() - used
    assert not NOT_REACHED.keys() & used, "these are reached: take them out"


@pytest.mark.parametrize(
    ("operator", "words"),
    [
        ("Conv2d", ("native", "native", "native", "native")),
        ("gelu", ("composed", "native", "native", "native")),
        ("to", ("native in part", "native", "native", "native")),
        ("LayerNorm", ("composed", "composed", "native", "native")),
        ("plugin", ("native", "native", "native", "refused")),
    ],
)
def test_words(operator: str, words: tuple[str, ...]) -> None:
    assert tuple(support(OPERATORS[operator], release).word for release in FOUR) == words


def test_what_a_release_lacks_is_told() -> None:
    assert support(OPERATORS["to"], "TensorRT 8.5").refused == ("TensorRT 8.5 does not support bfloat16",)
    assert support(OPERATORS["to"], "TensorRT 11.4").refused == ()


def test_the_command_prints_a_row_for_each_operator(capsys: pytest.CaptureFixture[str]) -> None:
    assert trtdsl("ops", "--table") == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(OPERATORS) + 2
    assert f"| `relu` |{' native |' * len(columns())}" in printed


def test_a_column_is_of_releases_in_which_nothing_changes() -> None:
    """Attention came with 10.14, layer norms of any rank with 10.15, volumes for grid_sample with 11.2."""
    assert [*columns()][-4:] == [
        "TensorRT 10.14",
        "TensorRT 10.15 to 11.1",
        "TensorRT 11.2 to 11.4",
        "TensorRT-RTX 1.7",
    ]
    assert columns()["TensorRT 10.15 to 11.1"] == "TensorRT 10.15"
    firsts = [*columns().values()]
    assert firsts == sorted(firsts, key=RELEASES.index)


def test_the_table_is_of_all_operators(capsys: pytest.CaptureFixture[str]) -> None:
    assert trtdsl("ops", "relu", "--table") == 2
    assert "leave the name out" in capsys.readouterr().err
