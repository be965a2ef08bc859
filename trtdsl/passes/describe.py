"""Passes in words: the table of all and the page of one, from their declarations alone."""

from __future__ import annotations

from trtdsl.diagnostics import Diagnostic, UsageError, did_you_mean
from trtdsl.passes import PIPELINE, Pass, convert_precision
from trtdsl.types import DType

OFFERED: tuple[Pass, ...] = (*PIPELINE, convert_precision(DType.FLOAT16))
"""The pipeline, and what runs behind it where it is asked for."""


def pass_table() -> str:
    """Every pass in its order, with what it does."""
    width = max(len(step.name) for step in OFFERED) + 2
    lines = [f"{step.name:<{width}}{step.summary}" for step in PIPELINE]
    rest = [f"{step.name:<{width}}{step.summary}" for step in OFFERED[len(PIPELINE) :]]
    return "\n".join([*lines, "", "with --precision:", *rest])


def describe_pass(name: str) -> str:
    """A pass's documentation, tolerance and place."""
    known = {step.name: step for step in OFFERED}
    if name not in known:
        help = f"the passes are {', '.join(known)}"
        raise UsageError(Diagnostic(f"there is no pass `{name}`{did_you_mean(name, known)}", help=(help,)))
    step = known[name]
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
