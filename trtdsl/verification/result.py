"""What a verification finds, as data.

In: an array and what it should be.  Out: a :class:`Measure`; and the rows, the first difference and the
verdict made of many of them, which print as a table and as JSON.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from trtdsl.diagnostics import DiagnosticError
from trtdsl.verification.hidden import hidden_error

Array: TypeAlias = npt.NDArray[Any]
Verdict = Literal["equal", "differs", "follows", "unknown", "rounded"]
"""``follows``: it differs, and so did something that it is computed from. ``unknown``: neither side has a
finite number that could be compared. ``rounded``: integers are off by one, where what they are made of is
right within what a precision may lose."""


class CannotCompute(DiagnosticError):
    """One side cannot be run on the inputs."""


OWN_ERRORS = 8.0
"""How many times the reference's own float32 error is allowed beside the tolerance: two computations in
other orders of summation are apart by about one such error, in the worst of some hundred layers by four."""


EXACT = 2.0**53
"""From here on float64 does not hold every integer."""


@dataclass(frozen=True)
class Measure:
    """How far a tensor is from another of the same shape: the largest difference, ``|a - b| / |b|`` in the
    Euclidean norm, and the cosine of the angle between both, NaN where nothing is finite.

    ``hidden`` is the largest relative error of a part that the norm hides: of what varies about a large
    mean, or of a small channel. ``own`` is the reference's own relative error in float32, where that was
    asked for. ``not_finite`` counts the numbers that are NaN or infinite in both alike, which the others
    leave out; ``compared`` is false where that leaves none. ``is_complex``: the reference's numbers are
    complex, and the others were taken for real parts.
    """

    max_abs: float
    relative: float
    cosine: float
    not_finite: int = 0
    hidden: float = 0.0
    own: float = 0.0
    compared: bool = True
    is_complex: bool = False

    @property
    def is_broken(self) -> bool:
        """Whether there is NaN or infinity on one side or both."""
        return bool(self.not_finite) or math.isinf(self.relative)

    def is_right_as_a_whole(self, tolerance: float) -> bool:
        """Whether the norm of the difference is within the tolerance and the reference's own error."""
        return self.relative <= tolerance + OWN_ERRORS * self.own


@dataclass(frozen=True)
class Row:
    """One tensor that both have: a layer's result, what a block returns, or an output.

    ``computed_by`` says on which side an output was computed: in the network on the CPU, or by an engine.
    ``call`` counts from 1 where a layer is called several times. ``measure`` is None where the shapes
    differ; ``expected`` is then the reference's shape. ``tolerance`` is what the row is held to. ``why`` says
    of a row that differs what the measured error does not: ``NaN or infinity on one side``. ``labels`` are
    those of the text that a layer or block stands for: several where a pass made one layer of them.
    """

    kind: Literal["layer", "block", "output"]
    label: str
    source: str
    shape: tuple[int, ...]
    expected: tuple[int, ...]
    measure: Measure | None
    verdict: Verdict
    call: int | None = None
    computed_by: Literal["cpu", "engine"] = "cpu"
    tolerance: float | None = None
    why: str = ""
    labels: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.label if self.call is None else f"{self.label} (call {self.call})"


@dataclass(frozen=True)
class Suspect:
    """An operator that may be what is wrong: its label path, name, and place in the text."""

    label: str
    operator: str
    source: str

    def __str__(self) -> str:
        named = f"`{self.label}` ({self.operator})" if self.label else f"`{self.operator}`"
        return f"{named} at {self.source}" if self.source else named


@dataclass(frozen=True)
class Idle:
    """A number of an operator that could be another, by its parameter's name or as it is written; without
    a name, an operator that changes nothing of what it reads."""

    operator: Suspect
    number: str


@dataclass(frozen=True)
class Difference:
    """Where model and reference part: in the first of ``suspects``, or else in a later one of them."""

    message: str
    suspects: tuple[Suspect, ...]


@dataclass(frozen=True)
class Verification:
    """The outcome: every compared tensor in the order of computation, and the first difference if any.

    ``sizes`` are the dynamic dimensions used, ``notes`` what could not be compared. ``unknown`` says why
    nothing can be said of an output that does not differ; ``unseen`` are the operators whose results no
    compared tensor shows, and ``advice`` what may show them; ``idle`` are numbers that could be others,
    such as bounds that nothing reached. ``engine`` says what kind of engine computed the
    outputs, if one did; its rows are the last, and ``tolerance`` theirs. ``precision`` is what the model was
    computed in, where that was asked for.
    """

    model: str
    against: str
    dtype: str
    tolerance: float
    sizes: Mapping[str, int]
    rows: tuple[Row, ...]
    difference: Difference | None
    notes: tuple[str, ...] = ()
    engine: str | None = None
    unknown: tuple[str, ...] = ()
    unseen: tuple[Suspect, ...] = ()
    advice: str = ""
    idle: tuple[Idle, ...] = ()
    precision: str | None = None

    @property
    def equal(self) -> bool:
        """Whether all outputs were compared and none differs."""
        return self.difference is None and not self.unknown

    @property
    def outputs(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.kind == "output")

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, in which NaN and infinity are strings."""
        return {"equal": self.equal, **_plain(dataclasses.asdict(self))}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def measure(found: Array, expected: Array, noise: float = 0.0, own: float = 0.0) -> Measure | None:
    """How far two arrays are apart, None for different shapes; computed in float64.

    Where both are infinite alike, or both NaN, they do not differ; where only one is, they differ without
    bound. ``noise`` is the relative error that parts which are hidden may have of what hides them; ``own``
    is the measure's.
    """
    if np.iscomplexobj(found) or np.iscomplexobj(expected):
        return _measure_parts(found, expected, noise, own)
    if found.shape != expected.shape:
        return None
    a, b = (array.astype(np.float64) for array in (found, expected))
    finite = np.isfinite(b)
    alike = (a == b) | (np.isnan(a) & np.isnan(b))
    not_finite = int(np.count_nonzero(alike & ~finite))
    if not (alike | (finite & np.isfinite(a))).all():
        return Measure(math.inf, math.inf, math.nan, not_finite, own=own)
    hidden = hidden_error(np.where(finite, a, 0.0), np.where(finite, b, 0.0), noise)
    difference, a, b = _apart(found[finite], expected[finite]), a[finite], b[finite]
    norm = float(np.linalg.norm(b))
    largest, error = float(np.abs(difference).max(initial=0.0)), float(np.linalg.norm(difference))
    product = float(np.linalg.norm(a)) * norm
    parallel = float(error == 0) if a.size else math.nan
    return Measure(
        max_abs=largest,
        relative=error / norm if norm else math.inf if error else 0.0,
        cosine=float(a @ b) / product if product else parallel,
        not_finite=not_finite,
        hidden=hidden,
        own=own,
        compared=bool(a.size) or not found.size,
    )


def _apart(found: Array, expected: Array) -> Array:
    """The differences in float64, also of integers that float64 cannot tell apart."""
    a, b = (array.astype(np.float64) for array in (found, expected))
    are_integers = found.dtype.kind in "iu" and expected.dtype.kind in "iu"
    if are_integers and max(np.abs(a).max(initial=0.0), np.abs(b).max(initial=0.0)) >= EXACT:
        exact: Any = found.astype(object) - expected.astype(object)
        return exact.astype(np.float64)
    return a - b


def _measure_parts(found: Array, expected: Array, noise: float, own: float) -> Measure | None:
    """The measure of complex numbers by their parts, which real ones may hold along a last dimension of 2."""
    a, b = (_parts(array) if np.iscomplexobj(array) else array for array in (found, expected))
    is_like = a.shape == b.shape and found.shape != expected.shape
    if a.shape != b.shape:
        a, b = _parts(found), _parts(expected)
    measured = measure(a, b, noise, own)
    if measured is None:
        return None
    same = ((a == b) | (np.isnan(a) & np.isnan(b))).reshape(-1, 2).all(1)
    broken = ~np.isfinite(b).reshape(-1, 2).all(1)
    return dataclasses.replace(
        measured, not_finite=int(np.count_nonzero(same & broken)), is_complex=not is_like
    )


def _parts(array: Array) -> Array:
    return np.stack([np.real(array), np.imag(array)], axis=-1)


def notes_on_numbers(rows: Sequence[Row]) -> Iterator[str]:
    """That the first compared layer, and outputs, hold NaN or infinity, which is no difference."""
    found = [(row, row.measure.not_finite) for row in rows if row.measure and row.measure.not_finite]
    for row, count in [each for each in found if each[0].kind != "output"][:1]:
        numbers = f"{count} of {math.prod(row.shape)} numbers"
        first = f"{row.kind} `{row.name}` is the first that holds NaN or infinity"
        yield f"{first}: {numbers}, on both sides alike"
    for row, count in found:
        if row.kind == "output":
            numbers = f"{count} of {math.prod(row.shape)} numbers"
            yield f"output `{row.name}` holds {numbers} that are NaN or infinite, on both sides alike"


def uncompared(rows: Sequence[Row]) -> tuple[str, ...]:
    """That outputs hold NaN or infinity only, in which any two networks agree."""
    return tuple(
        f"nothing in output `{row.name}` can be compared: all of it is NaN or infinite on both sides"
        for row in rows
        if row.kind == "output" and row.verdict == "unknown"
    )


def is_close(found: Measure | None, tolerance: float) -> bool:
    """Whether the whole is right within the tolerance, and each hidden part to half as many digits."""
    return found is not None and found.is_right_as_a_whole(tolerance) and not is_hidden(found, tolerance)


def is_hidden(found: Measure, tolerance: float) -> bool:
    """Whether a part that the norm hides is wrong."""
    return found.hidden > math.sqrt(tolerance)
