"""What can be chosen when a model is checked and compiled, each choice declared once.

In: keyword arguments, or the flags of the command line, which are made from the same fields::

    CheckOptions(model="resnet18", defines={"classes": 10})
    CompileOptions(targets="sm89", precision="float16")     # --target sm89 --precision float16
    Recipe(precision="int8", calibrate="samples.npz")       # --precision int8 --calibrate samples.npz

Out: frozen values that travel whole from there to the engine's manifest.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from trtdsl.diagnostics import Diagnostic, UsageError
from trtdsl.flags import choice, chosen
from trtdsl.profiles import GivenProfile, chosen_profiles
from trtdsl.recipe import Recipe, precision_of, recipe_of

if TYPE_CHECKING:
    from trtdsl.types import DType

RUNTIMES = ("tensorrt_rtx", "tensorrt")
"""The modules that can build engines, preferred first."""

WeightFiles: TypeAlias = "str | Path | Sequence[str | Path] | None"
"""A checkpoint, and perhaps files beside it that hold further keys; none, one path, or several."""

WeightsDType: TypeAlias = "DType | Literal['model'] | None"
"""The floating-point dtype to convert a checkpoint to: none, one, or what each layer needs."""


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """Which model of a file, with which parameters, and how its checkpoint is read."""

    model: str | None = choice(None, "--model", "-m", metavar="NAME", help="Which of the file's models.")
    defines: Mapping[str, Any] = choice({}, "-D", metavar="NAME=VALUE", help="Set a parameter of the model.")
    weights_dtype: WeightsDType = choice(
        None,
        "--weights-dtype",
        metavar="DTYPE",
        help="Convert the checkpoint's floats to this dtype, or to `model` for what each layer needs.",
    )
    section: str | None = choice(
        None,
        "--section",
        metavar="NAME",
        help="The dict in the checkpoint that holds the weights, such as `ema`.",
    )
    weights_prefix: str | None = choice(
        None,
        "--weights-prefix",
        metavar="PREFIX",
        help="Strip this from the checkpoint's keys, `model.` of Lightning; keys without it are left out.",
    )
    weights_map: str | Path | None = choice(
        None,
        "--weights-map",
        metavar="FILE",
        help="Lines of a `weights` section, which say where the checkpoint has the model's weights.",
    )


@dataclass(frozen=True, kw_only=True)
class CompileOptions:
    """What the engine is built with and for, and what is done to the graph before.

    ``targets`` may be one name, and ``profiles`` one profile: sizes by dimension, ``"N=1..8..32, S=128"`` or
    ``{"N": (1, 8, 32), "S": 128}``, within the ranges of the text. ``precision``, a dtype or its name, stands
    for a recipe that says no more; UsageError for another precision than the recipe's. On TensorRT 8.5, whose
    networks are weakly typed, float16 is what TensorRT may compute in where that is faster.
    """

    runtime: str | None = choice(
        None, "--runtime", metavar="NAME", help="tensorrt_rtx, or tensorrt where it is installed."
    )
    targets: Sequence[str] = choice(
        (),
        "--target",
        metavar="SM,...",
        help="Compute capabilities to build for: sm89,sm120. TensorRT's choice by default.",
    )
    precision: DType | str | None = None
    recipe: Recipe | None = choice(
        None,
        "--recipe",
        metavar="FILE",
        help="Read the choices of precision from this TOML file; those on the command line count more.",
    )
    profiles: Sequence[GivenProfile] | GivenProfile = choice(
        (),
        "--profile",
        metavar="SIZES",
        help="Build for these sizes in place of the text's profiles: N=8, or 'N=1..8..32, S=128'. Given "
        "again, it adds a profile.",
        repeats=True,
    )
    tf32: bool | None = choice(
        None,
        "--tf32/--no-tf32",
        help="Let float32 products round to 10 bits, as TensorRT does by default.",
    )
    builds: int = choice(
        1,
        "--builds",
        metavar="COUNT",
        help="Build this often, time each engine on the GPU at hand, and keep the fastest: TensorRT chooses "
        "other kernels each time.",
    )
    plugins: Sequence[str | Path] = choice(
        (),
        "--plugins",
        metavar="LIBRARY,...",
        help="Load these libraries, whose plugins the model may then place.",
    )
    passes: Sequence[str] = choice(
        (),
        "--pass",
        metavar="FILE.py:NAME",
        help="Add a pass of your own: a function from graph to graph in a file or module, or the name of an "
        "entry point in the group trtdsl.passes.",
    )
    skip: Sequence[str] = choice((), "--skip", metavar="PASS,...", help="Leave out these passes.")
    only: Sequence[str] | None = choice(None, "--only", metavar="PASS,...", help="Run no passes but these.")

    def __post_init__(self) -> None:
        targets = (self.targets,) if isinstance(self.targets, str) else tuple(self.targets)
        plugins = (self.plugins,) if isinstance(self.plugins, (str, Path)) else tuple(self.plugins)
        profiles, recipe = chosen_profiles(self.profiles), _recipe(self.precision, self.recipe)
        chosen(self, targets=targets, plugins=plugins, profiles=profiles, builds=_builds(self.builds))
        chosen(self, recipe=recipe, precision=recipe and recipe.precision)

    @property
    def files_read(self) -> tuple[str | Path, ...]:
        """The files that these choices have read: data to calibrate with, and passes of one's own."""
        data = self.recipe.calibrate if self.recipe else None
        places = (name.rpartition(":")[0] for name in self.passes)
        passes = (place for place in places if place.endswith(".py"))
        return (*passes,) if data is None else (data, *passes)


def files_of(weights: WeightFiles) -> tuple[str | Path, ...]:
    """The files one by one; UsageError for weights that are not in files."""
    given: Any = weights
    if isinstance(given, (str, Path)):
        return (given,)
    if isinstance(given, Mapping):
        text = "the weights are arrays by key, where the name of a file is needed"
        raise UsageError(Diagnostic(text, help=('save them first: `torch.save(state, "weights.pth")`',)))
    if hasattr(given, "state_dict"):
        text = f"weights are files or arrays by key, not a `{type(given).__name__}`"
        raise UsageError(Diagnostic(text, help=("give its `state_dict()`",)))
    files: tuple[Any, ...] = tuple(given or ()) if isinstance(given, Iterable | None) else (given,)
    for file in files:
        if not isinstance(file, (str, Path)):
            raise UsageError(Diagnostic(f"weights are files or arrays by key, not {file!r}"))
    return files


def _builds(given: Any) -> int:
    """How many engines to build, of any type of integer."""
    try:
        count = 0 if isinstance(given, bool) else operator.index(given)
    except TypeError:
        count = 0
    if count < 1:
        raise UsageError(Diagnostic(f"`--builds` is how many engines to build, 1 or more, not {given!r}"))
    return count


def _recipe(precision: DType | str | None, recipe: Recipe | str | Path | None) -> Recipe | None:
    if isinstance(recipe, (str, Path)):
        recipe = recipe_of(recipe, {})
    if precision is None or recipe is None:
        return recipe if precision is None else Recipe(precision=precision)
    if (wanted := precision_of(precision)) != recipe.precision:
        raise UsageError(Diagnostic(f"the precision is {wanted}, but {recipe.precision} in the recipe"))
    return recipe
