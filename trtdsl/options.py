"""What can be chosen when a model is checked and compiled, each choice declared once.

In: keyword arguments, or the flags of the command line, which are made from the same fields::

    CheckOptions(model="resnet18", defines={"classes": 10})
    CompileOptions(targets="sm89", precision="float16")     # --target sm89 --precision float16

Out: frozen values that travel whole from there to the engine's manifest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypeVar, cast

from trtdsl.diagnostics import Diagnostic, UsageError

if TYPE_CHECKING:
    from trtdsl.types import DType

T = TypeVar("T")

RUNTIMES = ("tensorrt_rtx", "tensorrt")
"""The modules that can build engines, preferred first."""

WeightFiles: TypeAlias = "str | Path | Sequence[str | Path] | None"
"""A checkpoint, and perhaps files beside it that hold further keys; none, one path, or several."""

WeightsDType: TypeAlias = "DType | Literal['model'] | None"
"""The floating-point dtype to convert a checkpoint to: none, one, or what each layer needs."""


class Flag(NamedTuple):
    """How the command line spells an option, and what its help says."""

    names: tuple[str, ...]
    metavar: str | None
    help: str


_FLAG = "flag"


def _choice(default: T, *names: str, help: str, metavar: str | None = None) -> T:
    """A field of an options class and its flag."""
    metadata = {_FLAG: Flag(names, metavar, help)}
    if isinstance(default, Mapping):
        # A dictionary cannot be a default itself, since instances would share it.
        return cast(T, dataclasses.field(default_factory=lambda: dict(default), metadata=metadata))
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """Which model of a file, with which parameters, and how its checkpoint is read."""

    model: str | None = _choice(None, "--model", "-m", metavar="NAME", help="Which of the file's models.")
    defines: Mapping[str, Any] = _choice({}, "-D", metavar="NAME=VALUE", help="Set a parameter of the model.")
    weights_dtype: WeightsDType = _choice(
        None,
        "--weights-dtype",
        metavar="DTYPE",
        help="Convert the checkpoint's floats to this dtype, or to `model` for what each layer needs.",
    )
    section: str | None = _choice(
        None,
        "--section",
        metavar="NAME",
        help="The dict in the checkpoint that holds the weights, such as `ema`.",
    )
    weights_prefix: str | None = _choice(
        None,
        "--weights-prefix",
        metavar="PREFIX",
        help="Strip this from the checkpoint's keys, `model.` of Lightning; keys without it are left out.",
    )
    weights_map: str | Path | None = _choice(
        None,
        "--weights-map",
        metavar="FILE",
        help="Lines of a `weights` section, which say where the checkpoint has the model's weights.",
    )


@dataclass(frozen=True, kw_only=True)
class CompileOptions:
    """What the engine is built with and for, and what is done to the graph before.

    ``targets`` may be one name, ``precision`` a dtype's name; UsageError for another precision. On TensorRT
    8.5, whose networks are weakly typed, float16 is what TensorRT may compute in where that is faster.
    """

    runtime: str | None = _choice(
        None, "--runtime", metavar="NAME", help="tensorrt_rtx, or tensorrt where it is installed."
    )
    targets: Sequence[str] = _choice(
        (),
        "--target",
        metavar="SM,...",
        help="Compute capabilities to build for: sm89,sm120. TensorRT's choice by default.",
    )
    precision: DType | str | None = _choice(
        None,
        "--precision",
        metavar="DTYPE",
        help="Compute in float32, float16 or bfloat16; inputs and outputs keep their types.",
    )
    tf32: bool | None = _choice(
        None,
        "--tf32/--no-tf32",
        help="Let float32 products round to 10 bits, as TensorRT does by default.",
    )
    plugins: Sequence[str | Path] = _choice(
        (),
        "--plugins",
        metavar="LIBRARY,...",
        help="Load these libraries, whose plugins the model may then place.",
    )
    passes: Sequence[str] = _choice(
        (),
        "--pass",
        metavar="FILE.py:NAME",
        help="Add a pass of your own: a function from graph to graph in a file or module, or the name of an "
        "entry point in the group trtdsl.passes.",
    )
    skip: Sequence[str] = _choice((), "--skip", metavar="PASS,...", help="Leave out passes, of {passes}.")
    only: Sequence[str] | None = _choice(
        None, "--only", metavar="PASS,...", help="Run no passes but these, of {passes}."
    )

    def __post_init__(self) -> None:
        targets = (self.targets,) if isinstance(self.targets, str) else tuple(self.targets)
        plugins = (self.plugins,) if isinstance(self.plugins, (str, Path)) else tuple(self.plugins)
        object.__setattr__(self, "targets", targets)
        object.__setattr__(self, "plugins", plugins)
        object.__setattr__(self, "precision", _precision(self.precision))


def files_of(weights: WeightFiles) -> tuple[str | Path, ...]:
    """The files one by one."""
    return (weights,) if isinstance(weights, (str, Path)) else tuple(weights or ())


def flags(options: type[CheckOptions | CompileOptions]) -> Mapping[str, Flag]:
    """The flag of each field of an options class."""
    return {field.name: field.metadata[_FLAG] for field in dataclasses.fields(options)}


def _precision(wanted: DType | str | None) -> DType | None:
    if wanted is None:
        return None
    # The command line declares its flags without them, and prints its help sooner.
    from trtdsl.types import PRECISIONS

    found = next((dtype for dtype in PRECISIONS if wanted in (dtype, str(dtype))), None)
    if found is None:
        text = f"the precision is `{wanted}`: choose one of {', '.join(map(str, PRECISIONS))}"
        raise UsageError(Diagnostic(text))
    return found
