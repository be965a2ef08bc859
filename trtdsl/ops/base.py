"""What an operator is: one class says its parameters, types, weights and TensorRT layers.

In: a class statement.  Out: an operator that the language, the checker, the documentation and
the generic tests know, because all of them read :data:`OPERATORS`::

    class Softsign(Function):
        '''``x / (1 + |x|)``, element by element.'''
        torch = "torch.nn.functional.softsign"
        examples = ("softsign(float32[N, 8]) -> float32[N, 8]",)

        def infer(self, input: TensorType) -> TensorType: ...
        def lower(self, net: Network, input: Tensor) -> Tensor: ...

The class's fields are the parameters; the arguments of ``infer`` are the tensor operands, by
name; a :class:`Module` also takes weights, which ``weights`` names and types.  An operator that
PyTorch does not have states its ``name`` and its ``reference`` itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import msgspec
import msgspec.structs

from trtdsl.ops.positions import Positions
from trtdsl.ops.refused import Refused
from trtdsl.types import Dim, SymbolicDim, TensorType, symbols, with_sizes

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform

    from trtdsl.ops.lowering import Network, Tensor
else:

    def dataclass_transform(**_: object) -> Callable[[type], type]:
        return lambda cls: cls


Types = TensorType | tuple[TensorType, ...]
"""What ``infer`` returns: one result's type, or several."""


class Operand(msgspec.Struct, frozen=True):
    """A tensor argument of an operator: ``input``, or a list such as ``tensors`` of ``cat``."""

    name: str
    optional: bool
    variadic: bool


class Signature(msgspec.Struct, frozen=True):
    """What a body is, seen from the operator that runs it: the types it takes and those it gives."""

    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]


Configure = Callable[[Mapping[str, TensorType], Mapping[str, Any]], "Op"]
"""Makes the operator of a function that takes a module's weights, from the types of all tensors given
and the parameters given, each by name; raises :class:`~trtdsl.ops.refused.Refused`."""


class Spelling(msgspec.Struct, frozen=True, dict=True):
    """A further PyTorch name of an operator, such as ``torch.nn.MaxPool2d`` of ``max_pool2d``.

    A capitalised name is called as a module, ``Name(parameters)(tensors)``; a lower-case one as a
    function. ``parameters`` gives the order, ``defaults`` those which differ from the operator's,
    ``fixed`` what the name itself decides (``ReLU6`` is ``hardtanh`` from 0 to 6).

    ``torch.nn.functional.linear`` is the module ``Linear`` with all weights given: such a function's
    ``parameters`` name the tensors too, and ``configure`` finds the module's own parameters from their
    types. ``extra`` are parameters that only the function has, with their annotations, ``TensorType`` for a
    tensor that ``configure`` looks at; ``defaults`` those of tensors and extra parameters too. ``neutral``
    are the numbers that change nothing in the place of a weight that is left out beside another.
    ``examples`` are the function's own, weights among the operands.
    """

    torch: str
    parameters: tuple[str, ...] = ()
    defaults: Mapping[str, object] = msgspec.field(default_factory=dict[str, object])
    fixed: Mapping[str, object] = msgspec.field(default_factory=dict[str, object])
    configure: Configure | None = None
    extra: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])
    neutral: Mapping[str, float] = msgspec.field(default_factory=dict[str, float])
    examples: tuple[str, ...] = ()

    @cached_property
    def name(self) -> str:
        return self.torch.rpartition(".")[2]


class Unusable(NamedTuple):
    """An element of an array that an operator cannot use: where it is, and what it is, ``is 0``."""

    place: tuple[int, ...]
    problem: str


OPERATORS: dict[str, type[Op]] = {}
"""Every operator by the name the language calls it."""

SPELLINGS: dict[str, tuple[type[Op], Spelling]] = {}
"""Every further name, with its operator."""


@dataclass_transform(frozen_default=True)
class OpMeta(msgspec.StructMeta):
    """Makes a struct of a class statement, and an operator of the language unless it is abstract.

    Not a dataclass: there are some hundred and fifty operators, and each dataclass is written out and
    compiled when it is declared, which took a quarter of a command's start.
    """

    def __new__(
        mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], abstract: bool = False
    ) -> Any:
        return super().__new__(mcls, name, bases, namespace, frozen=True)

    def __init__(
        cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], abstract: bool = False
    ) -> None:
        super().__init__(name, bases, namespace)
        made: Any = cls
        made.parameters = made.__struct_fields__
        if not abstract:
            made.register()


class Op(msgspec.Struct, metaclass=OpMeta, abstract=True):
    """An operator with its parameters. Equal parameters make equal operators."""

    name: ClassVar[str] = ""
    """what the language calls it; where that is not stated, the last part of ``torch``"""
    torch: ClassVar[str] = ""
    """the PyTorch object with the same meaning, by its import path; "" where PyTorch has none"""
    examples: ClassVar[tuple[str, ...]] = ()
    """``name(parameters)(operand types) -> result types``, run by the generic tests"""
    spellings: ClassVar[tuple[Spelling, ...]] = ()
    ignored: ClassVar[tuple[str, ...]] = ()
    """PyTorch parameters that are accepted and mean nothing in inference, such as ``inplace``"""
    variadic: ClassVar[str | None] = None
    """the tuple parameter that may be written without parentheses, ``reshape(x, 2, 3)``, or such a list of
    tensors, ``einsum("i,j", x, y)``"""
    order: ClassVar[tuple[str, ...]] = ()
    """positional order of operands and parameters where it is not operands first"""
    tolerance: ClassVar[float] = 1e-5
    """relative L2 error allowed between the lowered layers and PyTorch in float32"""
    in_place: ClassVar[tuple[str, ...]] = ()
    """operands whose memory the first results take over: the model's inputs, and the results its outputs"""
    moves: ClassVar[bool] = False
    """whether the results hold nothing but elements of the first operand, in another place, shape or dtype"""
    gives_tuple: ClassVar[bool] = False
    """whether PyTorch returns the results in a tuple, even where there is one only"""
    tuple_operands: ClassVar[tuple[str, ...]] = ()
    """operands that PyTorch takes in one tuple, and that may be given so here"""
    tuple_of_last: ClassVar[int] = 0
    """how many of the last results PyTorch gives in one tuple, and may be bound so here"""
    bodies: ClassVar[tuple[str, ...]] = ()
    """names of the graphs that the operator runs itself, such as a loop's step"""
    bodies_optional: ClassVar[bool] = False
    """whether it may do without its bodies"""
    in_two_lists: ClassVar[bool] = False
    """whether it is called as a module is, ``name(parameters)(tensors)``, whatever its name begins with"""
    further: ClassVar[str] = ""
    """the parameter that keeps what is given under names that no parameter has, by :meth:`further_value`;
    only the first parameter is then given by position"""
    keeps_types: ClassVar[bool] = False
    """whether its operands and results have the types of the text whatever is computed in"""
    takes_quantised: ClassVar[bool] = False
    """whether its operands and results may be of the types in which nothing is computed, such as int4"""
    constant: ClassVar[bool] = False
    """whether its weights belong to the text, and a file beside the checkpoint has them"""
    keys: ClassVar[Mapping[str, str]] = {}
    """state-dict names of weights whose slot is called otherwise: a parameter's is its label itself"""

    operands: ClassVar[tuple[Operand, ...]]
    parameters: ClassVar[tuple[str, ...]]
    weight_slots: ClassVar[tuple[str, ...]] = ()
    """every weight that some configuration has, in the order of ``lower``"""
    weight_shapes: ClassVar[Mapping[str, str]] = {}
    """what each weight's dimensions are, ``[out_features, in_features]``, in the names of parameters"""

    @classmethod
    def register(cls) -> None:
        """Make it an operator of the language; TypeError says what an operator lacks for that."""
        _register(cls)

    # Every operator

    def infer(self, *operands: Any, **named: Any) -> Types:
        """The results' types from the operands'; raises :class:`~trtdsl.ops.refused.Refused`.

        An operator with bodies also gets ``bodies``, their :class:`Signature` by name.
        """
        raise TypeError(f"{type(self).__name__} states no type rule")

    def lower(self, net: Network, *operands: Any, **named: Any) -> Tensor | tuple[Tensor, ...]:
        """Emit TensorRT layers; gets the operands (and weights) as tensors, by name.

        An operator with bodies also gets ``bodies``: by name, functions from tensors to tensors that
        emit a body's layers where they are called.
        """
        raise TypeError(f"{type(self).__name__} states no lowering")

    # What an operator may state besides; each method's own answer is that of most operators.

    def weights(self, *operands: Any, **named: Any) -> Mapping[str, TensorType]:
        """The slot and type of each weight; its state-dict name below the label is :meth:`key`."""
        return {}

    def body_inputs(self, *operands: Any, **named: Any) -> Mapping[str, tuple[TensorType, ...]]:
        """The types that each body's inputs have, by the body's name, for operands of these types."""
        return {}

    def reference(self, torch: Any, *operands: Any, **named: Any) -> Any:
        """The results as torch tensors; None where the object that ``torch`` names computes them.

        Gets PyTorch itself first, then operands and weights by name, and ``bodies`` as functions.
        """
        return None

    def is_identity(self, *operands: Any, **named: Any) -> bool:
        """Whether the result is the operand itself, for operands of these types."""
        return False

    @classmethod
    def further_value(cls, name: str, value: object) -> Any:
        """What :attr:`further` keeps of a value; raises :class:`~trtdsl.ops.refused.Refused`."""
        return value

    def fold(self, *operands: Any, **named: Any) -> Any:
        """The results as numpy arrays, from the operands' and weights'; None where that is not stated."""
        return None

    def positions(self, *operands: Any, **named: Any) -> Mapping[str, Positions | tuple[Positions, ...]]:
        """What the integers of an operand may be that name positions, for operands of these types.

        Of a variadic operand one for each of its tensors.
        """
        return {}

    def greatest(self) -> Dim | None:
        """The greatest integer that a result without operands holds, by sizes; None where nobody knows."""
        return None

    def iterations(self, *operands: Any, **named: Any) -> Dim | None:
        """How often the loop that it becomes runs, for operands of these types; None if it becomes none."""
        return None

    def divisors(self, *operands: Any, **named: Any) -> Sequence[str]:
        """The operands of integers that must not be 0, for operands of these types."""
        return ()

    def unusable(self, slot: str, array: Any) -> Unusable | None:
        """An element of an operand, known at compile time, that cannot be used; None where all can."""
        return None

    def caution(self, *operands: Any, **named: Any) -> str | None:
        """A warning for a use that is valid but seldom meant, or None."""
        return None

    @property
    def slots(self) -> Sequence[str]:
        """Every weight that the operator may have as it is configured."""
        return self.weight_slots

    # What follows from the class

    @classmethod
    def operand_names(cls) -> Callable[..., Any]:
        """The method whose arguments are the operands."""
        return cls.infer

    @classmethod
    def default(cls, parameter: str) -> Any:
        """A parameter's default; :data:`REQUIRED` where it has none."""
        return _defaults(cls)[parameter]

    @classmethod
    def positional(cls) -> tuple[str, ...]:
        """The parameters that may be given by position."""
        return cls.parameters

    def replace(self, **changes: Any) -> Any:
        """The operator with other parameters."""
        return msgspec.structs.replace(self, **changes)

    def key(self, slot: str, scope: str) -> str:
        """The state-dict key of a weight, for the operator placed at this path."""
        return ".".join(part for part in (scope, self.keys.get(slot, slot)) if part)

    def signature(self, slots: Mapping[str, Any]) -> dict[str, Any]:
        """Of values by slot those of the operands, an empty list for a variadic one that has none."""
        named = {operand.name: [] for operand in self.operands if operand.variadic}
        declared = {operand.name for operand in self.operands}
        return {**named, **{slot: value for slot, value in slots.items() if slot in declared}}

    def at(self, values: Mapping[str, int]) -> Op:
        """The same operator where these symbols, in the dimensions among its parameters, have a size."""
        changed = {
            name: _evaluated(value, values)
            for name in self.parameters
            if _is_symbolic(value := getattr(self, name))
        }
        return self.replace(**changed) if changed else self


class Function(Op, abstract=True):
    """An operator without weights, called as ``name(operands, parameters)``."""


class Module(Op, abstract=True):
    """A ``torch.nn`` module, placed with a label: ``label: Name(parameters)(operands)``."""

    inferred: ClassVar[tuple[str, ...]] = ()
    """constructor parameters of the PyTorch module that follow from the operands, left out here.

    Where there are some, only parameters without a default are given by position: PyTorch's first argument in
    the place of the next parameter, ``Conv2d(3, 32, 3)``, would be a valid text with another meaning."""
    call_parameters: ClassVar[tuple[str, ...]] = ()
    """parameters that PyTorch's module takes beside its tensors where it is called, configured here"""

    @classmethod
    def positional(cls) -> tuple[str, ...]:
        """The parameters that may be given by position."""
        required = tuple(name for name in cls.parameters if cls.default(name) is REQUIRED)
        return required if cls.inferred else cls.parameters

    def torch_arguments(self, *operands: Any, **named: Any) -> Mapping[str, object]:
        """The values of :attr:`inferred`, from the operands' types."""
        return {}


REQUIRED: Any = msgspec.NODEFAULT
"""What stands for the default of a parameter that has none."""


@cache
def _defaults(cls: type[Op]) -> Mapping[str, Any]:
    # The last fields have defaults. `msgspec.structs.fields` works out every annotation to say so.
    names, defaults = cls.__struct_fields__, cls.__struct_defaults__
    without = len(names) - len(defaults)
    return {**dict.fromkeys(names[:without], REQUIRED), **dict(zip(names[without:], defaults, strict=True))}


def _register(cls: type[Op]) -> None:
    # A class may refine another operator: its name is not inherited.
    cls.name = vars(cls).get("name") or cls.torch.rpartition(".")[2]
    cls.operands = _operands_of(cls)
    taken = {operand.name for operand in cls.operands}
    cls.weight_slots = tuple(name for name in _arguments(cls.lower)[1:] if name not in {*taken, "bodies"})
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
    if not cls.name:
        return "states neither a name nor a torch object"
    if not cls.torch and cls.reference is Op.reference:
        return "names no torch object and states no `reference`"
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
    if cls.operands and {*cls.weight_slots} - {*cls.weight_shapes}:
        return "does not say in `weight_shapes` what the dimensions of each weight are"
    if cls.bodies and cls.body_inputs is Op.body_inputs:
        return "has bodies and states no `body_inputs`"
    return None


def _arguments(method: Callable[..., Any]) -> list[str]:
    """The names of a method's arguments after ``self``."""
    code = method.__code__
    return list(code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount])


def _operands_of(cls: type[Op]) -> tuple[Operand, ...]:
    """The operands as the signature of ``infer``, or of what stands for it, tells them."""
    method = cls.operand_names()
    names = [name for name in _arguments(method) if name not in ("emit", "bodies")]
    first_optional = len(names) - len(method.__defaults__ or ())
    annotations = method.__annotations__
    return tuple(
        Operand(name, optional=index >= first_optional, variadic="Sequence" in str(annotations.get(name)))
        for index, name in enumerate(names)
    )


def _is_symbolic(value: object) -> bool:
    if isinstance(value, TensorType):
        return not value.is_static
    if isinstance(value, tuple):
        return any(_is_symbolic(item) for item in value)  # pyright: ignore[reportUnknownVariableType]
    return isinstance(value, SymbolicDim)


def _evaluated(value: Any, values: Mapping[str, int]) -> Any:
    if isinstance(value, TensorType):
        return value.with_shape(tuple(with_sizes(dim, values) for dim in value.shape))
    if isinstance(value, tuple):
        return tuple(_evaluated(item, values) for item in value)
    return with_sizes(value, values) if isinstance(value, SymbolicDim) else value


def static(dim: Dim, what: str, about: str | None = None) -> int:
    """A dimension that must be known at compile time; refused with ``what`` it is otherwise."""
    if isinstance(dim, SymbolicDim):
        fixed = " and ".join(f"`dim {each} = {each.optimum}`" for each in sorted(symbols(dim), key=str))
        text = f"{what} must be known at compile time, but it is the dynamic `{dim}`"
        raise Refused(text, about, help=f"{fixed} would fix it")
    return dim


def pair(value: int | Sequence[int], count: int = 2) -> tuple[int, ...]:
    """An integer repeated per spatial dimension, or the given sequence."""
    return (value,) * count if isinstance(value, int) else tuple(value)
