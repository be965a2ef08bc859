"""What an operator is: one class says its parameters, types, weights and TensorRT layers.

In: a class statement.  Out: an operator that the language, the checker, the documentation and
the generic tests know, because all of them read :data:`OPERATORS`::

    class Softsign(Function):
        '''``x / (1 + |x|)``, element by element.'''
        torch = "torch.nn.functional.softsign"
        examples = ("softsign(float32[N, 8]) -> float32[N, 8]",)

        def infer(self, input: TensorType) -> TensorType: ...
        def lower(self, net: Network, input: Tensor) -> Tensor: ...

The dataclass fields are the parameters; the arguments of ``infer`` are the tensor operands, by
name; a :class:`Module` also takes weights, which ``weights`` names and types.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from trtdsl.types import Dim, SymbolicDim, TensorType, evaluate

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform

    from trtdsl.ops.lowering import Network, Tensor
else:

    def dataclass_transform(**_: object) -> Callable[[type], type]:
        return lambda cls: cls


Types = TensorType | tuple[TensorType, ...]
"""What ``infer`` returns: one result's type, or several."""


class Refused(Exception):
    """An operator cannot do what it is asked.

    ``about`` names the parameter or operand at fault, so that the caret stands under it.
    """

    def __init__(self, message: str, about: str | None = None, help: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.about = about
        self.help = help


@dataclass(frozen=True)
class Operand:
    """A tensor argument of an operator: ``input``, or a list such as ``tensors`` of ``cat``."""

    name: str
    optional: bool
    variadic: bool


@dataclass(frozen=True)
class Spelling:
    """A further PyTorch name of an operator, such as ``torch.nn.MaxPool2d`` of ``max_pool2d``.

    A capitalised name is called as a module, ``Name(parameters)(tensors)``; a lower-case one as a
    function. ``parameters`` gives the order, ``defaults`` those which differ from the operator's,
    ``fixed`` what the name itself decides (``ReLU6`` is ``hardtanh`` from 0 to 6).
    """

    torch: str
    parameters: tuple[str, ...] = ()
    defaults: Mapping[str, object] = dataclasses.field(default_factory=dict[str, object])
    fixed: Mapping[str, object] = dataclasses.field(default_factory=dict[str, object])

    @cached_property
    def name(self) -> str:
        return self.torch.rpartition(".")[2]


OPERATORS: dict[str, type[Op]] = {}
"""Every operator by the name the language calls it."""

SPELLINGS: dict[str, tuple[type[Op], Spelling]] = {}
"""Every further name, with its operator."""


@dataclass_transform(frozen_default=True)
class Op:
    """An operator with its parameters. Equal parameters make equal operators."""

    torch: ClassVar[str] = ""
    """the PyTorch object with the same meaning, by its import path"""
    examples: ClassVar[tuple[str, ...]] = ()
    """``name(parameters)(operand types) -> result types``, run by the generic tests"""
    spellings: ClassVar[tuple[Spelling, ...]] = ()
    ignored: ClassVar[tuple[str, ...]] = ()
    """PyTorch parameters that are accepted and mean nothing in inference, such as ``inplace``"""
    variadic: ClassVar[str | None] = None
    """the tuple parameter that may be written without parentheses: ``reshape(x, 2, 3)``"""
    order: ClassVar[tuple[str, ...]] = ()
    """positional order of operands and parameters where it is not operands first"""
    tolerance: ClassVar[float] = 1e-5
    """relative L2 error allowed between the lowered layers and PyTorch in float32"""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]
    name: ClassVar[str]
    operands: ClassVar[tuple[Operand, ...]]
    parameters: ClassVar[tuple[str, ...]]

    def __init_subclass__(cls, abstract: bool = False) -> None:
        # A class without fields of its own inherits all that `dataclass` would write for it, which
        # for most of the two hundred operators saves half of the package's import time.
        if inspect.get_annotations(cls) or not hasattr(cls, "__dataclass_fields__"):
            dataclass(frozen=True)(cls)
        cls.parameters = tuple(field.name for field in dataclasses.fields(cls))
        if not abstract:
            _register(cls)

    def infer(self, *operands: Any, **named: Any) -> Types:
        """The results' types from the operands'; raises :class:`Refused`."""
        raise TypeError(f"{type(self).__name__} states no type rule")

    def lower(self, net: Network, *operands: Any, **named: Any) -> Tensor | tuple[Tensor, ...]:
        """Emit TensorRT layers; gets the operands (and weights) as tensors, by name."""
        raise TypeError(f"{type(self).__name__} states no lowering")

    def weights(self, *operands: Any, **named: Any) -> Mapping[str, TensorType]:
        """The state-dict name below the label, and type, of each weight."""
        return {}

    def is_identity(self, *operands: Any, **named: Any) -> bool:
        """Whether the result is the operand itself, for operands of these types."""
        return False

    def fold(self, *operands: Any, **named: Any) -> Any:
        """The results as numpy arrays, from the operands' and weights'; None where that is not stated."""
        return None

    def caution(self, *operands: Any, **named: Any) -> str | None:
        """A warning for a use that is valid but seldom meant, or None."""
        return None

    def at(self, values: Mapping[str, int]) -> Op:
        """The same operator with every symbolic dimension in its parameters evaluated."""
        changed = {
            name: _evaluated(value, values)
            for name in self.parameters
            if _is_symbolic(value := getattr(self, name))
        }
        return dataclasses.replace(self, **changed) if changed else self


class Function(Op, abstract=True):
    """An operator without weights, called as ``name(operands, parameters)``."""


class Module(Op, abstract=True):
    """A ``torch.nn`` module, placed with a label: ``label: Name(parameters)(operands)``."""

    inferred: ClassVar[tuple[str, ...]] = ()
    """constructor parameters of the PyTorch module that follow from the operands, left out here"""

    def torch_arguments(self, *operands: Any, **named: Any) -> Mapping[str, object]:
        """The values of :attr:`inferred`, from the operands' types."""
        return {}


def _register(cls: type[Op]) -> None:
    cls.name = cls.torch.rpartition(".")[2]
    cls.operands = _operands_of(cls)
    problem = _incomplete(cls)
    if problem:
        raise TypeError(f"operator {cls.__name__} {problem}")
    OPERATORS[cls.name] = cls
    for spelling in cls.spellings:
        if spelling.name in OPERATORS or spelling.name in SPELLINGS:
            raise TypeError(f"operator {cls.__name__}: `{spelling.name}` is taken")
        SPELLINGS[spelling.name] = (cls, spelling)


def _incomplete(cls: type[Op]) -> str | None:
    """Why the class cannot serve as an operator, or None."""
    if not cls.torch:
        return "names no torch object"
    if cls.name in OPERATORS or cls.name in SPELLINGS:
        return f"takes the name `{cls.name}`, which another has"
    if not cls.examples:
        return "has no examples"
    if not (cls.__doc__ or "").strip() or (cls.__doc__ or "").startswith(f"{cls.__name__}("):
        return "has no docstring"
    if cls.infer is Op.infer or cls.lower is Op.lower:
        return "states no `infer` or no `lower`"
    if issubclass(cls, Module) and cls.weights is Op.weights:
        return "is a Module without `weights`"
    return None


def _operands_of(cls: type[Op]) -> tuple[Operand, ...]:
    """The operands as the signature of ``infer`` tells them."""
    parameters = list(inspect.signature(cls.infer).parameters.values())[1:]
    return tuple(
        Operand(
            parameter.name,
            optional=parameter.default is not inspect.Parameter.empty,
            variadic="Sequence" in str(parameter.annotation),
        )
        for parameter in parameters
    )


def _is_symbolic(value: object) -> bool:
    if isinstance(value, tuple):
        return any(_is_symbolic(item) for item in value)  # pyright: ignore[reportUnknownVariableType]
    return isinstance(value, SymbolicDim)


def _evaluated(value: Any, values: Mapping[str, int]) -> Any:
    if isinstance(value, tuple):
        return tuple(_evaluated(item, values) for item in value)
    return evaluate(value, values) if isinstance(value, SymbolicDim) else value


def static(dim: Dim, what: str, about: str | None = None) -> int:
    """A dimension that must be known at compile time; refused with ``what`` it is otherwise."""
    if isinstance(dim, SymbolicDim):
        raise Refused(f"{what} must be known at compile time, but it is the dynamic `{dim}`", about)
    return dim


def pair(value: int | Sequence[int], count: int = 2) -> tuple[int, ...]:
    """An integer repeated per spatial dimension, or the given sequence."""
    return (value,) * count if isinstance(value, int) else tuple(value)
