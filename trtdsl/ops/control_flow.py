"""What is decided at run time: recurrences along a sequence, and the choice between two branches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trtdsl.diagnostics import counted
from trtdsl.ops.base import Function, Signature
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import same_dim, wrap_dim
from trtdsl.types import Dim, TensorType

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Network, Tensor

Bodies = Mapping[str, Callable[..., Any]]
"""The bodies that run here, by name, as functions from tensors to a tuple of tensors."""


def _listed(types: Sequence[TensorType]) -> str:
    return ", ".join(map(str, types)) or "nothing"


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def without(shape: Sequence[Dim], dim: int) -> tuple[Dim, ...]:
    """The shape of one element along a dimension."""
    return (*shape[:dim], *shape[dim + 1 :])


class Scan(Function):
    """A recurrence, as the `scan` statement places it: ``body`` once for each element of the sequences.

    ``body`` takes the elements, then the carried tensors, then the captured ones. It gives what is stacked
    along ``dim``, then the carried tensors of the next element, whose types do not change. The results are
    the stacks, then the carried tensors after the last element.
    """

    name = "scan"
    bodies = ("body",)
    order = ("body", "sequences", "carried", "captured", "dim", "reverse")
    examples = (
        "scan(body = add)([float32[S, 4]], [float32[4]]) -> float32[4]",
        "scan(body = exp)([float32[S, N, 4]]) -> float32[S, N, 4]",
        "scan(dim = -1, reverse = true, body = maximum)([float16[4, S]], [float16[4]]) -> float16[4]",
        "scan(dim = (0, 1), body = bmm)([float32[S, N, 3, 4], float32[N, S, 4, 2]]) -> float32[S, N, 3, 2]",
        "scan(dim = 1, body = where)([bool[2, S]], [], [int64[2], int64[2]]) -> int64[2, S]",
    )

    dim: int | tuple[int, ...] = 0
    reverse: bool = False

    def body_inputs(
        self,
        sequences: Sequence[TensorType],
        carried: Sequence[TensorType] = (),
        captured: Sequence[TensorType] = (),
    ) -> Mapping[str, tuple[TensorType, ...]]:
        pairs = zip(sequences, self.dims([each.rank for each in sequences]), strict=True)
        elements = (x.with_shape(without(x.shape, dim)) for x, dim in pairs)
        return {"body": (*elements, *carried, *captured)}

    def infer(
        self,
        sequences: Sequence[TensorType],
        carried: Sequence[TensorType] = (),
        captured: Sequence[TensorType] = (),
        *,
        bodies: Mapping[str, Signature],
    ) -> tuple[TensorType, ...]:
        length = self._length(sequences)
        given = bodies["body"].outputs
        count = len(given) - len(carried)
        if count < 0 or given[count:] != tuple(carried):
            found = f"gives {_listed(given[max(count, 0) :])} where {_listed(carried)} is carried"
            raise Refused(f"the body of `scan` {found}", "body")
        if not given:
            raise Refused("this scan gives nothing: its body must stack or carry a tensor", "body")
        return (*(self._stack(each, length) for each in given[:count]), *carried)

    def dims(self, ranks: Sequence[int]) -> tuple[int, ...]:
        """The dimension of each sequence that is scanned, counted from the front."""
        dims = (self.dim,) * len(ranks) if isinstance(self.dim, int) else self.dim
        if len(dims) != len(ranks):
            named, scanned = counted(len(dims), "dimension"), counted(len(ranks), "sequence")
            raise Refused(f"`dim` names {named}, but {scanned} {_is(len(ranks))} scanned", "dim")
        if 0 in ranks:
            raise Refused("a sequence needs a dimension that is scanned, but this has rank 0", "sequences")
        return tuple(wrap_dim(dim, rank) for dim, rank in zip(dims, ranks, strict=True))

    def iterations(self, sequences: Sequence[TensorType], *_: Any, **named: Any) -> Dim:
        return self._length(sequences)

    def _length(self, sequences: Sequence[TensorType]) -> Dim:
        dims = self.dims([each.rank for each in sequences])
        lengths = [each.shape[dim] for each, dim in zip(sequences, dims, strict=True)]
        for length in lengths[1:]:
            if not same_dim(lengths[0], length, "the sequences of `scan`", "sequences"):
                text = f"sequences that are scanned together are equally long, not {lengths[0]} and {length}"
                raise Refused(text, "sequences")
        return lengths[0]

    def stack_dim(self, rank: int) -> int:
        """Where the stack of emitted tensors of this rank has the scanned dimension."""
        dim = self.dim if isinstance(self.dim, int) else self.dim[0]
        if not -rank - 1 <= dim <= rank:
            text = f"a tensor of rank {rank} is emitted, which cannot be stacked along dimension {dim}"
            raise Refused(text, "dim")
        return dim + rank + 1 if dim < 0 else dim

    def _stack(self, each: TensorType, length: Dim) -> TensorType:
        dim = self.stack_dim(each.rank)
        return each.with_shape((*each.shape[:dim], length, *each.shape[dim:]))

    def lower(
        self,
        net: Network,
        sequences: Sequence[Tensor],
        carried: Sequence[Tensor] = (),
        captured: Sequence[Tensor] = (),
        *,
        bodies: Bodies,
    ) -> tuple[Tensor, ...]:
        from trtdsl.ops.lowering import Along

        def step(elements: Sequence[Tensor], state: Sequence[Tensor]) -> Any:
            results = bodies["body"](*elements, *state, *captured)
            count = len(results) - len(carried)
            emitted = [Along(x, self.stack_dim(x.rank), self.reverse) for x in results[:count]]
            return emitted, results[count:]

        dims = self.dims([each.rank for each in sequences])
        along = [Along(x, dim, self.reverse) for x, dim in zip(sequences, dims, strict=True)]
        stacks, last = net.scan(step, along, carried)
        return (*stacks, *last)

    def reference(
        self,
        torch: Any,
        sequences: Sequence[Any],
        carried: Sequence[Any] = (),
        captured: Sequence[Any] = (),
        *,
        bodies: Bodies,
    ) -> Any:
        dims = self.dims([each.dim() for each in sequences])
        along = [*zip(sequences, dims, strict=True)]
        length = sequences[0].shape[dims[0]]
        order = reversed(range(length)) if self.reverse else range(length)
        state, rows = tuple(carried), list[Sequence[Any]]()
        for index in order:
            results = bodies["body"](*(x.select(dim, index) for x, dim in along), *state, *captured)
            rows.append(results[: len(results) - len(state)])
            state = results[len(results) - len(state) :]
        if self.reverse:
            rows.reverse()
        if not rows:
            # Nothing was emitted: what would be has the shape of what comes of zeros.
            nothing = (x.new_zeros(without(x.shape, dim)) for x, dim in along)
            results = bodies["body"](*nothing, *state, *captured)
            rows = [results[: len(results) - len(state)]]
        stacks = (torch.stack(each, self.stack_dim(each[0].dim())) for each in zip(*rows, strict=True))
        dim_of = self.stack_dim
        return (*(x.narrow(dim_of(x.dim() - 1), 0, length) for x in stacks), *state)


class Cond(Function):
    """One of two branches, as a flag says at run time; what the other computes is not computed.

    The branches are functions or blocks that take the operands, and their results have the same types.
    """

    torch = "torch.cond"
    bodies = ("true_fn", "false_fn")
    order = ("pred", "true_fn", "false_fn", "operands")
    examples = (
        "cond(true_fn = relu, false_fn = tanh)(bool[], [float32[N, 8]]) -> float32[N, 8]",
        "cond(true_fn = add, false_fn = minimum)(bool[1], [int64[N], int64[N]]) -> int64[N]",
    )

    def body_inputs(
        self, pred: TensorType, operands: Sequence[TensorType] = ()
    ) -> Mapping[str, tuple[TensorType, ...]]:
        return dict.fromkeys(self.bodies, tuple(operands))

    def infer(
        self,
        pred: TensorType,
        operands: Sequence[TensorType] = (),
        *,
        bodies: Mapping[str, Signature],
    ) -> tuple[TensorType, ...]:
        if not pred.dtype.is_bool:
            help = "compare it with a number: `x > 0`"
            raise Refused(f"the flag of `cond` must be a bool, not {pred.dtype}", "pred", help)
        if any(size != 1 for size in pred.shape):
            help = "reduce it: `all(flag)`, `any(flag)`, or choose element by element with `where`"
            raise Refused(f"the flag of `cond` must be one element, not {pred}", "pred", help)
        one, other = (bodies[name].outputs for name in self.bodies)
        if one != other:
            text = "both branches of `cond` must give the same types"
            raise Refused(f"{text}: `true_fn` gives {_listed(one)}, `false_fn` {_listed(other)}", "false_fn")
        return one

    def lower(
        self, net: Network, pred: Tensor, operands: Sequence[Tensor] = (), *, bodies: Bodies
    ) -> tuple[Tensor, ...]:
        then, otherwise = ((lambda given, run=bodies[name]: run(*given)) for name in self.bodies)
        return net.choose(net.reshape(pred, ()), operands, then, otherwise)

    def reference(self, torch: Any, pred: Any, operands: Sequence[Any] = (), *, bodies: Bodies) -> Any:
        return bodies["true_fn" if bool(pred) else "false_fn"](*operands)
