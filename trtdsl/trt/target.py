"""What a graph is lowered into: a network that is told where each layer comes from.

In: a graph's inputs, weights, nodes and outputs, in order, from :func:`trtdsl.trt.lower.lower_into`.  Out:
whatever the class makes of them.  The checked TensorRT network is one; an exporter is another, and needs
nothing but a class: the layers that operators ask for (:class:`~trtdsl.ops.lowering.Network`), and the calls
declared here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence

from trtdsl.diagnostics import Diagnostic, DiagnosticError
from trtdsl.ir import Node
from trtdsl.ops.lowering import Array, Network, T, Tensor
from trtdsl.types import TensorType


class CompilerBug(Exception):
    """trtdsl contradicts itself or TensorRT: the model is not at fault.

    ``diagnostic`` says where, and what to report.
    """

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(str(diagnostic))
        self.diagnostic = diagnostic


class NetworkTarget(Network):
    """A network under construction.

    ``node`` is the node whose layers are being added, None for inputs and outputs; ``inputs`` are those so
    far, by name; ``wide`` are the nodes that must be computed in float32 where others need not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.node: Node | None = None
        self.inputs: dict[str, Tensor] = {}
        self.wide: Collection[Node] = ()
        self._around: list[Node | None] = []

    @abstractmethod
    def reserve(self, names: Iterable[str]) -> None:
        """Keep these names for the tensors that :meth:`name_result` and :meth:`mark_output` give them to.

        Called once, before anything else.
        """

    @abstractmethod
    def add_input(self, name: str, type: TensorType) -> Tensor:
        """A network input. Dynamic dimensions are named by their expression: equal names are equal sizes."""

    @abstractmethod
    def weight(self, key: str, array: Array) -> Tensor:
        """A weight of the checkpoint; what it becomes is decided where a layer takes it."""

    @abstractmethod
    def name_result(self, tensor: Tensor, name: str) -> None:
        """Call a node's result what the graph calls it, unless it was an earlier node's already."""

    @abstractmethod
    def mark_output(self, tensor: Tensor, name: str) -> None:
        """Make a tensor an output of that name."""

    # The node being lowered

    def begin(self, node: Node) -> None:
        """Layers added from now on belong to this node, until its :meth:`end`; a body's nodes in between."""
        self._around.append(self.node)
        self.node = node

    def end(self) -> None:
        """The node is lowered, and its results are named: return to the node around."""
        self.node = self._around.pop()

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """As in every network, but a node that is wide reads nothing of one that is not."""
        return super().once((self.node in self.wide, key), make)

    @property
    def promised(self) -> tuple[TensorType, ...]:
        return tuple(value.type for value in self.node.results) if self.node else ()

    def check_results(self, tensors: Sequence[Tensor]) -> None:
        """Compare what an operator's ``lower`` returned with what its ``infer`` promised."""
        found, promised = tuple(tensor.type for tensor in tensors), self.results
        if found != promised:
            texts = (", ".join(map(str, types)) for types in (found, promised))
            raise self.bug("the operator lowers to {} where its type rule says {}".format(*texts))

    def refused(self, message: str, *help: str) -> DiagnosticError:
        """What the node being lowered cannot become here."""
        return DiagnosticError(self.diagnostic(message, help))

    def bug(self, message: str, *help: str) -> CompilerBug:
        """A contradiction at the node being lowered."""
        advice = "this is a bug in trtdsl, not in your model: please report it with the model's text"
        return CompilerBug(self.diagnostic(message, (advice, *help)))

    def diagnostic(self, message: str, help: tuple[str, ...] = ()) -> Diagnostic:
        """The message at the place of the node being lowered."""
        return Diagnostic.at(message, self.node.origins if self.node else (), help)
