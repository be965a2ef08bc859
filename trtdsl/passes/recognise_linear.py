"""Products with a constant matrix become linear layers, and take in the bias and the reshapes around them.

``x @ w`` with a known matrix, ``addmm``, and ``x @ w + b`` are what exporters make of ``torch.nn.Linear`` and
of GPT-2's ``Conv1D``. PyTorch flattens the input to rows before ``addmm``, which the layer does not need.
"""

from __future__ import annotations

from trtdsl.ir import (
    Graph,
    Node,
    Outcome,
    Refusal,
    Surroundings,
    Value,
    Weight,
    merged_origins,
    rewrite,
)
from trtdsl.ops.linear import Linear
from trtdsl.ops.matrix import Matmul, Mm
from trtdsl.ops.pointwise import Add
from trtdsl.ops.products import Addmm
from trtdsl.ops.shape import Reshaping
from trtdsl.passes.declare import graph_pass
from trtdsl.passes.matching import (
    Array,
    array_of,
    at_key,
    is_constant,
    made_by,
    reads_of_weights,
    transposed,
)


@graph_pass(
    tolerance=1e-6,  # sums of products run in another order
    after=["fold_constants", "merge_common_subexpressions"],
    before=["fold_batch_norm", "merge_moves"],
    why="a normalisation can then fold into the layer, and the reshapes around it are still there to be seen",
)
def recognise_linear(graph: Graph) -> Graph:
    """Make linear layers of products with constant matrices, their biases and the reshapes around them.

    The matrix is stored turned, as a linear layer's is, unless something else reads it as it stands.

    before::

        model example() {
          input x: float32[2, 5, 8]
          rows = addmm(b: Parameter(3), reshape(x, (10, 8)), w: Parameter(8, 3))
          y = reshape(rows, (2, 5, 3))
          output y = y
        }

    after::

        model example() {
          input x: float32[2, 5, 8]
          y = x -> "w+turned": Linear(3)
          output y = y
        }
    """
    return rewrite(graph, _Recognise(graph))


class _Recognise:
    """Remembers the layers that were made, so that a matrix that is used twice stays one."""

    def __init__(self, graph: Graph) -> None:
        self._reads = reads_of_weights(graph)
        self._turned: dict[Value, Weight] = {}
        self._biases: dict[str, tuple[Array, Weight]] = {}
        self._keys = {weight.key for weight in graph.weights}

    def __call__(self, node: Node, around: Surroundings) -> Outcome:
        match node.op:
            case Matmul() | Mm():
                x, matrix = node.operands
                return self._product(node, x, matrix, None, around)
            case Addmm(beta=1, alpha=1):
                bias, rows, matrix = node.operands
                return self._product(node, rows, matrix, bias, around)
            case Add(alpha=1):
                return _with_bias(node, around)
            case Reshaping():
                return _without_reshapes(node, around)
            case _:
                return None

    def _product(
        self, node: Node, x: Value, matrix: Value, bias: Value | None, around: Surroundings
    ) -> Outcome:
        if matrix.type.rank != 2 or x.type.rank < 1 or not is_constant(matrix, around):
            return None
        if 0 in matrix.type.shape:
            return None  # a layer has outputs
        if bias is not None and not (is_constant(bias, around) and bias.type.shape == matrix.type.shape[1:]):
            return None
        array = array_of(matrix, around)
        if array is None:
            return Refusal("the matrix has no values yet: give a checkpoint")
        if self._is_shared(matrix, around):
            return Refusal("the matrix is read elsewhere too, and would be stored twice")
        weight = self._weight(matrix, array, around)
        scope = weight.key.removesuffix(".weight")
        given: dict[str, Value] = {"weight": weight}
        if bias is not None:
            given["bias"] = self._bias(bias, scope, around)
        (rows, _) = array.T.shape
        return node.replace(
            op=Linear(rows, bias is not None),
            operands=(x, *given.values()),
            slots=("input", *given),
            scope=scope,
        )

    def _is_shared(self, matrix: Value, around: Surroundings) -> bool:
        """Whether something else than the matrix's own parameter reads the weight."""
        maker = around.producer(matrix)
        return maker is not None and any(self._reads[weight] > 1 for weight in maker.weights.values())

    def _weight(self, matrix: Value, array: Array, around: Surroundings) -> Weight:
        if matrix not in self._turned:
            maker = around.producer(matrix)
            key = self._unique(maker.scope if maker and maker.scope else matrix.name)
            type = matrix.type.with_shape(tuple(reversed(matrix.type.shape)))
            self._turned[matrix] = Weight(key, type, key, transposed(array))
        return self._turned[matrix]

    def _unique(self, label: str) -> str:
        """A key that no weight has: `a` and `a.weight` may both be matrices."""
        stem = f"{label.removesuffix('.weight')}+turned"
        names = (f"{stem}{number}.weight" for number in ("", *range(2, len(self._keys) + 3)))
        key = next(name for name in names if name not in self._keys)
        self._keys.add(key)
        return key

    def _bias(self, bias: Value, scope: str, around: Surroundings) -> Value:
        """The layer's own, beside its weight; the value itself where the weight has another one elsewhere."""
        array = array_of(bias, around)
        if array is None:
            return bias
        key = f"{scope}.bias"
        first, weight = self._biases.setdefault(scope, (array, Weight(key, bias.type, key, array)))
        return weight if first is array else bias


def _with_bias(node: Node, around: Surroundings) -> Outcome:
    """A sum of a linear layer without a bias and a constant that is one."""
    left, right = node.operands
    for value, bias in ((left, right), (right, left)):
        layer = made_by(value, around, Linear)
        if layer is None or "bias" in layer.slots or not is_constant(bias, around):
            continue
        if bias.type == value.type.with_shape(value.type.shape[-1:]) and value.type == node.result.type:
            op = layer.op.replace(bias=True)
            return node.replace(
                op=op,
                operands=(*layer.operands, at_key(bias, around, op.key("bias", layer.scope))),
                slots=(*layer.slots, "bias"),
                scope=layer.scope,
                origins=merged_origins([layer, node]),
            )
    return None


def _without_reshapes(node: Node, around: Surroundings) -> Outcome:
    """A layer on the tensor itself, where it is flattened to rows before the layer, and back after it."""
    layer = made_by(node.operands[0], around, Linear)
    before = around.producer(layer.operands[0]) if layer else None
    if layer is None or before is None or not isinstance(before.op, Reshaping):
        return None
    (x,) = before.operands
    if not x.type.rank or x.type.shape[-1] != before.result.type.shape[-1]:
        return None
    if node.result.type.shape != (*x.type.shape[:-1], layer.result.type.shape[-1]):
        return None
    return layer.replace(
        operands=(x, *layer.operands[1:]),
        results=node.results,
        origins=merged_origins([before, layer, node]),
    )
