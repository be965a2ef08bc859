"""Runs the pickle of a torch checkpoint on a machine that can build nothing but data.

In: a pickle's bytes.  Out: dicts, lists, tuples, numbers, strings and lazy tensors, and the names the
pickle refers to that are not allowed (:attr:`Machine.refused`); what they name is neither imported nor
called, so the caller can say what the pickle would have done.

:func:`pickletools.genops` takes the bytes apart; what the instructions mean is written here. Python's own
unpickler is not used: even restricted by ``find_class`` it can be made to allocate without bound
(``LONG_BINPUT``), to overflow the stack (the hash of a deep tuple) and to take hours (integer keys of one
hash).  Here an instruction creates one object no larger than its own bytes, no function follows the nesting
of what is built, and a dict's keys are strings, whose hashes nobody can foresee.
"""

from __future__ import annotations

import mmap
import pickle
import pickletools
from collections.abc import Callable
from io import BytesIO
from typing import Any

from trtdsl.weights.file import Malformed, listing, quote
from trtdsl.weights.torch_objects import Name, Opaque, build, is_known

Meaning = Callable[["Machine", Any], None]
"""What an instruction does, given the argument that stands after it in the pickle."""

_MEANINGS: dict[str, Meaning] = {}
_NAMES = {opcode.code: opcode.name for opcode in pickletools.opcodes}
_LONGEST_NAME = 500  # each reference makes a new string of two that the pickle may hold only once


class Machine:
    """The stack, the marks and the memo of the pickle at a stream's position; running it leaves the stream
    behind the pickle."""

    def __init__(self, stream: BytesIO | mmap.mmap, storage: Callable[[object], object]) -> None:
        self.stream = stream
        self.storage = storage
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}
        self.refused: dict[str, None] = {}
        self.modules: dict[str, None] = {}
        """Those of the refused names whose objects have the attributes of a ``torch.nn.Module``."""

    def run(self) -> object:
        """The object the pickle describes; a pickle torch would not write is ``Malformed``."""
        begin, last = self.stream.tell(), None
        try:
            for opcode, argument, last in pickletools.genops(self.stream):  # pyright: ignore[reportArgumentType]
                meaning = _MEANINGS.get(opcode.name)
                if meaning is None:
                    raise _unwritten(last, opcode.name)
                meaning(self, argument)
            return self.stack.pop()
        except IndexError:
            raise Malformed("its pickle takes more from its stack than is there") from None
        except (ValueError, DeprecationWarning):  # where warnings are errors: an escape in a name
            raise _garbled(self.stream, begin, last) from None

    def since_mark(self) -> list[object]:
        """Everything above the last mark, popped."""
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def refer(self, module: object, name: object) -> None:
        """Pushes a name, and notes it where it is not allowed."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise Malformed("its pickle refers to something by what is not a name")
        if len(module) + len(name) > _LONGEST_NAME:
            raise Malformed("its pickle refers to something by a name that is too long")
        text = f"{module}.{name}".replace("__builtin__.", "builtins.")
        if not is_known(text):
            self.refused[text] = None
        self.stack.append(Name(text))

    def call(self) -> None:
        """``REDUCE`` and its kin: the call is carried out by a stand-in, or by nothing."""
        arguments = self.stack.pop()
        name = self.stack.pop()
        if not isinstance(name, Name) or not isinstance(arguments, tuple):
            raise Malformed("its pickle calls what is not a function")
        self.stack.append(Opaque(name.text) if name.text in self.refused else build(name.text, arguments))


def _garbled(stream: BytesIO | mmap.mmap, begin: int, last: int | None) -> Malformed:
    """What is wrong with the instruction after the ``last`` that could be read, or with the first."""
    stream.seek(begin if last is None else last)
    if last is not None:
        next(pickletools.genops(stream))  # pyright: ignore[reportArgumentType]
    position = stream.tell()
    code = stream.read(1)
    if not code:
        return Malformed(f"its pickle breaks off: byte {position} is its end")
    name = _NAMES.get(code.decode("latin-1"))
    if name is None:
        return Malformed(f"its pickle is garbled: byte {position} is not an instruction")
    if name not in _MEANINGS:
        return _unwritten(position, name)
    return Malformed(f"its pickle breaks off or is garbled in the {name} at byte {position}")


def _unwritten(position: int | None, name: str) -> Malformed:
    return Malformed(f"byte {position} of its pickle is {name}, which torch.save never writes")


def _meaning(*names: str) -> Callable[[Meaning], Meaning]:
    def register(function: Meaning) -> Meaning:
        _MEANINGS.update(dict.fromkeys(names, function))
        return function

    return register


@_meaning("FRAME", "STOP")
def _nothing(machine: Machine, argument: Any) -> None:
    pass


@_meaning("PROTO")
def _proto(machine: Machine, version: int) -> None:
    if version > pickle.HIGHEST_PROTOCOL:
        raise Malformed("its pickle has an unknown protocol")


# --- Values -----------------------------------------------------------------------------------------------


@_meaning("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINSTRING", "BINSTRING")
@_meaning("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT")
@_meaning("NONE")
def _value(machine: Machine, value: object) -> None:
    machine.stack.append(value)


@_meaning("NEWTRUE")
def _true(machine: Machine, _: None) -> None:
    machine.stack.append(True)


@_meaning("NEWFALSE")
def _false(machine: Machine, _: None) -> None:
    machine.stack.append(False)


@_meaning("EMPTY_TUPLE")
def _empty_tuple(machine: Machine, _: None) -> None:
    machine.stack.append(())


@_meaning("EMPTY_LIST", "EMPTY_SET")
def _list(machine: Machine, _: None) -> None:
    machine.stack.append([])


@_meaning("EMPTY_DICT")
def _dict(machine: Machine, _: None) -> None:
    machine.stack.append({})


@_meaning("TUPLE", "FROZENSET")
def _tuple(machine: Machine, _: None) -> None:
    items = machine.since_mark()
    machine.stack.append(tuple(items))


@_meaning("TUPLE1")
def _tuple1(machine: Machine, _: None) -> None:
    _short_tuple(machine, 1)


@_meaning("TUPLE2")
def _tuple2(machine: Machine, _: None) -> None:
    _short_tuple(machine, 2)


@_meaning("TUPLE3")
def _tuple3(machine: Machine, _: None) -> None:
    _short_tuple(machine, 3)


def _short_tuple(machine: Machine, length: int) -> None:
    if len(machine.stack) < length:
        raise IndexError
    machine.stack[-length:] = [tuple(machine.stack[-length:])]


# --- The stack and the memo -------------------------------------------------------------------------------


@_meaning("MARK")
def _mark(machine: Machine, _: None) -> None:
    machine.marks.append(len(machine.stack))


@_meaning("POP")
def _pop(machine: Machine, _: None) -> None:
    machine.stack.pop()


@_meaning("POP_MARK")
def _pop_mark(machine: Machine, _: None) -> None:
    machine.since_mark()


@_meaning("BINPUT", "LONG_BINPUT")
def _put(machine: Machine, index: int) -> None:
    machine.memo[index] = machine.stack[-1]


@_meaning("MEMOIZE")
def _memoize(machine: Machine, _: None) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


@_meaning("BINGET", "LONG_BINGET")
def _get(machine: Machine, index: int) -> None:
    if index not in machine.memo:
        raise Malformed("its pickle refers to an object it has not described")
    machine.stack.append(machine.memo[index])


# --- Items ------------------------------------------------------------------------------------------------


@_meaning("APPEND")
def _append(machine: Machine, _: None) -> None:
    item = machine.stack.pop()
    _extend(machine.stack[-1], [item])


@_meaning("APPENDS", "ADDITEMS")
def _appends(machine: Machine, _: None) -> None:
    items = machine.since_mark()
    _extend(machine.stack[-1], items)


def _extend(target: object, items: list[object]) -> None:
    if isinstance(target, list):
        target.extend(items)
    elif not isinstance(target, Opaque):
        raise Malformed("its pickle appends to what is not a list")


@_meaning("SETITEM")
def _setitem(machine: Machine, _: None) -> None:
    value = machine.stack.pop()
    key = machine.stack.pop()
    _update(machine.stack[-1], [key, value])


@_meaning("SETITEMS")
def _setitems(machine: Machine, _: None) -> None:
    items = machine.since_mark()
    _update(machine.stack[-1], items)


def _update(target: object, items: list[object]) -> None:
    """Sets keys and values in turn.

    No weight has a key that is not a string, and hashing one could be costly: of integers and floats anyone
    can write many with one hash, and a tuple's hash follows its nesting. A mark that is its own key stands
    for it.
    """
    if isinstance(target, Opaque):
        return
    if not isinstance(target, dict) or len(items) % 2:
        raise Malformed("its pickle sets items of what is not a dict")
    for key, value in zip(items[::2], items[1::2], strict=True):
        target[key if isinstance(key, str) else _mark_of(key)] = value


def _mark_of(key: object) -> Opaque:
    return Opaque(str(key) if isinstance(key, int | float | None) else type(key).__name__)


# --- Names and calls --------------------------------------------------------------------------------------


@_meaning("GLOBAL")
def _global(machine: Machine, pair: str) -> None:
    module, _, name = pair.partition(" ")
    machine.refer(module, name)


@_meaning("STACK_GLOBAL")
def _stack_global(machine: Machine, _: None) -> None:
    name = machine.stack.pop()
    machine.refer(machine.stack.pop(), name)


@_meaning("INST")
def _inst(machine: Machine, pair: str) -> None:
    arguments = tuple(machine.since_mark())
    _global(machine, pair)
    machine.stack.append(arguments)
    machine.call()


@_meaning("REDUCE", "NEWOBJ")
def _reduce(machine: Machine, _: None) -> None:
    machine.call()


@_meaning("NEWOBJ_EX")
def _newobj_ex(machine: Machine, _: None) -> None:
    machine.stack.pop()
    machine.call()


@_meaning("BUILD")
def _build(machine: Machine, _: None) -> None:
    """An object's attributes: dropped, once they have told a module from other objects."""
    state = machine.stack.pop()
    target = machine.stack[-1]
    if (
        isinstance(target, Opaque)
        and isinstance(state, dict)
        and "_modules" in state
        and "_parameters" in state
    ):
        machine.modules[target.name] = None


@_meaning("BINPERSID")
def _binpersid(machine: Machine, _: None) -> None:
    machine.stack.append(machine.storage(machine.stack.pop()))


def describe_refusal(machine: Machine) -> tuple[str, tuple[str, ...]]:
    """What a file whose pickle refers to forbidden names does, and advice, for ``MappedFile.refuse``."""
    names = list(machine.refused)
    if machine.modules:
        modules = list(machine.modules)
        return (
            f"holds a whole pickled module ({quote(modules[-1])}), not a state dict; nothing was executed",
            (
                "a pickled module needs its Python code to be loaded, and may run any code when it is",
                "where you trust it, save the weights alone: `torch.save(model.state_dict(), path)`",
            ),
        )
    return (
        f"has code in its pickle ({listing(names, 3)}); refused, nothing was executed",
        (
            "a checkpoint may hold tensors, containers, numbers and strings only",
            "where you trust it, load it in Python and save `model.state_dict()` alone",
        ),
    )
