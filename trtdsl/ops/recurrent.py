"""Recurrent networks along a sequence, of several layers and in both directions.

Every layer is one loop along the first dimension, whatever its directions: what the input contributes to the
gates is one product over the whole sequence, ahead of the loop, and an iteration is left with a product of
the last states of all directions at once, ``[directions, N, hidden]``, which is also the layout of ``h_n``.
Where the builder itself takes such products out of loops, and does it better, the first stands inside too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from trtdsl.ops.base import Module, static
from trtdsl.ops.recurrent_steps import (
    NONLINEARITIES,
    affine,
    gru_step,
    joined,
    lstm_step,
    parts,
    require_both,
    require_state,
    stacked,
    total,
)
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import require_elements, require_floating, require_rank
from trtdsl.types import Dim, DType, TensorType

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Along, Network, Tensor

_Contribution: TypeAlias = "tuple[list[Tensor], Callable[[Sequence[Tensor]], tuple[Tensor, Tensor | None]]]"
"""The sequence of each direction, and what an iteration makes of their elements: what the input contributes
to the gates of all directions, and a bias that is not in it."""


class _Recurrent(Module, abstract=True):
    """A recurrent network: torch.nn.RNNBase."""

    inferred = ("input_size",)
    ignored = ("dropout",)
    tolerance = 1e-4

    gates: ClassVar[int]
    """how many rows a weight has for each hidden unit"""
    gated_apart: ClassVar[bool] = False
    """whether the bias of the hidden gates stays beside their product"""

    if TYPE_CHECKING:
        hidden_size: int
        num_layers: int
        bias: bool
        batch_first: bool
        bidirectional: bool

    def cell(
        self,
        net: Network,
        of_input: Tensor,
        of_hidden: Tensor,
        bias: Tensor | None,
        states: Sequence[Tensor],
    ) -> Sequence[Tensor]:
        """The next states, from what the input, the hidden state and a bias contribute to the gates."""
        raise TypeError(f"{self.name} states no cell")

    # Types

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def width(self) -> int:
        """Of a direction's output."""
        return self.hidden_size

    @property
    def state_widths(self) -> tuple[int, ...]:
        """Of what is carried."""
        return (self.width,)

    @property
    def slots(self) -> tuple[str, ...]:
        return tuple(slot for names in self._slots() for slot in names.values())

    def _slots(self) -> list[dict[str, str]]:
        """For each layer and direction its weights' names, by what they are."""
        kinds = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if self.bias else [])]
        kinds += ["weight_hr"] if self.width != self.hidden_size else []
        ends = [f"l{layer}{end}" for layer in range(self.num_layers) for end in self._suffixes]
        return [{kind: f"{kind}_{end}" for kind in kinds} for end in ends]

    @property
    def _suffixes(self) -> tuple[str, ...]:
        return ("", "_reverse")[: self.directions]

    def _input_size(self, input: TensorType) -> int:
        return static(input.shape[-1], f"the number of features, which {self.name} maps,", "input")

    def weights(self, input: TensorType, *states: TensorType, **_: TensorType) -> dict[str, TensorType]:
        rows, size = self.gates * self.hidden_size, self._input_size(input)
        found: dict[str, TensorType] = {}
        for index, slots in enumerate(self._slots()):
            columns = size if index < self.directions else self.width * self.directions
            shapes: dict[str, tuple[int, ...]] = {
                "weight_ih": (rows, columns),
                "weight_hh": (rows, self.width),
                "bias_ih": (rows,),
                "bias_hh": (rows,),
                "weight_hr": (self.width, self.hidden_size),
            }
            found |= {slot: input.with_shape(shapes[kind]) for kind, slot in slots.items()}
        return found

    def _infer(self, input: TensorType, states: Mapping[str, TensorType | None]) -> tuple[TensorType, ...]:
        require_floating(input, self.name, "input")
        require_rank(input, (2, 3), self.name, "input")
        for name in ("hidden_size", "num_layers"):
            if getattr(self, name) < 1:
                raise Refused(f"`{name}` must be at least 1, not {getattr(self, name)}", name)
        self._input_size(input)
        require_elements(input, [self._time(input.rank)], f"{self.name} along time")
        between = (input.shape[1 - self._time(3)],) if input.rank == 3 else ()
        rows = self.num_layers * self.directions
        wanted = [input.with_shape((rows, *between, width)) for width in self.state_widths]
        for (name, given), type in zip(states.items(), wanted, strict=True):
            require_state(given, type, name, self.name)
        output = input.with_shape((*input.shape[:-1], self.width * self.directions))
        return (output, *wanted)

    def iterations(self, input: TensorType, *_: Any, **named: Any) -> Dim:
        return input.shape[self._time(input.rank)]

    def _time(self, rank: int) -> int:
        """The dimension of the sequence."""
        return 1 if self.batch_first and rank == 3 else 0

    # Layers

    def _lower(
        self,
        net: Network,
        input: Tensor,
        states: Sequence[Tensor | None],
        weights: Mapping[str, Tensor],
    ) -> tuple[Tensor, ...]:
        x = input if input.rank == 3 else net.reshape(input, (input.shape[0], 1, input.shape[1]))
        # Along the first dimension an element is read, and a result written, in one piece.
        turned = (1, 0, 2) if self._time(input.rank) else (0, 1, 2)
        x = net.transpose(x, turned)
        last: list[tuple[Tensor, ...]] = []
        for layer in range(self.num_layers):
            pairs = zip(states, self.state_widths, strict=True)
            initial = [
                self._initial(net, state, (x.shape[1], width), layer, x.dtype) for state, width in pairs
            ]
            x, after = self._layer(net, x, initial, self._of_layer(net, weights, layer))
            last.append(after)
        x = net.transpose(x, turned)
        kept = [parts[0] if len(parts) == 1 else net.concat(parts, 0) for parts in zip(*last, strict=True)]
        return tuple(net.reshape(t, type.shape) for t, type in zip((x, *kept), net.results, strict=True))

    def _of_layer(self, net: Network, weights: Mapping[str, Tensor], layer: int) -> dict[str, Tensor]:
        """A layer's weights by what they are, all directions together."""
        slots = self._slots()[layer * self.directions : (layer + 1) * self.directions]
        return {kind: joined(net, [weights[each[kind]] for each in slots]) for kind in slots[0]}

    def _initial(
        self, net: Network, state: Tensor | None, shape: tuple[Dim, int], layer: int, dtype: DType
    ) -> Tensor:
        """What a layer's directions begin with: a matrix of this shape for each."""
        if state is None:
            return net.expand(net.filled((1, 1, 1), 0.0, dtype), (self.directions, *shape))
        rows = net.reshape(state, (self.num_layers * self.directions, *shape))
        return net.slice(rows, (layer * self.directions, 0, 0), (self.directions, *shape))

    def _layer(
        self, net: Network, x: Tensor, initial: Sequence[Tensor], weights: Mapping[str, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The outputs of a layer of the sequence ``[S, N, E]``, and what its directions carry in the end."""
        from trtdsl.ops.lowering import Along

        sequences, contribute = (self._within if net.habits.hoists_products else self._ahead)(net, x, weights)
        rows, beside = self.gates * self.hidden_size, weights.get("bias_hh")
        hidden = net.reshape(weights["weight_hh"], (self.directions, rows, self.width))
        inside = None
        if beside is not None and self.gated_apart:
            inside = net.reshape(beside, (self.directions, 1, rows))

        def step(elements: Sequence[Tensor], states: Sequence[Tensor]) -> tuple[list[Along], list[Tensor]]:
            of_input, bias = contribute(elements)
            after = self.cell(net, of_input, affine(net, states[0], hidden, inside), bias, states)
            after = [self._projected(net, after[0], weights), *after[1:]]
            return self._emitted(net, after[0]), after

        along = [Along(each, 0, reverse=index == 1) for index, each in enumerate(sequences)]
        outputs, last = net.scan(step, along, initial)
        flat = [net.reshape(each, (each.shape[0], *each.shape[2:])) for each in outputs]
        return (flat[0] if len(flat) == 1 else net.concat(flat, 2)), last

    def _ahead(self, net: Network, x: Tensor, weights: Mapping[str, Tensor]) -> _Contribution:
        """One product over the whole sequence, of which an iteration takes its element."""
        of_input = affine(net, x, weights["weight_ih"], *self._biases(weights))
        directions = parts(net, of_input, self.directions) if self.bidirectional else [of_input]
        # A reshape of an element, within the loop, costs a kernel an iteration.
        rows = [net.reshape(each, (each.shape[0], 1, *each.shape[1:])) for each in directions]
        return rows, lambda elements: (stacked(net, elements), None)

    def _within(self, net: Network, x: Tensor, weights: Mapping[str, Tensor]) -> _Contribution:
        """A product of each iteration, its bias apart: what TensorRT 8's ONNX parser makes.

        The bias stands after the sum with the other product, for else it costs a kernel an iteration.
        """
        rows, biases = self.gates * self.hidden_size, [b for b in self._biases(weights) if b is not None]
        weight = net.reshape(weights["weight_ih"], (self.directions, rows, x.shape[-1]))
        bias = net.reshape(total(net, *biases), (self.directions, 1, rows)) if biases else None

        def contribute(elements: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
            now = stacked(net, [net.reshape(each, (1, *each.shape)) for each in elements])
            return net.matmul(now, weight, transpose_b=True), bias

        return [x] * self.directions, contribute

    def _biases(self, weights: Mapping[str, Tensor]) -> tuple[Tensor | None, Tensor | None]:
        """Those that stand beside the product of the input."""
        return weights.get("bias_ih"), None if self.gated_apart else weights.get("bias_hh")

    def _projected(self, net: Network, h: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        if "weight_hr" not in weights:
            return h
        shape = (self.directions, self.width, self.hidden_size)
        return net.matmul(h, net.reshape(weights["weight_hr"], shape), transpose_b=True)

    def _emitted(self, net: Network, h: Tensor) -> list[Along]:
        """The hidden state of each direction, as a row of its output."""
        from trtdsl.ops.lowering import Along

        if self.directions == 1:
            return [Along(h, 0)]
        shape = (1, *h.shape[1:])
        return [Along(net.slice(h, (index, 0, 0), shape), 0, reverse=index == 1) for index in range(2)]

    def _by_torch(
        self, torch: Any, input: Any, states: Sequence[Any], weights: Mapping[str, Any]
    ) -> tuple[Any, ...]:
        fields = {name: getattr(self, name) for name in self.parameters}
        module = getattr(torch.nn, self.name)(input.shape[-1], **fields, device="meta")
        given = [state for state in states if state is not None]
        hx = tuple(given) if len(given) > 1 else given[0] if given else None
        output, last = torch.func.functional_call(module.eval(), dict(weights), (input, hx))
        return (output, *(last if isinstance(last, tuple) else (last,)))


class LSTM(_Recurrent):
    """Long short-term memory: output, then the last hidden and cell state of every layer and direction."""

    torch = "torch.nn.LSTM"
    gates = 4
    tuple_operands = ("h_0", "c_0")
    tuple_of_last = 2
    examples = (
        "LSTM(6)(float32[S, N, 4]) -> float32[S, N, 6], float32[1, N, 6], float32[1, N, 6]",
        "LSTM(6, batch_first = true, bidirectional = true)(float32[N, S, 4])"
        " -> float32[N, S, 12], float32[2, N, 6], float32[2, N, 6]",
        "LSTM(3, num_layers = 2, bias = false, bidirectional = true)"
        "(float32[S, N, 4], float32[4, N, 3], float32[4, N, 3])"
        " -> float32[S, N, 6], float32[4, N, 3], float32[4, N, 3]",
        "LSTM(6, num_layers = 2)(float32[S, 4], float32[2, 6], float32[2, 6])"
        " -> float32[S, 6], float32[2, 6], float32[2, 6]",
        "LSTM(6, batch_first = true)(float16[N, S, 4])"
        " -> float16[N, S, 6], float16[1, N, 6], float16[1, N, 6]",
        "LSTM(6, num_layers = 2, bidirectional = true, proj_size = 2)(float32[S, N, 4])"
        " -> float32[S, N, 4], float32[4, N, 2], float32[4, N, 6]",
    )

    hidden_size: int
    num_layers: int = 1
    bias: bool = True
    batch_first: bool = False
    bidirectional: bool = False
    proj_size: int = 0

    @property
    def width(self) -> int:
        return self.proj_size or self.hidden_size

    @property
    def state_widths(self) -> tuple[int, ...]:
        return (self.width, self.hidden_size)

    def infer(
        self, input: TensorType, h_0: TensorType | None = None, c_0: TensorType | None = None
    ) -> tuple[TensorType, ...]:
        require_both(h_0, c_0, self.name)
        if self.proj_size and not 0 < self.proj_size < self.hidden_size:
            text = f"`proj_size` must be smaller than `hidden_size`, {self.hidden_size}"
            raise Refused(f"{text}, not {self.proj_size}", "proj_size")
        return self._infer(input, {"h_0": h_0, "c_0": c_0})

    def cell(
        self,
        net: Network,
        of_input: Tensor,
        of_hidden: Tensor,
        bias: Tensor | None,
        states: Sequence[Tensor],
    ) -> Sequence[Tensor]:
        return lstm_step(net, total(net, of_input, of_hidden, bias), states[1])

    def lower(
        self,
        net: Network,
        input: Tensor,
        h_0: Tensor | None = None,
        c_0: Tensor | None = None,
        **weights: Tensor,
    ) -> tuple[Tensor, ...]:
        return self._lower(net, input, (h_0, c_0), weights)

    def reference(self, torch: Any, input: Any, h_0: Any = None, c_0: Any = None, **weights: Any) -> Any:
        return self._by_torch(torch, input, (h_0, c_0), weights)


class GRU(_Recurrent):
    """Gated recurrent units: output, then the last hidden state of every layer and direction."""

    torch = "torch.nn.GRU"
    gates = 3
    gated_apart = True
    examples = (
        "GRU(6)(float32[S, N, 4]) -> float32[S, N, 6], float32[1, N, 6]",
        "GRU(6, num_layers = 2, batch_first = true, bidirectional = true)(float32[N, S, 4], float32[4, N, 6])"
        " -> float32[N, S, 12], float32[4, N, 6]",
        "GRU(5, bias = false)(float32[S, 4]) -> float32[S, 5], float32[1, 5]",
        "GRU(6)(float16[S, N, 4]) -> float16[S, N, 6], float16[1, N, 6]",
    )

    hidden_size: int
    num_layers: int = 1
    bias: bool = True
    batch_first: bool = False
    bidirectional: bool = False

    def infer(self, input: TensorType, hx: TensorType | None = None) -> tuple[TensorType, ...]:
        return self._infer(input, {"hx": hx})

    def cell(
        self,
        net: Network,
        of_input: Tensor,
        of_hidden: Tensor,
        bias: Tensor | None,
        states: Sequence[Tensor],
    ) -> Sequence[Tensor]:
        return (gru_step(net, total(net, of_input, bias), of_hidden, states[0]),)

    def lower(
        self, net: Network, input: Tensor, hx: Tensor | None = None, **weights: Tensor
    ) -> tuple[Tensor, ...]:
        return self._lower(net, input, (hx,), weights)

    def reference(self, torch: Any, input: Any, hx: Any = None, **weights: Any) -> Any:
        return self._by_torch(torch, input, (hx,), weights)


class RNN(_Recurrent):
    """``h = tanh(x @ W_ih.T + b_ih + h @ W_hh.T + b_hh)``, or relu: output, then the last hidden states."""

    torch = "torch.nn.RNN"
    gates = 1
    examples = (
        "RNN(6)(float32[S, N, 4]) -> float32[S, N, 6], float32[1, N, 6]",
        'RNN(6, num_layers = 2, nonlinearity = "relu", bidirectional = true)'
        "(float32[S, N, 4], float32[4, N, 6])"
        " -> float32[S, N, 12], float32[4, N, 6]",
        "RNN(5, batch_first = true, bias = false)(float32[N, S, 4]) -> float32[N, S, 5], float32[1, N, 5]",
    )

    hidden_size: int
    num_layers: int = 1
    nonlinearity: Literal["tanh", "relu"] = "tanh"
    bias: bool = True
    batch_first: bool = False
    bidirectional: bool = False

    def infer(self, input: TensorType, hx: TensorType | None = None) -> tuple[TensorType, ...]:
        return self._infer(input, {"hx": hx})

    def cell(
        self,
        net: Network,
        of_input: Tensor,
        of_hidden: Tensor,
        bias: Tensor | None,
        states: Sequence[Tensor],
    ) -> Sequence[Tensor]:
        gates = total(net, of_input, of_hidden, bias)
        return (net.activation(NONLINEARITIES[self.nonlinearity], gates),)

    def lower(
        self, net: Network, input: Tensor, hx: Tensor | None = None, **weights: Tensor
    ) -> tuple[Tensor, ...]:
        return self._lower(net, input, (hx,), weights)

    def reference(self, torch: Any, input: Any, hx: Any = None, **weights: Any) -> Any:
        return self._by_torch(torch, input, (hx,), weights)
