"""One text tried: it is refused with diagnostics, or its graph keeps every promise.

``python tests/fuzz/trial.py plausible 20000 1`` tries many, from a seed on, and prints what broke. Those of
``operators`` are programs over every operator, in which each pass alone and the pipeline keep the values.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from tests.closeness import IllConditioned
from tests.fuzz import operators
from tests.fuzz.computing import compute, passes_kept
from tests.fuzz.programs import mapped, mutated, plausible, valid
from tests.fuzz.sections import checkpoint
from trtdsl.diagnostics import DiagnosticError, Source, render
from trtdsl.elaborate import elaborate, elaborate_text, models
from trtdsl.ir import Graph, difference, show, verify
from trtdsl.reference import random_weights
from trtdsl.syntax import format_text
from trtdsl.weights.bind import bind

SECONDS = 20.0
"""A text that takes longer hangs."""

SOURCES = {"plausible": plausible, "mutated": mutated, "mapped": mapped, "valid": valid}


class Hangs(Exception):
    """A text took too long."""


@contextmanager
def time_limit(seconds: float) -> Generator[None, None, None]:
    """Raise :class:`Hangs` in the main thread when the body takes longer."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Hangs(f"no answer within {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def attempt(text: str, folder: Path, lines: str | None = None) -> str:
    """ "refused", "accepted" or "bound"; any exception but the compiler's own diagnostics goes through.

    ``lines`` are those of a weights map. What is accepted is bound to a checkpoint that may fit.
    """
    os.chdir(folder)
    with time_limit(SECONDS):
        try:
            names = models(text, "fuzz.trtnet")
            weights_map = None if lines is None else Source("fuzz.map", lines)
            name = names[-1] if names else None
            graph = elaborate(text, "fuzz.trtnet", name, weights_map=weights_map).graph
        except DiagnosticError as error:
            assert error.diagnostics and all(render(diagnostic) for diagnostic in error.diagnostics)
            return "refused"
        assert verify(graph) == ()
        assert difference(graph, elaborate_text(show(graph))) is None
        if lines and lines.lstrip().startswith('"'):
            laid_out = format_text(lines, "fuzz.map")
            assert format_text(laid_out, "fuzz.map") == laid_out
        return _bound(graph, text)


def _bound(graph: Graph, text: str) -> str:
    """ "bound" where a checkpoint fits, else "accepted"."""
    if not graph.weights:
        return "accepted"
    try:
        bound = bind(graph, checkpoint(graph, random.Random(text)), "model").graph
    except DiagnosticError as error:
        assert error.diagnostics and all(render(diagnostic) for diagnostic in error.diagnostics)
        return "accepted"
    assert verify(bound) == ()
    return "bound"


def attempt_operators(seed: int, seen: Counter[str]) -> None:
    """One program over every operator, at one point of its profile; what it had is counted."""
    written = operators.program(random.Random(seed))
    for name in written.used:
        seen[f"operator {name}"] += 1
    seen["scans"] += written.text.count("scan ")
    seen["conds"] += written.text.count("= cond(")
    graph = random_weights(written.graph, 1)
    inputs = written.arrays(("min", "opt", "max")[seed % 3], seed)
    try:
        seen.update({f"pass {name}": n for name, n in passes_kept(graph, inputs, whole=True).items()})
        seen["computed"] += 1
    except IllConditioned:
        seen["ill-conditioned"] += 1


def main(source: str, count: int, first: int) -> None:
    """Try texts of consecutive seeds; print each that breaks, once for each way to break."""
    seen: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    began, tried = time.monotonic(), 0
    try:
        for seed in range(first, first + count):
            _try(source, seed, seen, broken)
            tried += 1
    finally:  # one that is interrupted says what it has found
        print(f"{source}: {tried} texts from seed {first} in {time.monotonic() - began:.0f} s: {dict(seen)}")
        print("\n".join(f"{times} x {way}" for way, times in broken.most_common()) or "nothing broke")


def _try(source: str, seed: int, seen: Counter[str], broken: Counter[str]) -> None:
    text, lines = "", None
    try:
        if source == "operators":
            attempt_operators(seed, seen)
            return
        text, folder, lines = SOURCES[source](random.Random(seed))
        answer = attempt(text, folder, lines)
        seen[compute(text) if source == "valid" and answer != "refused" else answer] += 1
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        way = f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}"
        broken[way] += 1
        if broken[way] == 1 or source == "operators":
            text = text or operators.program(random.Random(seed)).text
            print(f"=== seed {seed}: {way}: {str(error)[:2000]}\n{text[:4000]}\n{lines or ''}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
