"""TensorRT 8's tactic sources: allowed where their library can be loaded, and named where one was missing.

The libraries of CUDA 11 are on few machines, so the C library's mathematics stands for them here.
"""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.trt.recording import RecordingDialect
from tests.trt.releases import api, facts
from trtdsl.trt import tactics
from trtdsl.trt.build import advice, missing_products
from trtdsl.trt.tactics import LIBRARIES, Lack, Library, file_names, linked_numbers, unusable

MATHEMATICS: dict[str, str] = dict.fromkeys(("cublas", "cublasLt", "cudnn"), "libm.so.6")
"""A file that can be loaded, and is none of NVIDIA's libraries."""
NO_KERNEL = (
    "10: [optimizer.cpp::computeCosts::3728] Error Code 10: Internal Error "
    "(Could not find any implementation for node {ForeignNode[encoder.0.q...logits]}.)",
)
"""What TensorRT 8.5.3 says of a transformer when it was not allowed to use cuBLAS."""


class Config:
    """The part of 8.5's IBuilderConfig that is asked for: all sources are allowed until one is taken off."""

    def __init__(self) -> None:
        self.sources = 0b11111
        self.flags: set[Any] = set()

    def get_tactic_sources(self) -> int:
        return self.sources

    def set_tactic_sources(self, sources: int) -> None:
        self.sources = sources

    def set_flag(self, flag: Any) -> None:
        self.flags.add(flag)


def oldest(lacking: dict[str, str]) -> RecordingDialect:
    """The dialect of 8.5.3 on a machine that lacks these sources' libraries."""
    dialect = RecordingDialect(facts("8.5.3"))
    sources = IntEnum("TacticSource", api("8.5.3")["enums"]["TacticSource"])
    flags = IntEnum("BuilderFlag", api("8.5.3")["enums"]["BuilderFlag"])
    dialect.trt = SimpleNamespace(TacticSource=sources, BuilderFlag=flags)
    vars(dialect).update(unusable_tactics={source: Lack(reason) for source, reason in lacking.items()})
    return dialect


def test_a_library_that_is_not_there() -> None:
    reasons = unusable(dict.fromkeys(MATHEMATICS, "libno-such-library.so.11"))
    assert {*reasons} == {"CUBLAS", "CUBLAS_LT", "CUDNN"}
    assert reasons["CUBLAS"].reason.startswith("`libno-such-library.so.11` cannot be loaded: ")
    assert not any(lack.is_stand_in for lack in reasons.values())


def test_a_stand_in_is_not_used() -> None:
    """A file of the right name may be there only for TensorRT to be imported, and end the process if used."""
    reason = "`libm.so.6` is not NVIDIA's cuDNN: it has no `cudnnGetProperty`"
    assert unusable(MATHEMATICS)["CUDNN"] == Lack(reason, is_stand_in=True)


def test_a_library_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {**LIBRARIES, "CUBLAS": Library("cuBLAS", "cublas", "cos")}
    monkeypatch.setattr(tactics, "LIBRARIES", known)
    assert {*unusable(MATHEMATICS)} == {"CUBLAS_LT", "CUDNN"}


def test_the_release_is_read_off_tensorrts_own_file(tmp_path: Path) -> None:
    plugins, other = tmp_path / "libnvinfer_plugin.so.8", tmp_path / "libother.so"
    plugins.write_bytes(b"\0libc.so.6\0libcublas.so.12\0libcublasLt.so.12\0libcudnn.so.9\0")
    other.write_bytes(b"\0libcublas.so.10\0")
    assert linked_numbers([other, plugins]) == {"cublas": "12", "cublasLt": "12", "cudnn": "9"}
    assert linked_numbers([other]) == {}


def test_the_names_where_no_file_tells() -> None:
    assert file_names() == {
        "cublas": "libcublas.so.11",
        "cublasLt": "libcublasLt.so.11",
        "cudnn": "libcudnn.so.8",
    }


@pytest.mark.parametrize(
    ("lacking", "allowed"),
    [
        ((), ("CUBLAS", "CUBLAS_LT", "CUDNN", "EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS")),
        (("CUDNN",), ("CUBLAS", "CUBLAS_LT", "EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS")),
        (("CUBLAS", "CUBLAS_LT", "CUDNN"), ("EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS")),
    ],
)
def test_what_can_be_loaded_is_allowed(lacking: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    dialect, config = oldest(dict.fromkeys(lacking, "it is missing")), Config()
    dialect.configure(config, float16=False)
    assert dialect.tactic_sources(config) == allowed


def test_releases_that_need_no_library_are_left_alone() -> None:
    assert RecordingDialect(facts("8.5.3")).unusable_tactics.keys() <= LIBRARIES.keys()
    for release in ("10.13", "11.4"):
        assert RecordingDialect(facts(release)).unusable_tactics == {}


def test_a_build_that_failed_without_cublas_says_so() -> None:
    dialect, config = oldest({"CUBLAS": "`libcublas.so.11` cannot be loaded: no such file"}), Config()
    dialect.configure(config, float16=False)
    missing = missing_products(dialect, config)
    reason, help = advice(dialect.facts, NO_KERNEL, missing)
    assert reason == (
        "TensorRT had to build without cuBLAS: `libcublas.so.11` cannot be loaded: no such file"
    )
    assert "most transformers need its matrix products: install cuBLAS" in help
    assert advice(dialect.facts, ("another error",), missing) == ()


def test_a_build_that_failed_with_cublas_does_not_blame_it() -> None:
    dialect, config = oldest({}), Config()
    dialect.configure(config, float16=False)
    assert missing_products(dialect, config) == ""
    assert advice(dialect.facts, NO_KERNEL) == ()
    # As `tune` may have it.
    config.set_tactic_sources(0)
    assert missing_products(dialect, config) == "its tactic source was not allowed"


@pytest.mark.parametrize(
    ("choices", "flags"),
    [
        ({}, {"OBEY_PRECISION_CONSTRAINTS"}),
        ({"int8": True}, {"INT8", "PREFER_PRECISION_CONSTRAINTS"}),
        ({"mixed": True}, {"PREFER_PRECISION_CONSTRAINTS"}),
    ],
)
def test_pinned_types_are_a_wish_among_others(choices: dict[str, bool], flags: set[str]) -> None:
    """TensorRT 8.5 finds no kernel of a quantised layer where it must obey."""
    config = Config()
    oldest({}).configure(config, float16=True, **choices)
    assert {flag.name for flag in config.flags} == {"FP16", *flags}
