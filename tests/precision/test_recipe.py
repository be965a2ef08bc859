"""Recipes: the words of the command line and of files, and what is refused of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trtdsl.compile import arguments
from trtdsl.diagnostics import UsageError
from trtdsl.options import CompileOptions
from trtdsl.precision.labels import matching
from trtdsl.recipe import Recipe, recipe_of
from trtdsl.types import DType

TEXT = """
precision = "int8"
around = "bfloat16"
calibrate = "data/samples.npz"
samples = 64
method = "percentile"
percentile = 99.9
[keep]
float16 = ["head.*", "stem"]
float32 = ["norm"]
[allow]
int8 = ["conv1"]
"""


def read(text: str, folder: Path, **given: Any) -> Recipe | None:
    (folder / "r.toml").write_text(text)
    return recipe_of(folder / "r.toml", given)


def test_a_file_and_the_command_line_say_the_same(tmp_path: Path) -> None:
    found = read(TEXT, tmp_path)
    assert found == Recipe(
        precision="int8",
        around="bfloat16",
        calibrate=tmp_path / "data" / "samples.npz",
        samples=64,
        method="percentile",
        percentile=99.9,
        keep={"float16": "head.*,stem", DType.FLOAT32: ["norm"]},
        allow={"int8": ("conv1",)},
    )
    assert arguments(CompileOptions(recipe=found)) == [
        *("--precision", "int8", "--around", "bfloat16", "--keep", "float16=head.*,stem"),
        *(
            "--keep",
            "float32=norm",
            "--allow",
            "int8=conv1",
            "--calibrate",
            str(tmp_path / "data/samples.npz"),
        ),
        *("--samples", "64", "--method", "percentile", "--percentile", "99.9"),
    ]


def test_words_beside_a_file_count_more(tmp_path: Path) -> None:
    found = read(TEXT, tmp_path, samples=8, keep={"float16": ["fc"]})
    assert found and (found.samples, found.keep) == (8, {DType.FLOAT16: ("fc",)})
    assert (found.method, found.allow) == ("percentile", {DType.INT8: ("conv1",)})


def test_a_precision_alone_is_a_recipe() -> None:
    assert CompileOptions(precision="fp8").recipe == Recipe(precision=DType.FLOAT8)
    assert CompileOptions(recipe=Recipe(precision="float16")).precision is DType.FLOAT16
    assert CompileOptions().recipe is None
    assert recipe_of(None, {}) is None
    with pytest.raises(UsageError, match="the precision is float16, but int8 in the recipe"):
        CompileOptions(precision="float16", recipe=Recipe(precision="int8"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        ("precision = ", "it is not valid TOML"),
        (
            'precision = "int8"\nmax_eror = 0.1',
            "`max_eror` is not one of its words, did you mean `max_error`?",
        ),
        ('precision = "int8"\nkeep = ["head"]', r"`\[keep\]` has a list of labels for each type"),
        ('precision = "int8"\n[keep]\nfloat16 = "head"', r"`\[keep\]` has a list of labels for each type"),
        ("precision = 8", "`precision` is a text, not 8"),
        ('calibrate = "a.npz"', "says nothing without a precision"),
        ('precision = "int8"\nsamples = "8"', "`--samples` takes a number of samples from 1 on, not '8'"),
    ],
)
def test_what_is_not_a_recipe(text: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=reason):
        read(text, tmp_path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*: no such file"):
        recipe_of(tmp_path / "none.toml", {})
    with pytest.raises(UsageError, match=r"`--precision float16`, but the precision of .* is int8"):
        read(TEXT, tmp_path, precision="float16")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            {"precision": "int9"},
            r"`int9`, did you mean `int4` or `int8`\?\n.*choose one of float32, .*, int8, float8",
        ),
        ({"around": "int8"}, "`--around` is `int8`: choose one of float32, float16, bfloat16"),
        ({"keep": {"int8": ["a"]}}, "the type of `--keep` is `int8`: choose one of float32"),
        ({"allow": {"float8": ["a"]}}, "allows nothing where the precision is int8"),
        ({"keep": {"float16": "a,b"}, "allow": {"int8": "b"}}, "`b` is both kept and allowed"),
        (
            {"method": "mean", "calibrate": "d"},
            "`--method mean`: choose one of max, percentile, mse, entropy",
        ),
        ({"samples": 0, "calibrate": "d"}, "takes a number of samples from 1 on, not 0"),
        ({"samples": 1.5, "calibrate": "d"}, "takes a number of samples from 1 on, not 1.5"),
        ({"samples": 8}, "`--samples` is about data, and there are none"),
        ({"save_scales": "s"}, "`--save-scales` is about data, and there are none"),
        ({"max_error": 0.1, "scales": "s"}, "`--max-error` is about data, and there are none"),
        ({"max_error": float("nan"), "calibrate": "d"}, "takes an error greater than 0, not nan"),
        ({"equalise": 1.5}, "`--equalise` takes a number from 0 to 1, not 1.5"),
        (
            {"scales": "s", "save_scales": "t", "calibrate": "d"},
            "would write the ranges that `--scales` gives",
        ),
        (
            {"scales": "s", "method": "mse", "calibrate": "d"},
            "`--method` chooses ranges, and those of `--scales`",
        ),
        ({"percentile": 99.9, "calibrate": "d"}, "`--percentile` is for another method"),
        ({"precision": "float16", "scales": "s"}, "`--scales` is for int8 and float8, not for float16"),
    ],
)
def test_choices_that_are_refused(words: dict[str, Any], reason: str) -> None:
    given: dict[str, Any] = {"precision": "int8", **words}
    with pytest.raises(UsageError, match=reason):
        Recipe(**given)


def test_options_take_the_file_of_a_recipe(tmp_path: Path) -> None:
    read(TEXT, tmp_path)
    options: Any = CompileOptions(recipe=tmp_path / "r.toml")  # pyright: ignore[reportArgumentType]  # as users do
    assert options.recipe == recipe_of(tmp_path / "r.toml", {})


@pytest.mark.parametrize(
    ("pattern", "label", "is_for"),
    [
        ("head", "head", True),
        ("head.*", "head", True),
        ("head.*", "head.0", True),
        ("body.1", "body.1.0", True),
        ("body.1", "body.10", False),
        ("body.1", "stem.0+body.1.0", True),
        ("head.*", "header", False),
        ("*.conv", "a.conv", True),
        ("*.conv", "conv", False),
    ],
)
def test_a_pattern_is_one_for_what_is_below_it(pattern: str, label: str, is_for: bool) -> None:
    assert (matching([label], [pattern]) is not None) is is_for
