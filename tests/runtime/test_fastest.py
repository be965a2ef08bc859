"""The fastest of several builds: which is kept, what is said of it, and where there is no choice."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.command import trtdsl
from trtdsl.compile import compile_graph
from trtdsl.diagnostics import Diagnostic, RefusedByTensorRT, UsageError
from trtdsl.elaborate import elaborate_text
from trtdsl.options import CompileOptions
from trtdsl.runtime import fastest as fastest_module
from trtdsl.runtime.fastest import fastest

TEXT = "model m() {\n  input x: float32[2, 4]\n  output y = relu(x)\n}\n"


def kept(times: list[list[float]]) -> tuple[int, list[str]]:
    """Which of the builds that take so long is kept, and the notes."""
    builds: Iterator[int] = iter(range(len(times)))
    best, notes = fastest(lambda: next(builds), len(times), times.__getitem__)
    assert next(builds, None) is None
    return best, [note.message for note in notes]


def test_the_one_with_the_least_time() -> None:
    assert kept([[2.0], [1.5], [1.75]]) == (
        1,
        ["kept build 2 of 3: 1.500 ms, where the others take 2.000, 1.750"],
    )


def test_of_equal_ones_the_first() -> None:
    assert kept([[2.0], [2.0]])[0] == 0


def test_every_profile_counts_alike() -> None:
    """A gain of a tenth at one size is not lost in the milliseconds of another."""
    best, (note,) = kept([[0.1, 10.0], [0.08, 10.5]])
    assert best == 1
    assert note == "kept build 2 of 2: 0.080/10.500 ms, where the others take 0.100/10.000"


def test_a_single_build_is_not_timed() -> None:
    def times(built: str) -> list[float]:
        raise AssertionError(built)

    assert fastest(lambda: "engine", 1, times) == ("engine", ())


@pytest.mark.parametrize("builds", [0, -1, True, 2.0, "3"])
def test_how_many_is_a_number(builds: Any) -> None:
    with pytest.raises(UsageError, match="1 or more"):
        CompileOptions(builds=builds)


def test_any_type_of_integer_will_do() -> None:
    assert CompileOptions(builds=np.int64(2)).builds == 2  # pyright: ignore[reportArgumentType]


def test_what_no_cuda_graph_can_hold_is_timed_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """When its context is gone: an error that is being handled keeps it, and its profile on TensorRT 8."""
    tried: list[tuple[bool, object]] = []

    def measure(engine: Any, shapes: Any, *, seconds: float, cuda_graph: bool = False) -> Any:
        tried.append((cuda_graph, sys.exc_info()[1]))
        if cuda_graph:
            raise RefusedByTensorRT(Diagnostic("the CUDA graph is empty"))
        return SimpleNamespace(gpu=SimpleNamespace(median=1.25))

    monkeypatch.setattr(fastest_module, "measure", measure)
    assert fastest_module.median_of("engine", {}) == 1.25  # pyright: ignore[reportArgumentType]
    assert tried == [(True, None), (False, None)]


def test_engines_that_choose_their_kernels_later_are_built_once(tmp_path: Path) -> None:
    path = tmp_path / "m.engine"
    with pytest.raises(UsageError, match="when an engine is loaded"):
        compile_graph(elaborate_text(TEXT), path, CompileOptions(runtime="tensorrt_rtx", builds=2))
    assert not path.exists()


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "m.trtnet"
    text.write_text(TEXT, encoding="utf-8")
    engine = tmp_path / "m.engine"
    for given, said in [
        ("2", "when an engine is loaded"),
        ("two", "an integer is expected"),
        ("0", "1 or more"),
    ]:
        assert trtdsl("compile", text, "-o", engine, "--builds", given) == 2
        assert said in capsys.readouterr().err
    assert trtdsl("compile", text, "-o", engine, "--builds", "1") == 0
