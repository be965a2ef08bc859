"""Passes in words: the table of all and the page of one, from their declarations alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trtdsl.diagnostics import Diagnostic, UsageError, did_you_mean
from trtdsl.passes import PIPELINE, Pass, convert_precision
from trtdsl.types import DType


@dataclass(frozen=True)
class Stage:
    """What runs after the pipeline where a precision asks for it: its name, page, and how exact it is."""

    name: str
    documentation: str
    accuracy: str

    @property
    def summary(self) -> str:
        """What it does, in a line."""
        return self.documentation.partition("\n")[0]


def pass_table(stages: Sequence[Stage] = ()) -> str:
    """Every pass in its order, and the stages of a precision, with what they do."""
    offered = [*PIPELINE, *_behind(stages)]
    width = max(len(step.name) for step in offered) + 2
    lines = [f"{step.name:<{width}}{step.summary}" for step in offered]
    return "\n".join([*lines[: len(PIPELINE)], "", "with --precision:", *lines[len(PIPELINE) :]])


def describe_pass(name: str, stages: Sequence[Stage] = ()) -> str:
    """A pass's documentation, tolerance and place."""
    known = {step.name: step for step in (*PIPELINE, *_behind(stages))}
    if name not in known:
        help = f"the passes are {', '.join(known)}"
        raise UsageError(Diagnostic(f"there is no pass `{name}`{did_you_mean(name, known)}", help=(help,)))
    step = known[name]
    if isinstance(step, Stage):
        return "\n".join([step.name, "", step.documentation, "", f"accuracy: {step.accuracy}"])
    error = (
        f"relative L2 error of at most {step.tolerance:g}" if step.tolerance else "results stay as they are"
    )
    places = [
        f"{word} {', '.join(names)}"
        for word, names in (("after", step.after), ("before", step.before))
        if names
    ]
    why = f" ({step.why})" if step.why else ""
    place = [f"place: {', '.join(places)}{why}"] if places else []
    return "\n".join([step.name, "", step.documentation, "", f"accuracy: {error}", *place])


def _behind(stages: Sequence[Stage]) -> Sequence[Pass | Stage]:
    """What runs after the pipeline: the stages, or of one of their names the pass."""
    named = {stage.name for stage in stages}
    plain = convert_precision(DType.FLOAT16)
    return [*stages, *(() if plain.name in named else (plain,))]
