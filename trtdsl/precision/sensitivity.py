"""What each layer alone adds to the error of the outputs, and which layers an error allows.

In: a graph, the ranges of its layers' inputs, a policy and samples.  Out: the relative L2 error of the
outputs with one layer quantised and all others as they are, for each layer that the policy chooses. Errors of
layers are as good as independent: the root of the sum of their squares is what to expect of all together,
and was 0.6 to 0.9 of what was then measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from trtdsl.diagnostics import Diagnostic, UsageError
from trtdsl.ir import Graph
from trtdsl.precision.calibrate import Batches, Progress
from trtdsl.precision.error import OutputError, relative, squares
from trtdsl.precision.placement import Policy
from trtdsl.precision.replay import Replay

FEWEST, MOST, TOGETHER = 8, 32, 1024
"""How many samples tell the layers apart: all layers have about a thousand runs together. The error of the
whole is measured on all samples."""


@dataclass(frozen=True)
class Sensitivities:
    """The error of each output, by name, with one layer quantised, by the layer's label."""

    layers: Mapping[str, Mapping[str, float]]

    def of(self, label: str) -> float:
        """That of the output which is furthest off."""
        return max(self.layers[label].values(), default=0.0)

    def outputs(self, labels: Collection[str]) -> Mapping[str, float]:
        """What to expect of each output with several layers quantised."""
        totals: dict[str, float] = {}
        for label in labels:
            for name, error in self.layers[label].items():
                totals[name] = totals.get(name, 0.0) + error**2
        return {name: math.sqrt(total) for name, total in totals.items()}

    def among(self, labels: Collection[str]) -> Sensitivities:
        """Those of some layers."""
        return Sensitivities({label: each for label, each in self.layers.items() if label in labels})

    def expected(self, labels: Collection[str] | None = None) -> float:
        """The same of the output which is furthest off; by default with all layers."""
        return max(self.outputs(self.layers if labels is None else labels).values(), default=0.0)

    @property
    def shares(self) -> Sequence[tuple[str, float]]:
        """The layers with their share of the expected squared error, the largest first."""
        whole = self.outputs(self.layers)
        name = max(whole, key=whole.__getitem__, default="")
        total = whole.get(name, 0.0) ** 2 or 1.0
        shares = [(label, errors[name] ** 2 / total) for label, errors in self.layers.items() if name]
        return sorted(shares, key=lambda pair: -pair[1])


def sensitivities(
    graph: Graph,
    policy: Policy,
    quantised: Callable[[Policy], Graph],
    batches: Batches,
    progress: Progress | None = None,
) -> Sensitivities:
    """Quantise one layer after the other; all uses of a label are one layer.

    ``quantised`` gives the graph by a policy. Only what comes after a layer is computed again, for as many
    samples at once as leave memory alone.
    """
    labels = list(dict.fromkeys(policy.chosen(graph)))
    alone = {label: quantised(policy.only([label])) for label in labels}
    totals = {label: {output.name: (0.0, 0.0) for output in graph.outputs} for label in labels}
    samples = min(max(TOGETHER // max(len(labels), 1), FEWEST), MOST)
    groups = batches.spread(samples).together(graph)
    done, count = 0, len(groups) * len(labels)
    for batch in groups:
        replay = Replay(graph, batch)
        for label in labels:
            found = replay.outputs(alone[label])
            for name, exact in replay.exact.items():
                sums = zip(totals[label][name], squares(exact, found[name]), strict=True)
                totals[label][name] = tuple(map(sum, sums))  # pyright: ignore[reportArgumentType]
            done += 1
            if progress:
                progress(done, count)
    errors = {
        label: {name: relative(*each) for name, each in named.items()} for label, named in totals.items()
    }
    return Sensitivities(errors)


# --- A limit -----------------------------------------------------------------------------------------------

Measure: TypeAlias = Callable[[Policy], OutputError]

HEADROOM = 0.9
"""Of the limit is what the data may measure: others have larger numbers than any seen, which are cut off."""


def within(limit: float, known: Sensitivities, policy: Policy, measure: Measure) -> Policy:
    """The policy with the fewest layers left in floating point such that the outputs are within an error.

    Layers are left in the order in which they lessen the expected error most; how many, the measured error of
    the whole decides. Raises UsageError where no layer can be quantised.
    """
    told, limit = limit, limit * HEADROOM
    order = list(_by_relief(known))
    tried: dict[int, OutputError] = {}
    least, most, guess = 0, len(order), _first(order, known, limit)
    while least < most:
        count = min(max(guess, least), most - 1)
        tried[count] = measure(policy.without(_reasons(order[:count], known)))
        if tried[count].largest <= limit:
            most = count
        else:
            least = count + 1
        guess = _first(order, known, limit * _underrated(order, known, tried[count], count))
    if least == len(order):
        best = known.of(order[-1]) if order else 0.0
        text = f"no layer can be quantised within an error of {told:g}: the least alone makes {best:.2g}"
        raise UsageError(Diagnostic(text, help=("give a larger `--max-error`",)))
    return policy.without(_reasons(order[:least], known))


def _by_relief(known: Sensitivities) -> Iterator[str]:
    """The layers, each time the one with most of the error of the output that is then furthest off."""
    left = dict(known.layers)
    while left:
        whole = known.outputs(left)
        name = max(whole, key=whole.__getitem__, default="")
        worst = max(left, key=lambda label: left[label].get(name, 0.0))
        del left[worst]
        yield worst


def _first(order: Sequence[str], known: Sensitivities, limit: float) -> int:
    """How many layers to leave so that the expected error is within a limit."""
    return next((count for count in range(len(order)) if known.expected(order[count:]) <= limit), len(order))


def _underrated(order: Sequence[str], known: Sensitivities, found: OutputError, count: int) -> float:
    """The share of the measured error that was expected."""
    expected = known.expected(order[count:])
    return expected / found.largest if found.largest and expected else 1.0


def _reasons(labels: Sequence[str], known: Sensitivities) -> Mapping[str, str]:
    return {label: f"it alone makes an error of {known.of(label):.2g}" for label in labels}
