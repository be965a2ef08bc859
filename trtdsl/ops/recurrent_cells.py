"""The cells of recurrent networks: one step, as torch.nn.LSTMCell and its kin take it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from trtdsl.ops.base import Module, static
from trtdsl.ops.recurrent_steps import (
    NONLINEARITIES,
    added,
    affine,
    gru_step,
    lstm_step,
    require_both,
    require_state,
)
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import require_floating, require_rank
from trtdsl.types import Dim, TensorType

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Network, Tensor


def _shapes_of_gates(rows: str) -> dict[str, str]:
    """What the weights' dimensions are, for so many rows in all gates."""
    return {
        "weight_ih": f"[{rows}, input_size]",
        "weight_hh": f"[{rows}, hidden_size]",
        "bias_ih": f"[{rows}]",
        "bias_hh": f"[{rows}]",
    }


class _Cell(Module, abstract=True):
    """One step of a recurrent network of one layer: torch.nn.RNNCellBase."""

    inferred = ("input_size",)

    gates: ClassVar[int]

    if TYPE_CHECKING:
        hidden_size: int
        bias: bool

    def torch_arguments(
        self, input: TensorType, *states: TensorType, **_: TensorType
    ) -> Mapping[str, object]:
        return {"input_size": self._input_size(input)}

    def _input_size(self, input: TensorType) -> int:
        return static(input.shape[-1], f"the number of features, which {self.name} maps,", "input")

    def weights(self, input: TensorType, *states: TensorType, **_: TensorType) -> dict[str, TensorType]:
        rows = self.gates * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, self._input_size(input))}
        shapes |= {"weight_hh": (rows, self.hidden_size)}
        shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)} if self.bias else {}
        return {slot: input.with_shape(shape) for slot, shape in shapes.items()}

    def _infer(self, input: TensorType, states: Mapping[str, TensorType | None]) -> TensorType:
        require_floating(input, self.name, "input")
        require_rank(input, (1, 2), self.name, "input")
        if self.hidden_size < 1:
            raise Refused(f"`hidden_size` must be at least 1, not {self.hidden_size}", "hidden_size")
        self._input_size(input)
        result = input.with_shape((*input.shape[:-1], self.hidden_size))
        for name, given in states.items():
            require_state(given, result, name, self.name)
        return result

    def _begin(self, net: Network, input: Tensor, *states: Tensor | None) -> tuple[Tensor, ...]:
        """Input and states as matrices, states that are not given as zeros."""
        x = net.to_rank(input, 2)
        zeros = net.filled((1, 1), 0.0, x.dtype)
        shape: tuple[Dim, ...] = (x.shape[0], self.hidden_size)
        return (x, *(net.expand(zeros, shape) if s is None else net.to_rank(s, 2) for s in states))

    def _by_torch(self, torch: Any, input: Any, states: Sequence[Any], weights: Mapping[str, Any]) -> Any:
        fields = {name: getattr(self, name) for name in self.parameters}
        module = getattr(torch.nn, self.name)(input.shape[-1], **fields, device="meta")
        given = [state for state in states if state is not None]
        hx = tuple(given) if len(given) > 1 else given[0] if given else None
        return torch.func.functional_call(module.eval(), dict(weights), (input, hx))


class LSTMCell(_Cell):
    """One step of an LSTM: the next hidden and cell state."""

    torch = "torch.nn.LSTMCell"
    weight_shapes = _shapes_of_gates("4 * hidden_size")
    gates = 4
    tuple_operands = ("h_0", "c_0")
    examples = (
        "LSTMCell(6)(float32[N, 4], float32[N, 6], float32[N, 6]) -> float32[N, 6], float32[N, 6]",
        "LSTMCell(6, bias = false)(float32[4]) -> float32[6], float32[6]",
        "LSTMCell(6)(float16[N, 4]) -> float16[N, 6], float16[N, 6]",
    )

    hidden_size: int
    bias: bool = True

    def infer(
        self, input: TensorType, h_0: TensorType | None = None, c_0: TensorType | None = None
    ) -> tuple[TensorType, ...]:
        require_both(h_0, c_0, self.name)
        return (self._infer(input, {"h_0": h_0, "c_0": c_0}),) * 2

    def lower(
        self,
        net: Network,
        input: Tensor,
        h_0: Tensor | None = None,
        c_0: Tensor | None = None,
        *,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor | None = None,
        bias_hh: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        x, h, c = self._begin(net, input, h_0, c_0)
        gates = added(net, affine(net, x, weight_ih, bias_ih, bias_hh), affine(net, h, weight_hh))
        h, c = lstm_step(net, gates, c)
        return tuple(net.reshape(t, type.shape) for t, type in zip((h, c), net.results, strict=True))

    def reference(self, torch: Any, input: Any, h_0: Any = None, c_0: Any = None, **weights: Any) -> Any:
        return self._by_torch(torch, input, (h_0, c_0), weights)


class _OneState(_Cell, abstract=True):
    """A cell that carries its hidden state only."""

    gated_apart: ClassVar[bool] = False
    """whether the bias of the hidden gates stays beside their product"""

    def step(self, net: Network, of_input: Tensor, of_hidden: Tensor, h: Tensor) -> Tensor:
        """The next hidden state, from what input and hidden state contribute to the gates."""
        raise TypeError(f"{self.name} states no step")

    def infer(self, input: TensorType, hx: TensorType | None = None) -> TensorType:
        return self._infer(input, {"hx": hx})

    def lower(
        self,
        net: Network,
        input: Tensor,
        hx: Tensor | None = None,
        *,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor | None = None,
        bias_hh: Tensor | None = None,
    ) -> Tensor:
        x, h = self._begin(net, input, hx)
        apart, together = ((bias_hh,), ()) if self.gated_apart else ((), (bias_hh,))
        gates = affine(net, x, weight_ih, bias_ih, *together), affine(net, h, weight_hh, *apart)
        return net.reshape(self.step(net, *gates, h), net.result.shape)

    def reference(self, torch: Any, input: Any, hx: Any = None, **weights: Any) -> Any:
        return self._by_torch(torch, input, (hx,), weights)


class GRUCell(_OneState):
    """One step of a GRU: the next hidden state."""

    torch = "torch.nn.GRUCell"
    weight_shapes = _shapes_of_gates("3 * hidden_size")
    gates = 3
    gated_apart = True
    examples = (
        "GRUCell(6)(float32[N, 4], float32[N, 6]) -> float32[N, 6]",
        "GRUCell(6)(float32[4]) -> float32[6]",
        "GRUCell(6, bias = false)(float16[N, 4]) -> float16[N, 6]",
    )

    hidden_size: int
    bias: bool = True

    def step(self, net: Network, of_input: Tensor, of_hidden: Tensor, h: Tensor) -> Tensor:
        return gru_step(net, of_input, of_hidden, h)


class RNNCell(_OneState):
    """``tanh(x @ W_ih.T + b_ih + h @ W_hh.T + b_hh)``, or relu: the next hidden state."""

    torch = "torch.nn.RNNCell"
    weight_shapes = _shapes_of_gates("hidden_size")
    gates = 1
    examples = (
        "RNNCell(6)(float32[N, 4], float32[N, 6]) -> float32[N, 6]",
        'RNNCell(6, bias = false, nonlinearity = "relu")(float32[4], float32[6]) -> float32[6]',
    )

    hidden_size: int
    bias: bool = True
    nonlinearity: Literal["tanh", "relu"] = "tanh"

    def step(self, net: Network, of_input: Tensor, of_hidden: Tensor, h: Tensor) -> Tensor:
        return net.activation(NONLINEARITIES[self.nonlinearity], added(net, of_input, of_hidden))
