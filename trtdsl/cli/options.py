"""Arguments and options that several commands share; those of the library are made from its own options.

In: :class:`~trtdsl.options.CheckOptions` and its kind.  Out: decorators that give a command their flags::

    @with_options(CheckOptions, "chosen")
    def check(file: Path, chosen: CheckOptions) -> None: ...
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import click

from trtdsl.cli.program import PASSES, Argument, Command
from trtdsl.diagnostics import Diagnostic, UsageError
from trtdsl.flags import Flag, by_name, flags
from trtdsl.options import CheckOptions, CompileOptions
from trtdsl.recipe import Recipe, recipe_of

Callback: TypeAlias = Callable[..., None]
Decorator: TypeAlias = Callable[[Callback], Callback]

PATH = click.Path(path_type=Path)


def command(function: Callback) -> click.Command:
    """The command of that name; its docstring is its help."""
    return click.command(function.__name__.rstrip("_"), cls=Command)(function)


def argument(name: str, explanation: str, **attributes: Any) -> Decorator:
    """An argument; ``attributes`` are click's."""
    return click.argument(name, cls=Argument, explanation=explanation, **attributes)


FILE = argument("file", "A .trtnet file.", type=PATH)
WEIGHTS = argument(
    "weights",
    "A checkpoint: .pth, .pt, .safetensors or a shard index; after it files with further keys, such as "
    "constants.",
    type=PATH,
    nargs=-1,
)
ENGINE = argument("engine", "An engine with its manifest beside it.", type=PATH)
ENGINE_RUNTIME = click.option(
    "--runtime", metavar="NAME", help="tensorrt_rtx or tensorrt; by default the one that built the engine."
)
ENGINE_PLUGINS = click.option(
    "--plugins",
    metavar="LIBRARY,...",
    multiple=True,
    help="Load these libraries, whose plugins the engine has.",
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def with_options(kind: type[CheckOptions | CompileOptions], name: str, *fields: str) -> Decorator:
    """The flags of an options class, or of some of its fields; the command gets a value of it as ``name``.

    Where a recipe is one of these, its own flags are added, those of files that are written only to whoever
    takes all fields.
    """
    chosen = {field: flag for field, flag in flags(kind).items() if not fields or field in fields}
    words = dict(flags(Recipe)) if "recipe" in chosen else {}
    if fields:
        words.pop("save_scales", None)
    every = {**words, **chosen}

    def decorate(function: Callback) -> Callback:
        @functools.wraps(function)
        def call(**values: Any) -> None:
            read = {field: _read(field, values.pop(field)) for field in every}
            if "recipe" in chosen:
                stated = {word: value for word in words if (value := read.pop(word)) not in (None, {})}
                read["recipe"] = recipe_of(read["recipe"], stated)
            given = {field: value for field, value in read.items() if value is not None}
            function(**values, **{name: kind(**given)})

        decorated: Callback = call
        for field, flag in reversed(every.items()):
            decorated = _option(field, flag)(decorated)
        return decorated

    return decorate


def with_words(name: str, *words: str) -> Decorator:
    """The flags of some of a recipe's words; the command gets those that are given, by word, as ``name``."""
    every = {word: flag for word, flag in flags(Recipe).items() if word in words}

    def decorate(function: Callback) -> Callback:
        @functools.wraps(function)
        def call(**values: Any) -> None:
            read = {word: _read(word, values.pop(word)) for word in every}
            function(**values, **{name: {word: value for word, value in read.items() if value is not None}})

        decorated: Callback = call
        for word, flag in reversed(every.items()):
            decorated = _option(word, flag)(decorated)
        return decorated

    return decorate


def names_in(texts: Sequence[str]) -> tuple[str, ...]:
    """The names in an option that takes several, by commas or by being repeated."""
    return tuple(name.strip() for text in texts for name in text.split(",") if name.strip())


def assignments(texts: Sequence[str]) -> dict[str, Any]:
    """``("classes=10",)`` as values by name."""
    if not texts:
        return {}
    from trtdsl.elaborate import evaluate_define

    return by_name("-D", map(evaluate_define, texts))


def pass_option(*names: str, help: str) -> Decorator:
    """An option that takes passes, which the help of its command names once."""
    return click.option(*names, metavar=PASSES, multiple=True, help=help)


def _option(field: str, flag: Flag) -> Decorator:
    return click.option(
        *flag.names,
        field,
        metavar=flag.metavar,
        multiple=field in _READ_SEVERAL,
        default=None,
        help=flag.help,
    )


def choice_of(option: str, value: str, choices: Sequence[str]) -> Any:
    """An option's value, which must be one of these."""
    if value not in choices:
        from trtdsl.types import OTHER_NAMES

        meant = OTHER_NAMES.get(value.lower())
        guess = f"did you mean `{meant}`? " if meant in choices else ""
        raise UsageError(Diagnostic(f"`{option} {value}`: {guess}choose one of {', '.join(choices)}"))
    return value


def _weights_dtype(name: str | None) -> Any:
    if name is None or name == "model":
        return name
    from trtdsl.types import PRECISIONS, DType

    floats = {str(dtype): dtype for dtype in (*PRECISIONS, DType.FLOAT8)}
    return floats[choice_of("--weights-dtype", name, ("model", *floats))]


def _passes(texts: Sequence[str]) -> tuple[str, ...]:
    names = names_in(texts)
    if texts and not names:
        raise UsageError(Diagnostic("`--pass` names no pass", help=("write `--pass my.py:name`",)))
    return names


def _labels(option: str) -> Callable[[Sequence[str]], dict[str, tuple[str, ...]]]:
    """What reads ``float16=head.*,stem`` into patterns of labels by a type."""

    def read(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for text in texts:
            dtype, equals, labels = text.partition("=")
            if not equals or not names_in([labels]):
                advice = f"write `{option} {'int8' if option == '--allow' else 'float16'}='head.*'`"
                raise UsageError(Diagnostic(f"`{option} {text}` names no layers", help=(advice,)))
            found[dtype] = (*found.get(dtype, ()), *names_in([labels]))
        return found

    return read


def _number(option: str, kind: Callable[[str], Any]) -> Callable[[str | None], Any]:
    """What reads a number after an option."""

    def read(text: str | None) -> Any:
        try:
            return None if text is None else kind(text)
        except ValueError:
            what = "an integer" if kind is int else "a number"
            raise UsageError(Diagnostic(f"`{option} {text}`: {what} is expected")) from None

    return read


def _names_or_none(texts: Sequence[str]) -> tuple[str, ...] | None:
    return names_in(texts) if texts else None


_READ_ONE: Mapping[str, Callable[[Any], Any]] = {
    "weights_dtype": _weights_dtype,
    "builds": _number("--builds", int),
    "samples": _number("--samples", int),
    "block": _number("--block", int),
    "percentile": _number("--percentile", float),
    "max_error": _number("--max-error", float),
    "equalise": _number("--equalise", float),
}
_READ_SEVERAL: Mapping[str, Callable[[Sequence[str]], Any]] = {
    "defines": assignments,
    "targets": names_in,
    "plugins": names_in,
    "profiles": tuple,
    "passes": _passes,
    "skip": names_in,
    "only": _names_or_none,
    "keep": _labels("--keep"),
    "allow": _labels("--allow"),
}
"""How what stands after a flag becomes the value of its field, where that is more than its text; what takes
several is read from all of its texts."""


def _read(field: str, given: Any) -> Any:
    reader = _READ_SEVERAL.get(field) or _READ_ONE.get(field)
    return reader(given) if reader else given
