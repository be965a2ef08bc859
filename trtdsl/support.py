"""Which operator each release of TensorRT has, which are composed of others there, and which it lacks.

In: the operators' examples.  Out: a :class:`Support` for each operator and release, found by lowering every
example into a network that is only written down, with no TensorRT installed; :func:`table` prints them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate_text
from trtdsl.ir import Graph, Value, rebuild
from trtdsl.ops.base import OPERATORS, Op
from trtdsl.ops.example_text import function_statements, statements
from trtdsl.trt.lower import lower_into
from trtdsl.trt.releases import RELEASES, RTX, VERSIONS, release_facts
from trtdsl.trt.sketch import SketchNetwork
from trtdsl.types import evaluate_shape

_DIMS = {"N": "1 .. 2 .. 3", "S": "2 .. 5 .. 9", "H": "16 .. 20 .. 33", "W": "16 .. 20 .. 33"}

_MOVES_NUMBERS = frozenset({"cast", "concatenation", "constant", "identity", "shape", "shuffle", "slice"})
"""Layers that prepare the operands of others. An operator of nothing else is native too."""


_RUNS_BODIES = frozenset({"loop", "if_conditional"})
"""Layers whose bodies are the model's own."""


@dataclass(frozen=True)
class Support:
    """What an operator becomes in one release: each example's layers, and why others are refused."""

    layers: tuple[tuple[str, ...], ...]
    refused: tuple[str, ...]

    @property
    def word(self) -> str:
        """``native``, ``composed``, ``refused``, or one of the first two ``in part``."""
        if not self.layers:
            return "refused"
        computing = [[kind for kind in layers if kind not in _MOVES_NUMBERS] for layers in self.layers]
        runs = any(layers[0] in _RUNS_BODIES for layers in computing if layers)
        word = "native" if runs or min(map(len, computing)) <= 1 else "composed"
        return f"{word} in part" if self.refused else word


@cache
def support(op: type[Op], release: str) -> Support:
    """What the operator becomes in one of :data:`~trtdsl.trt.releases.RELEASES`."""
    layers: list[tuple[str, ...]] = []
    refused: list[str] = []
    for graph in _examples(op):
        net = SketchNetwork(release_facts(release), release)
        try:
            lower_into(graph, net)
        except DiagnosticError as error:
            refused.append(error.diagnostics[0].message)
        else:
            layers.append(tuple(net.layers))
    return Support(tuple(layers), tuple(dict.fromkeys(refused)))


@cache
def _examples(op: type[Op]) -> tuple[Graph, ...]:
    texts = [statements(op, example) for example in op.examples]
    texts += [function_statements(example) for spelling in op.spellings for example in spelling.examples]
    return tuple(_by_itself(_with_weights(elaborate_text(_model(lines)))) for lines in texts)


def _model(lines: Sequence[str]) -> str:
    """An example's statements as a model, its results the outputs."""
    text = "\n  ".join(lines)
    used = [name for name in _DIMS if re.search(rf"\b{name}\b", text)]
    dims = [f"dim {name} = {_DIMS[name]}" for name in used]
    # A size that only a parameter names is read off an input of its own.
    sizes = [f"input size_{name}: float32[{name}]" for name in used]
    results = lines[-1].partition("=")[0].strip()
    return "\n  ".join(["model example {", *dims, *sizes, text, f"output {results}"]) + "\n}"


def _with_weights(graph: Graph) -> Graph:
    """The graph with zeros for every weight, which take no memory."""
    zeros: dict[Value, Value] = {}
    for weight in graph.weights:
        zero = np.zeros((), weight.type.dtype.numpy)
        zeros[weight] = weight.replace(data=np.broadcast_to(zero, evaluate_shape(weight.type.shape, {})))
    return rebuild(graph, graph.nodes, zeros)


def _by_itself(graph: Graph) -> Graph:
    """The graph without bodies that stand in for what a release lacks."""
    nodes = (node.replace(bodies=()) if node.op.bodies_optional else node for node in graph.nodes)
    return graph.replace(nodes=tuple(nodes))


@cache
def columns() -> Mapping[str, str]:
    """The first release of each run of them in which nothing changes, by what they are called together:
    ``TensorRT 10.3 to 10.7``."""
    runs: list[list[str]] = []
    for release in RELEASES:
        if runs and _told(release) == _told(runs[-1][0]) and release != RTX:
            runs[-1].append(release)
        else:
            runs.append([release])
    return {_together(run): run[0] for run in runs}


def _together(run: Sequence[str]) -> str:
    return run[0] if len(run) == 1 else f"{run[0]} to {run[-1].removeprefix('TensorRT ')}"


@cache
def _told(release: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What the page tells of a release, without its name."""
    found = [support(op, release) for _, op in sorted(OPERATORS.items())]
    return tuple((each.word, tuple(text.replace(release, "") for text in each.refused)) for each in found)


def table() -> str:
    """The operators by release as a Markdown table."""
    head = f"| operator | {' | '.join(columns())} |\n|{'---|' * (len(columns()) + 1)}"
    rows = [
        f"| `{name}` | {' | '.join(support(op, first).word for first in columns().values())} |"
        for name, op in sorted(OPERATORS.items())
    ]
    return "\n".join([head, *rows])


def page() -> str:
    """The table with what its words mean, as a page of the documentation."""
    notes = [f"- `{name}`: {text}" for name, op in sorted(OPERATORS.items()) for text in _notes(op)]
    reasons = [f"- `{layer}`: {reason}" for layer, reason in sorted(NOT_REACHED.items())]
    return _PAGE.format(
        versions=", ".join(VERSIONS), table=table(), notes="\n".join(notes), reasons="\n".join(reasons)
    )


def _notes(op: type[Op]) -> list[str]:
    """What releases refuse of an operator, each once."""
    by_text: dict[str, list[str]] = {}
    for release in RELEASES:
        for text in support(op, release).refused:
            by_text.setdefault(text.replace(release, _NAME), []).append(release)
    return [text.replace(_NAME, _together(releases)) for text, releases in by_text.items()]


_NAME = "{release}"


def layers_used(release: str) -> frozenset[str]:
    """The layers that some example of some operator becomes in a release."""
    found = (support(op, release).layers for op in OPERATORS.values())
    return frozenset(kind for examples in found for layers in examples for kind in layers)


NOT_REACHED: Mapping[str, str] = {
    "assertion": "what can be known is checked before TensorRT is called",
    "attention": "its second version, `attention_v2`",
    "constant": "weights and numbers become constants where a layer needs them",
    "dist_collective": "an engine here runs on one GPU",
    "dynamic_quantize_v2": "its blocks in two dimensions, which TensorRT dequantises to float16 first",
    "einsum": "matrix products, which take every subscript, dtype and release",
    "fill": "constants, cut to the size that is needed at run time",
    "identity": "casts on releases without `cast`, and outputs that are inputs",
    "input": "an `input` of the model",
    "moe": "no GPU that TensorRT-RTX builds for decomposes it, and PyTorch has no such module",
    "nms": "its result's size depends on values, which no type can say",
    "non_zero": "its result's size depends on values, which no type can say",
    "normalization": "its second version, or layers of its parts, whose float32 is PyTorch's",
    "one_hot": "a comparison with the classes' numbers",
    "padding_nd": "zeros around two dimensions only; `slice` pads any, in every mode",
    "plugin": "it takes functions of Python, which an engine cannot hold; `plugin` places those of a library",
    "plugin_v2": "what `plugin` becomes where the plugin is of that kind, as most of TensorRT's own",
    "ragged_softmax": "a softmax of masked numbers says the same, of any rank",
    "reverse_sequence": "PyTorch has no such function; a gather of positions says the same",
    "scale": "elementwise layers say the same along any dimension",
    "shape": "sizes at run time, where a shape depends on them",
    "squeeze": "`shuffle` does it on every release",
    "unsqueeze": "`shuffle` does it on every release",
}
"""The layers of TensorRT 11.4 that no operator's example becomes, and why."""

_PAGE = """\
# Operators by release

Made by `make docs`, from what each operator's examples become; `trtdsl ops --table` prints the table.
*native* is one layer of TensorRT, besides those that convert and arrange its operands; *composed* is several;
*in part* says that some configuration or type is refused, as is told below it. What is refused is told by its
place in the text, before anything is built. A column is of releases in which nothing changes, of those whose
bindings were read: TensorRT {versions}.

{table}

What is refused, of what the examples show:

{notes}

Layers of TensorRT 11.4 that no operator becomes:

{reasons}
"""
