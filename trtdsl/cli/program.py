"""The program and its commands, and what click lacks for them.

Out: :data:`program`; :class:`Command`, whose help explains its arguments; :class:`Commands`, which imports
a command when it is called.
"""

from __future__ import annotations

import importlib
import keyword
from contextlib import suppress
from typing import Any

import click

from trtdsl.diagnostics import UsageError

COMMANDS = (
    *("import", "check", "compile", "calibrate", "explain", "show", "fmt", "verify"),
    *("export", "ops", "passes", "run", "bench", "inspect"),
)
"""In the order of the help. Each is a function in the module of its name; ``import_`` is `import`."""


class Argument(click.Argument):
    """An argument that is explained in the help of its command."""

    def __init__(self, *args: Any, explanation: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.explanation = explanation

    @property
    def help_row(self) -> tuple[str, str]:
        return self.human_readable_name, self.explanation + ("  [required]" if self.required else "")


PRECISION = "--precision"

PASSES = "PASS,..."
"""What an option takes that takes passes."""


class Command(click.Command):
    """A command that lists its arguments before its options, and after those the passes that these take; a
    precision in an option's place, ``--fp16``, is told how it is written."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            meant = _precision_in(error.option_name)
            if meant is None or not any(PRECISION in param.opts for param in self.params):
                raise
            text = f"{error.message} Did you mean '{PRECISION} {meant}'?"
            raise click.NoSuchOption(error.option_name, text, ctx=ctx) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [param.help_row for param in self.params if isinstance(param, Argument)]
        if rows:
            with formatter.section("Arguments"):
                formatter.write_dl(rows)
        super().format_options(ctx, formatter)
        if any(param.metavar == PASSES for param in self.params):
            from trtdsl.passes import PIPELINE

            with formatter.section("Passes"):
                formatter.write_text(", ".join(step.name for step in PIPELINE))


def _precision_in(option: str) -> str | None:
    """The precision that an option of this name would stand for, as other tools have it."""
    from trtdsl.recipe import precision_of
    from trtdsl.types import OTHER_NAMES

    name = option.lstrip("-")
    for each in (name, OTHER_NAMES.get(name.lower(), name)):
        with suppress(UsageError):
            precision_of(each)
            return each
    return None


class Commands(click.Group):
    """A group whose commands are modules of this package."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name
        return getattr(importlib.import_module(f"trtdsl.cli.{name}"), name)


def _print_versions(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    from importlib import metadata

    from trtdsl.options import RUNTIMES

    for name in ("trtdsl", *RUNTIMES):
        # A runtime that is not installed has no line.
        with suppress(metadata.PackageNotFoundError):
            print(f"{name} {metadata.version(name)}")
    ctx.exit()


program = Commands(
    "trtdsl",
    help="Text models in, TensorRT engines out.",
    no_args_is_help=True,
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_print_versions,
            help="Print the versions in use and exit.",
        )
    ],
)
