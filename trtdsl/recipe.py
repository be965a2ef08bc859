"""A recipe: in which types a model is computed, as the command line and files of TOML say it.

In: words, which are the same in both::

    precision = "int8"
    calibrate = "samples.npz"
    max_error = 0.02
    [keep]
    float16 = ["head.*", "layer4.2.conv3"]

Out: a frozen :class:`Recipe`, whose choices do not contradict each other.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from trtdsl.diagnostics import Diagnostic, UsageError, cannot_read, did_you_mean
from trtdsl.flags import FLAG, Flag, choice, chosen, flags

if TYPE_CHECKING:
    from trtdsl.types import DType

Method: TypeAlias = Literal["max", "percentile", "mse", "entropy"]
METHODS: tuple[Method, ...] = ("max", "percentile", "mse", "entropy")
"""How the range of a tensor is chosen from what was seen of it."""

Rounding: TypeAlias = Literal["nearest", "awq", "gptq"]
ROUNDINGS: tuple[Rounding, ...] = ("nearest", "awq", "gptq")
"""How weights are rounded where they alone become narrow."""

NARROW = {"int8": "int8", "float8": "float8_e4m3fn", "fp8": "float8_e4m3fn"}
"""The types that are chosen for some layers only, by the names that they have here."""

WEIGHTS_ONLY = ("int4", "int8-weights")
"""Precisions in which weights are held, and nothing is computed."""

DYNAMIC = ("nvfp4", "mxfp8")
"""Precisions in which tensors get scales of blocks while the network runs."""

BLOCKS = (128, 64, 32, 16)
"""How many elements of int4 may share a scale: with more TensorRT reads them back in a kernel of its own."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """In which types a model is computed: one for all, or a narrow one for the layers that it pays for.

    ``keep`` and ``allow`` are patterns over the labels of layers, by the type that these shall have; several
    may be one text with commas. Files are read and written when the model is compiled. UsageError for what is
    not a choice, and for choices that contradict each other.
    """

    precision: DType | str = dataclasses.field(
        metadata={
            FLAG: Flag(
                ("--precision",),
                "DTYPE",
                "Compute in float32, float16 or bfloat16, or what pays in int8, float8, nvfp4 or mxfp8; int4 "
                "and int8-weights hold the weights of linear layers in few bits. Inputs and outputs keep "
                "their types.",
            )
        }
    )
    around: DType | str | None = choice(
        None,
        "--around",
        metavar="DTYPE",
        help="What is computed around narrow layers: float16 by default, or the model's own bfloat16.",
    )
    edges: DType | str | None = choice(
        None,
        "--edges",
        metavar="DTYPE",
        help="Give inputs and outputs float16 or bfloat16 too, where that is the precision; by default they "
        "keep their types.",
    )
    keep: Mapping[DType | str, Sequence[str] | str] = choice(
        {},
        "--keep",
        metavar="DTYPE=LABEL,...",
        help="Leave layers in a floating-point type; labels may have stars: float16='head.*'. Around "
        "float16 and bfloat16 names of operators too: float32='softmax'.",
    )
    allow: Mapping[DType | str, Sequence[str] | str] = choice(
        {},
        "--allow",
        metavar="DTYPE=LABEL,...",
        help="Layers for which the rules do not count: int8='stem*', float16='softmax'.",
    )
    calibrate: str | Path | None = choice(
        None,
        "--calibrate",
        metavar="FILE",
        help="Data that ranges are found and weights are rounded with, and what float16 does not hold: a "
        ".npz file with an array for each input, samples along the first dimension, or the dynamic one that "
        "all inputs have; of a model with one input a .npy file will do.",
    )
    samples: int | None = choice(None, "--samples", metavar="N", help="Use the first N samples only.")
    method: Method | Rounding | None = choice(
        None,
        "--method",
        metavar="NAME",
        help="How a range is chosen: max (default), percentile, mse, entropy; how weights alone are rounded: "
        "nearest, or with data gptq (default then) or awq.",
    )
    percentile: float | None = choice(
        None,
        "--percentile",
        metavar="P",
        help="The share of the numbers that --method percentile keeps whole, 99.99 by default.",
    )
    scales: str | Path | None = choice(
        None, "--scales", metavar="FILE", help="Take the ranges of this file, which calibrate wrote."
    )
    save_scales: str | Path | None = choice(
        None, "--save-scales", metavar="FILE", help="Write the ranges that were found."
    )
    max_error: float | None = choice(
        None,
        "--max-error",
        metavar="E",
        help="Leave the fewest layers in floating point with which the outputs, on the data, are within this "
        "relative L2 error.",
    )
    equalise: float | None = choice(
        None,
        "--equalise",
        metavar="ALPHA",
        help="How much of the channels' differences to move from tensors into weights, from 0 (none) to 1.",
    )
    block: int | None = choice(
        None,
        "--block",
        metavar="N",
        help="How many elements of int4 share a scale at most: 128 by default, 64, 32 or 16.",
    )

    def __post_init__(self) -> None:
        precision = precision_of(self.precision)
        around = None if self.around is None else dtype_of(self.around, "`--around` is")
        edges = None if self.edges is None else dtype_of(self.edges, "`--edges` is")
        chosen(self, precision=precision, around=around, edges=edges)
        chosen(self, keep=_patterns(self.keep, "--keep"), allow=_patterns(self.allow, "--allow", narrow=True))
        for problem in _problems_of_numbers(self):
            raise UsageError(Diagnostic(problem))
        for problem, help in _contradictions(self):
            raise UsageError(Diagnostic(problem, help=(help,) if help else ()))

    @classmethod
    def from_file(cls, path: str | Path, **words: Any) -> Recipe:
        """The recipe of a TOML file; ``words`` count more. Paths in the file start at its folder.

        Raises UsageError for a file that cannot be read or is not a recipe.
        """
        found = recipe_of(path, words)
        assert found is not None
        return found

    @property
    def is_narrow(self) -> bool:
        """Whether some layers become narrow: int8, float8, or one of the formats."""
        return str(self.precision) in (*NARROW.values(), *WEIGHTS_ONLY, *DYNAMIC)

    @property
    def is_of_weights(self) -> bool:
        """Whether weights alone become narrow."""
        return str(self.precision) in WEIGHTS_ONLY

    @property
    def chosen_method(self) -> str:
        """The method, or what it is where none is named."""
        if self.method is not None:
            return self.method
        if self.is_of_weights:
            return "nearest" if self.calibrate is None else "gptq"
        return "max"

    def words(self) -> dict[str, Any]:
        """What was chosen, by the words of a file of a recipe; those that are the default are left out."""
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        stated = {word: value for word, value in found.items() if value not in (None, {}, ())}
        if self.method == "max":
            stated.pop("method")
        return {word: _plain(value) for word, value in stated.items()}


def recipe_of(path: str | Path | None, given: Mapping[str, Any]) -> Recipe | None:
    """The recipe of a TOML file, if there is one, and further words, which count more; None for neither.

    Paths in the file start at its folder. UsageError for what is not a recipe.
    """
    read = {} if path is None else _read(Path(path))
    words = {**read, **given}
    if not words:
        return None
    if "precision" not in words:
        what = f"`{path}`" if read else f"`{_flag_of(next(iter(given)))}`"
        wanted = "float16" if "edges" in words else "int8"
        raise UsageError(
            Diagnostic(f"{what} says nothing without a precision", help=(f"add `--precision {wanted}`",))
        )
    if "precision" in read and "precision" in given:
        _require_same(read["precision"], given["precision"], path)
    return Recipe(**words)


def _require_same(read: object, given: object, path: object) -> None:
    precisions = [precision_of(each) for each in (read, given)]
    if precisions[0] != precisions[1]:
        text = f"`--precision {given}`, but the precision of `{path}` is {precisions[0]}"
        raise UsageError(Diagnostic(text, help=("leave `--precision` out",)))


def _read(path: Path) -> dict[str, Any]:
    """The words of a file."""
    # Python has it from 3.11 on; before, it comes from a package that later ones do not need.
    tomllib: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        # Some editors of Windows begin a text with a mark of its encoding, which TOML does not know.
        found = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise cannot_read(path, "it is not UTF-8 text") from error
    except OSError as error:
        raise cannot_read(path, error) from error
    except tomllib.TOMLDecodeError as error:
        raise _wrong(path, f"it is not valid TOML: {error}") from error
    known = [field.name for field in dataclasses.fields(Recipe)]
    for word, value in found.items():
        if word not in known:
            help = f"the words are {', '.join(known)}"
            raise _wrong(path, f"`{word}` is not one of its words{did_you_mean(word, known)}", help)
        if problem := _problem(word, value):
            raise _wrong(path, problem)
    if not found:
        raise _wrong(path, "it is empty")
    paths = {word: path.parent / found[word] for word in _PATHS if word in found}
    return {**found, **paths}


_PATHS = ("calibrate", "scales", "save_scales")
_TABLES = ("keep", "allow")


def _problem(word: str, value: object) -> str | None:
    """What is wrong with the kind of a value in a file."""
    if word in _TABLES:
        table = cast(Mapping[str, Any], value) if isinstance(value, dict) else {"": None}
        if all(isinstance(each, list) and all(isinstance(x, str) for x in each) for each in table.values()):
            return None
        return f'`[{word}]` has a list of labels for each type: `float16 = ["head.*"]`'
    texts = ("precision", "around", "edges", "method", *_PATHS)
    return f"`{word}` is a text, not {value!r}" if word in texts and not isinstance(value, str) else None


def _wrong(path: Path, why: str, *help: str) -> UsageError:
    return UsageError(Diagnostic(f"`{path}` is not a recipe: {why}", help=help))


def dtype_of(wanted: object, what: str, *, narrow: bool = False) -> DType:
    """A type that can be computed in, by its name or itself."""
    # The command line declares its flags without them, and prints its help sooner.
    from trtdsl.types import OTHER_NAMES, PRECISIONS, DType

    names = {str(dtype): dtype for dtype in PRECISIONS}
    names |= {name: DType(value) for name, value in NARROW.items()} if narrow else {}
    found = names.get(str(wanted)) or next((dtype for dtype in names.values() if wanted is dtype), None)
    if found is None or not isinstance(wanted, (str, DType)):
        listed = [name for name in names if name != "fp8"]
        listed += (*WEIGHTS_ONLY, *DYNAMIC) if narrow else ()
        guess = did_you_mean(str(wanted), listed, OTHER_NAMES)
        help = (f"choose one of {', '.join(listed)}",)
        if not guess:
            raise UsageError(Diagnostic(f"{what} `{wanted}`: {help[0]}"))
        raise UsageError(Diagnostic(f"{what} `{wanted}`{guess}", help=help))
    return found


def precision_of(wanted: object) -> DType | str:
    """A precision by its name: a type, or the name of a format."""
    return _narrow_of(wanted, "the precision is")


def _narrow_of(wanted: object, what: str) -> DType | str:
    known = (*WEIGHTS_ONLY, *DYNAMIC)
    return str(wanted) if str(wanted) in known else dtype_of(wanted, what, narrow=True)


def _patterns(
    given: Mapping[DType | str, Sequence[str] | str], option: str, *, narrow: bool = False
) -> dict[DType | str, tuple[str, ...]]:
    found: dict[DType | str, tuple[str, ...]] = {}
    for key, value in given.items():
        what = f"the type of `{option}` is"
        dtype = _narrow_of(key, what) if narrow else dtype_of(key, what)
        parts = value.split(",") if isinstance(value, str) else value
        found[dtype] = (*found.get(dtype, ()), *(part.strip() for part in parts if part.strip()))
    return found


def _problems_of_numbers(recipe: Recipe) -> Iterator[str]:
    methods = ROUNDINGS if recipe.is_of_weights else METHODS
    if recipe.method is not None and recipe.method not in methods:
        near = did_you_mean(str(recipe.method), methods)
        yield f"`--method {recipe.method}`: choose one of {', '.join(methods)}{near}"
    if recipe.block is not None and recipe.block not in BLOCKS:
        yield f"`--block` takes one of {', '.join(map(str, BLOCKS))}, not {recipe.block!r}"
    numbers = (
        ("samples", 1, math.inf, "a number of samples from 1 on"),
        ("percentile", 50, 100, "a percentage from 50 to 100"),
        ("max_error", 1e-9, math.inf, "an error greater than 0"),
        ("equalise", 0, 1, "a number from 0 to 1"),
    )
    for field, least, most, what in numbers:
        value = getattr(recipe, field)
        if value is not None and not (_is_number(value, field) and least <= value <= most):
            yield f"`{_flag_of(field)}` takes {what}, not {value!r}"


def _is_number(value: object, field: str) -> bool:
    kinds = int if field == "samples" else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool) and value != math.inf


def _contradictions(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """What does not go together, and what to do about it."""
    given = recipe.words()
    if recipe.edges is not None and recipe.edges is not recipe.precision:
        text = f"`--edges {recipe.edges}`, but the precision is {recipe.precision}"
        yield text, "inputs and outputs keep their types, or have the precision's"
    if not recipe.is_narrow:
        yield from _contradictions_of_floats(recipe, given)
        return
    if "block" in given and str(recipe.precision) != "int4":
        yield f"`--block` is for int4, not for {recipe.precision}", ""
    if recipe.is_of_weights or str(recipe.precision) == "mxfp8":
        yield from _contradictions_without_ranges(recipe, given)
    if "scales" in given and "save_scales" in given:
        yield "`--save-scales` would write the ranges that `--scales` gives", "leave one of them out"
    for word in ("method", "percentile"):
        if "scales" in given and word in given:
            yield (
                f"`{_flag_of(word)}` chooses ranges, and those of `--scales` are chosen",
                "leave one of them out",
            )
    for word in ("samples", "method", "save_scales", "max_error"):
        if word in given and given[word] != "nearest" and "calibrate" not in given:
            yield f"`{_flag_of(word)}` is about data, and there are none", "give them with `--calibrate`"
    if str(recipe.precision) == "nvfp4" and recipe.chosen_method != "max":
        yield f"`--method {recipe.method}` cuts numbers off, and nvfp4 has scales of blocks that hold all", ""
    if "percentile" in given and recipe.method != "percentile":
        yield "`--percentile` is for another method", "add `--method percentile`"
    for dtype in recipe.allow:
        if dtype != recipe.precision:
            yield f"`--allow {dtype}=…` allows nothing where the precision is {recipe.precision}", ""
    yield from _both(recipe)


def _contradictions_without_ranges(recipe: Recipe, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Options that do not apply to a format without per-tensor ranges, and what to do instead."""
    words = ["percentile", "save_scales"]
    if not recipe.is_of_weights:
        words += ["scales", "method", "equalise"]
    elif recipe.scales is not None:
        for word in ("method", "equalise", "block"):
            if word in given:
                yield f"`{_flag_of(word)}` is about rounding, and `--scales` has rounded weights", ""
    elif recipe.chosen_method != "awq" and recipe.equalise is not None:
        yield "`--equalise` is for another method", "add `--method awq`"
    for word in words:
        if word in given:
            yield f"`{_flag_of(word)}` is about ranges, and {recipe.precision} has none", ""


_OF_FLOATS = ("precision", "edges", "keep", "allow", "calibrate", "samples")
"""The words for float16 and bfloat16; float32 has the first alone."""


def _contradictions_of_floats(recipe: Recipe, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What does not go together in a recipe for a floating-point type."""
    for word in given.keys() - {*_OF_FLOATS}:
        narrow = "int4" if word == "block" else "int8 and float8"
        yield f"`{_flag_of(word)}` is for {narrow}, not for {recipe.precision}", ""
    if str(recipe.precision) == "float32":
        for word in given.keys() - {"precision"}:
            yield f"`{_flag_of(word)}` says nothing where all is computed in float32", ""
    if "samples" in given and "calibrate" not in given:
        yield "`--samples` is about data, and there are none", "give them with `--calibrate`"
    for word, only in (("keep", "float32"), ("allow", str(recipe.precision))):
        for dtype in getattr(recipe, word):
            if str(dtype) != only:
                told = f"`--{word} {dtype}=…` where the precision is {recipe.precision}"
                yield f"{told}: only `--{word} {only}=…` says something there", ""
    yield from _both(recipe)


def _both(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Patterns that are kept and allowed."""
    kept = {pattern for patterns in recipe.keep.values() for pattern in patterns}
    for patterns in recipe.allow.values():
        for pattern in kept & {*patterns}:
            yield f"`{pattern}` is both kept and allowed", "leave it out of `--keep` or of `--allow`"


def _flag_of(field: str) -> str:
    return flags(Recipe)[field].names[0]


def _plain(value: Any) -> Any:
    """A choice as JSON and TOML have it."""
    if isinstance(value, Mapping):
        items = cast(Mapping[Any, Sequence[str]], value).items()
        return {str(key): list(patterns) for key, patterns in items}
    return value if isinstance(value, (int, float)) else str(value)
