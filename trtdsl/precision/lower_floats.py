"""A model in float16 or bfloat16 by the policy, with as few casts as can be.

In: a graph with its weights' values, the type, a policy, and perhaps what data have shown.  Out: the graph,
what stayed float32 and why, and notes that say so::

    lowered = lower_floats(graph, DType.FLOAT16, FloatingPolicy(keep=["head.*"]))
    lowered.graph, lowered.stayed[0].reason
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from msgspec.structs import replace

from trtdsl.diagnostics import Diagnostic
from trtdsl.ir import Graph, Node, Value, graphs
from trtdsl.passes.convert_precision import convert, is_cast, is_converted_type
from trtdsl.passes.masks import within_range
from trtdsl.precision.batches import RecipeData
from trtdsl.precision.fewest_casts import with_fewest_casts
from trtdsl.precision.floating import POLICY, FloatingPolicy, Row, reasons
from trtdsl.precision.known import known
from trtdsl.precision.labels import require_match
from trtdsl.precision.magnitudes import out_of_range
from trtdsl.precision.small_weights import with_larger_weights
from trtdsl.recipe import Recipe
from trtdsl.types import DType

Told: TypeAlias = Callable[[str, int, int], object]
"""Is told what is being done, how many runs of it are done, and how many there are."""

Observe: TypeAlias = Callable[[Graph], Mapping[Value, str]]
"""Says of a graph's values why the type does not hold them."""

BY_DEFAULT = FloatingPolicy()

SHOWN = 4
"""How many labels a note lists."""

PRODUCTS = frozenset(
    {
        *("Linear", "Bilinear", "Embedding", "EmbeddingBag", "MultiheadAttention", "DeformConv2d"),
        *(f"Conv{n}d" for n in (1, 2, 3)),
        *(f"ConvTranspose{n}d" for n in (1, 2, 3)),
        *("LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell"),
        *("matmul", "bmm", "mm", "mv", "dot", "vdot", "inner", "outer", "einsum", "tensordot"),
        *("addmm", "baddbmm", "addbmm", "addmv", "addr", "bilinear", "scaled_dot_product_attention"),
        *("kv_cache_update", "quantize", "dequantize", "dynamic_quantize"),
    }
)
"""The operators that narrow types are for: they become narrow unless a reason is against it."""


@dataclass(frozen=True)
class Stayed:
    """An operator that stayed float32, and why."""

    node: Node
    reason: str

    @property
    def label(self) -> str:
        """Its label, or else its operator's name."""
        return self.node.scope or self.node.op.name


@dataclass(frozen=True)
class LoweredFloats:
    """The graph, and the one that it was made of, whose masks and small weights the type holds, with what was
    changed in them.

    ``stayed`` are the nodes of the latter that stayed float32 for a reason of their own, ``among`` those
    that stayed because they stand between such. ``needed`` are the nodes that must be float32 where TensorRT
    chooses the types of the others: those that stayed, what these are sensitive to, and constants for them.
    """

    graph: Graph
    wide: Graph
    stayed: tuple[Stayed, ...]
    among: tuple[Node, ...]
    masks: tuple[Diagnostic, ...]
    needed: frozenset[Node]

    @property
    def between(self) -> int:
        """How many nodes stayed float32 between others."""
        return len(self.among)

    @property
    def notes(self) -> tuple[Diagnostic, ...]:
        """What is to be said: masks that were cut off, and what stayed float32, and why."""
        return (*self.masks, *_notes(self.stayed))


def lower_floats(
    graph: Graph,
    dtype: DType,
    policy: FloatingPolicy = BY_DEFAULT,
    observe: Observe | None = None,
    *,
    edges: bool = False,
    rows: Sequence[Row] = POLICY,
) -> LoweredFloats:
    """The graph in ``dtype``, but for what stays by these rows of the policy, by its numbers and by data.

    ``observe`` is asked, once its masks are within the range, of which values data show that the type does
    not hold them. With ``edges`` inputs and outputs become of the type too. Raises DiagnosticError for what
    the type cannot hold though it was allowed.
    """
    masks = within_range(graph, dtype)
    found = known(masks.graph, dtype)
    larger = with_larger_weights(masks.graph, dtype, policy.is_about)
    graph = larger.graph
    why = reasons(graph, dtype, policy, found, observe(graph) if observe else {}, rows)
    why |= larger.products
    wide = {*why, *_arguments(graph, [node for node in why if not policy.kept(node)], policy)}
    narrow = [node for each in graphs(graph) for node in each.nodes if node not in wide and _is_narrow(node)]
    stay = frozenset[Node]()
    for each in graphs(graph):
        stay |= with_fewest_casts(each, dtype, wide, narrow, edges or each is not graph)
    converted = convert(graph, dtype, stay, beyond=found.beyond, edges=edges)
    stayed = tuple(Stayed(node, reason) for node, reason in why.items())
    nodes = (node for each in graphs(graph) for node in each.nodes)
    among = tuple(node for node in nodes if node in stay and node.tensors and node not in why)
    needed = frozenset(node for node in stay if node in wide or not node.tensors)
    return LoweredFloats(converted, graph, stayed, among, masks.notes, needed)


def lower_by_recipe(
    graph: Graph,
    dtype: DType,
    recipe: Recipe,
    progress: Told | None = None,
    data: RecipeData | None = None,
    rows: Sequence[Row] = POLICY,
) -> LoweredFloats:
    """The graph in ``dtype``, with what a recipe keeps and allows, and the range check on its data, which are
    read here unless they are given.

    Raises UsageError for a pattern that nothing of the model is like, and for data that do not fit.
    """
    policy = FloatingPolicy(recipe.keep.get(DType.FLOAT32, ()), recipe.allow.get(dtype, ()))
    if (
        not recipe.is_narrow
    ):  # whose patterns are of the layers that it may quantise, and are known to be right
        _require_names(graph, policy, dtype)
    edges = recipe.edges is not None
    batches = (data or RecipeData(graph, recipe)).batches(graph)
    if batches is None:
        return lower_floats(graph, dtype, policy, edges=edges, rows=rows)
    told = progress or (lambda phase, done, total: None)

    def observe(graph: Graph) -> Mapping[Value, str]:
        return out_of_range(graph, batches, dtype, lambda *done: told("checking ranges", *done))

    return lower_floats(graph, dtype, policy, observe, edges=edges, rows=rows)


def _require_names(graph: Graph, policy: FloatingPolicy, dtype: DType) -> None:
    """Refuse patterns that no label and no operator of the model is like."""
    names = {
        name for each in graphs(graph) for node in each.nodes for name in (node.scope, node.op.name) if name
    }
    lacking = f"no label and no operator of `{graph.name}`, as the passes leave it"
    require_match(f"--keep {DType.FLOAT32}", policy.keep, names, lacking)
    require_match(f"--allow {dtype}", policy.allow, names, lacking)


def _is_narrow(node: Node) -> bool:
    return bool(node.op.name in PRODUCTS or node.bodies)


def _arguments(graph: Graph, stay: Sequence[Node], policy: FloatingPolicy) -> Iterator[Node]:
    """What must be computed in float32 because an operator that stays is sensitive to what it reads."""
    for each in graphs(graph):
        own = {*each.nodes}
        sensitive = [node for node in stay if node in own and _is_sensitive(node)]
        waiting = [value for node in sensitive for value in node.operands]
        seen: set[Value] = set()
        while waiting:
            value = waiting.pop()
            maker = each.producers.get(value)
            if value in seen or maker is None or _is_narrow(maker) or policy.allowed(maker):
                continue
            seen.add(value)
            if is_converted_type(value.type):
                yield maker
                waiting += maker.operands


def _is_sensitive(node: Node) -> bool:
    return any(row.arguments and row.names(node) for row in POLICY)


def casts(graph: Graph) -> int:
    """How many casts from one floating-point type to another a graph has, those of bodies included."""
    return sum(is_cast(node) for each in graphs(graph) for node in each.nodes)


def _notes(stayed: Collection[Stayed]) -> Iterator[Diagnostic]:
    """A note for each reason, with the operators that it holds for."""
    by_reason: dict[tuple[str, str], list[Stayed]] = {}
    for each in stayed:
        by_reason.setdefault((each.node.op.name, each.reason), []).append(each)
    for (name, reason), found in by_reason.items():
        labels = list(dict.fromkeys(each.node.scope for each in found if each.node.scope))
        listed = ", ".join(f"`{label}`" for label in labels[:SHOWN])
        more = f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else ""
        times = f"{len(found)} of " if len(found) > 1 and not labels else ""
        what = f"{listed}{more} ({name})" if labels else f"{times}`{name}`"
        text = f"{what} stayed float32, because {reason}"
        yield replace(Diagnostic.at(text, found[0].node.origins), severity="note")
