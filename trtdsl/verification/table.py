"""A verification as the text that the command line prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trtdsl.precision.labels import parts
from trtdsl.verification.result import Row, Verification
from trtdsl.verification.rows import shape_in_words

SHOWN = 2
"""How many operators a note lists."""

HEADER = ("label", "source", "shape", "max abs", "relative L2", "cosine", "verdict")


def show_verification(found: Verification) -> str:
    """The table of all rows, then the verdict, without a final newline."""
    lines = list(_aligned([HEADER, *map(_cells, found.rows)]))
    sizes = "".join(f", {name} = {size}" for name, size in sorted(found.sizes.items()))
    engine = f" by an engine ({found.engine})" if found.engine else ""
    lowered = f" in {found.precision}" if found.precision else ""
    lines += ["", f"{found.model}{engine}{lowered} against {found.against} in {found.dtype}{sizes}"]
    lines += [
        f"note: {note}" for note in (*_merged(found.rows), *found.notes, *_unseen(found), *_idle(found))
    ]
    if found.difference is None:
        verdict = [f"unknown: {why}" for why in found.unknown] or [_equal(found)]
        return "\n".join([*lines, *verdict])
    lines.append(f"differs: {found.difference.message}")
    if len(found.difference.suspects) > 1:
        lines += dict.fromkeys(f"  {suspect}" for suspect in found.difference.suspects)
    return "\n".join(lines)


def _merged(rows: Sequence[Row]) -> Iterator[str]:
    """What labels with `+` stand for, by an example of each kind."""
    examples: dict[bool, str] = {}
    for row in rows:
        values = [part for part in parts(row.label)[1:] if part not in row.labels]
        if row.labels and row.label not in row.labels:
            told = [*(f"`{label}`" for label in row.labels), *(f"what makes `{name}`" for name in values)]
            examples.setdefault(bool(values), f"`{row.label}` for {' and '.join(told)}")
    if examples:
        yield f"a label with `+` stands for what passes made one layer: {', '.join(examples.values())}"


def _equal(found: Verification) -> str:
    """The verdict, with the tolerance of most rows and a larger one that some have."""
    allowed = {row.tolerance for row in found.rows if row.tolerance is not None}
    larger = [f"{each:g}" for each in sorted(allowed) if each > found.tolerance]
    behind = f", or {' and '.join(larger)} after a cast to a narrower type" if larger else ""
    return f"equal: no relative error above {found.tolerance:g}{behind}"


def _unseen(found: Verification) -> Iterator[str]:
    if found.unseen:
        shown = ", ".join(map(str, found.unseen[:SHOWN]))
        more = f" and {len(found.unseen) - SHOWN} more" if len(found.unseen) > SHOWN else ""
        yield (
            f"the check cannot see what is computed by {shown}{more}: with these weights and inputs it"
            f" changes no compared tensor by more than the tolerance; {found.advice}"
        )


def _idle(found: Verification) -> Iterator[str]:
    """One note for all that have an idle number of one name."""
    by_number: dict[str, list[str]] = {}
    for each in found.idle:
        by_number.setdefault(each.number, []).append(str(each.operator))
    for number, operators in by_number.items():
        more = f" and {len(operators) - SHOWN} more" if len(operators) > SHOWN else ""
        listed = ", ".join(operators[:SHOWN]) + more
        if number:
            why = "half or one and a half of it gives the same"
            yield f"the check cannot see `{number}` of {listed}: with these inputs, {why}"
        else:
            yield f"the check cannot see that {listed} is there: with these inputs, it changes nothing"


def _cells(row: Row) -> tuple[str, ...]:
    shape = shape_in_words(row.shape)
    label = f"output {row.name}" if row.kind == "output" else row.name
    if row.computed_by == "engine":
        label = f"engine's {label}"
    verdict = f"{row.verdict}: {row.why}" if row.why else row.verdict
    if row.measure is None:
        return label, row.source, shape, f"not {shape_in_words(row.expected)}", "", "", verdict
    m = row.measure
    return label, row.source, shape, f"{m.max_abs:.1e}", f"{m.relative:.1e}", f"{m.cosine:.6f}", verdict


def _aligned(rows: Sequence[tuple[str, ...]]) -> Sequence[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
