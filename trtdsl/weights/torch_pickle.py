"""Runs the pickle of a torch checkpoint on a machine that can build nothing but data.

In: a pickle's bytes.  Out: dicts, lists, tuples, numbers, strings and lazy tensors, and the names the
pickle refers to that are not allowed (:attr:`Machine.refused`); what they name is neither imported nor
called, so the caller can say what the pickle would have done.

Python's own unpickler is not used: even restricted by ``find_class`` it can be made to allocate without
bound (``LONG_BINPUT``, ``BYTEARRAY8``) and to overflow the stack (the hash of a deep tuple).  Here every
instruction is at least one byte of the file and creates one object no larger than its own bytes, and no
function follows the nesting of what is built.
"""

from __future__ import annotations

import mmap
import pickle
import struct
from collections.abc import Callable

from trtdsl.weights.file import Malformed, listing, quote
from trtdsl.weights.torch_objects import Name, Opaque, build, is_known

Instruction = Callable[["Machine"], None]

_INSTRUCTIONS: dict[int, Instruction] = {}
_WORD = struct.Struct("<I")
_LONGEST_NAME = 500  # each reference makes a new string of two that the pickle may hold only once


class Machine:
    """The stack, the marks and the memo of one pickle; ``position`` is where the next byte is read."""

    def __init__(
        self, data: bytes | mmap.mmap, storage: Callable[[object], object], position: int = 0
    ) -> None:
        self.data = data
        self.position = position
        self.storage = storage
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}
        self.refused: dict[str, None] = {}
        self.modules: dict[str, None] = {}
        """Those of the refused names whose objects have the attributes of a ``torch.nn.Module``."""

    def run(self) -> object:
        """The object the pickle describes; a pickle torch would not write is ``Malformed``."""
        data, instructions = self.data, _INSTRUCTIONS
        try:
            while (code := data[self.position]) != _STOP:
                self.position += 1
                instructions[code](self)
            self.position += 1
            return self.stack.pop()
        except KeyError:
            raise Malformed(
                f"byte {self.position - 1} of its pickle is no instruction torch.save writes"
            ) from None
        except IndexError:
            raise Malformed("its pickle breaks off") from None
        except (struct.error, UnicodeDecodeError) as error:
            raise Malformed(f"its pickle is garbled at byte {self.position} ({error})") from None

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        begin = self.position
        self.position = begin + count
        if self.position > len(self.data):
            raise IndexError
        return self.data[begin : self.position]

    def byte(self) -> int:
        """The next byte, as an index or a small number."""
        value = self.data[self.position]
        self.position += 1
        return value

    def word(self) -> int:
        """The next four bytes, as an index."""
        (value,) = _WORD.unpack_from(self.data, self.position)
        self.position += 4
        return value

    def number(self, size: int) -> int:
        """The next ``size`` bytes, as a length."""
        return int.from_bytes(self.take(size), "little")

    def line(self) -> str:
        """Text up to the next newline."""
        end = self.data.find(b"\n", self.position, self.position + _LONGEST_NAME)
        if end < 0:
            raise IndexError
        text = self.data[self.position : end].decode("utf-8")
        self.position = end + 1
        return text

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


def _instruction(code: bytes) -> Callable[[Instruction], Instruction]:
    def register(function: Instruction) -> Instruction:
        _INSTRUCTIONS[code[0]] = function
        return function

    return register


_STOP = pickle.STOP[0]


def _constant(code: bytes, value: object) -> None:
    _INSTRUCTIONS[code[0]] = lambda machine: machine.stack.append(value)


def _counted(code: bytes, size: int, convert: Callable[[bytes], object]) -> None:
    """An instruction followed by a length of ``size`` bytes and so many bytes of data."""
    _INSTRUCTIONS[code[0]] = lambda machine: machine.stack.append(convert(machine.take(machine.number(size))))


def _text(data: bytes) -> str:
    # torch.save writes names of any kind, and a lone surrogate is written as "surrogatepass" does.
    return data.decode("utf-8", "surrogatepass")


def _python2_text(data: bytes) -> str:
    return data.decode("latin-1")


def _whole_number(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


_constant(pickle.NONE, None)
_constant(pickle.NEWTRUE, True)
_constant(pickle.NEWFALSE, False)
_constant(pickle.EMPTY_TUPLE, ())
_counted(pickle.SHORT_BINUNICODE, 1, _text)
_counted(pickle.BINUNICODE, 4, _text)
_counted(pickle.BINUNICODE8, 8, _text)
_counted(pickle.SHORT_BINSTRING, 1, _python2_text)
_counted(pickle.BINSTRING, 4, _python2_text)
_counted(pickle.SHORT_BINBYTES, 1, bytes)
_counted(pickle.BINBYTES, 4, bytes)
_counted(pickle.BINBYTES8, 8, bytes)
_counted(pickle.LONG1, 1, _whole_number)


@_instruction(pickle.PROTO)
def _proto(machine: Machine) -> None:
    if machine.byte() > pickle.HIGHEST_PROTOCOL:
        raise Malformed("its pickle has an unknown protocol")


@_instruction(pickle.FRAME)
def _frame(machine: Machine) -> None:
    machine.take(8)


@_instruction(pickle.BININT)
def _binint(machine: Machine) -> None:
    machine.stack.append(_whole_number(machine.take(4)))


@_instruction(pickle.BININT1)
def _binint1(machine: Machine) -> None:
    machine.stack.append(machine.byte())


@_instruction(pickle.BININT2)
def _binint2(machine: Machine) -> None:
    machine.stack.append(machine.number(2))


@_instruction(pickle.BINFLOAT)
def _binfloat(machine: Machine) -> None:
    machine.stack.append(struct.unpack(">d", machine.take(8))[0])


@_instruction(pickle.MARK)
def _mark(machine: Machine) -> None:
    machine.marks.append(len(machine.stack))


@_instruction(pickle.POP)
def _pop(machine: Machine) -> None:
    machine.stack.pop()


@_instruction(pickle.POP_MARK)
def _pop_mark(machine: Machine) -> None:
    machine.since_mark()


@_instruction(pickle.BINPUT)
def _binput(machine: Machine) -> None:
    machine.memo[machine.byte()] = machine.stack[-1]


@_instruction(pickle.LONG_BINPUT)
def _long_binput(machine: Machine) -> None:
    machine.memo[machine.word()] = machine.stack[-1]


@_instruction(pickle.MEMOIZE)
def _memoize(machine: Machine) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


@_instruction(pickle.BINGET)
def _binget(machine: Machine) -> None:
    _recall(machine, machine.byte())


@_instruction(pickle.LONG_BINGET)
def _long_binget(machine: Machine) -> None:
    _recall(machine, machine.word())


def _recall(machine: Machine, index: int) -> None:
    if index not in machine.memo:
        raise Malformed("its pickle refers to an object it has not described")
    machine.stack.append(machine.memo[index])


@_instruction(pickle.TUPLE)
def _tuple(machine: Machine) -> None:
    items = machine.since_mark()
    machine.stack.append(tuple(items))


@_instruction(pickle.TUPLE1)
def _tuple1(machine: Machine) -> None:
    _short_tuple(machine, 1)


@_instruction(pickle.TUPLE2)
def _tuple2(machine: Machine) -> None:
    _short_tuple(machine, 2)


@_instruction(pickle.TUPLE3)
def _tuple3(machine: Machine) -> None:
    _short_tuple(machine, 3)


def _short_tuple(machine: Machine, length: int) -> None:
    if len(machine.stack) < length:
        raise IndexError
    machine.stack[-length:] = [tuple(machine.stack[-length:])]


@_instruction(pickle.EMPTY_LIST)
@_instruction(pickle.EMPTY_SET)
def _list(machine: Machine) -> None:
    machine.stack.append([])


@_instruction(pickle.EMPTY_DICT)
def _dict(machine: Machine) -> None:
    machine.stack.append({})


@_instruction(pickle.FROZENSET)
def _frozenset(machine: Machine) -> None:
    _tuple(machine)


@_instruction(pickle.APPEND)
def _append(machine: Machine) -> None:
    item = machine.stack.pop()
    _extend(machine.stack[-1], [item])


@_instruction(pickle.APPENDS)
@_instruction(pickle.ADDITEMS)
def _appends(machine: Machine) -> None:
    items = machine.since_mark()
    _extend(machine.stack[-1], items)


def _extend(target: object, items: list[object]) -> None:
    if isinstance(target, list):
        target.extend(items)
    elif not isinstance(target, Opaque):
        raise Malformed("its pickle appends to what is not a list")


@_instruction(pickle.SETITEM)
def _setitem(machine: Machine) -> None:
    value = machine.stack.pop()
    key = machine.stack.pop()
    _update(machine.stack[-1], [key, value])


@_instruction(pickle.SETITEMS)
def _setitems(machine: Machine) -> None:
    items = machine.since_mark()
    _update(machine.stack[-1], items)


def _update(target: object, items: list[object]) -> None:
    """Sets keys and values in turn; a key that is not plain is replaced, since its hash could be costly."""
    if isinstance(target, Opaque):
        return
    if not isinstance(target, dict) or len(items) % 2:
        raise Malformed("its pickle sets items of what is not a dict")
    for key, value in zip(items[::2], items[1::2], strict=True):
        plain = isinstance(key, str | int | float | bytes | None)
        target[key if plain else Opaque(type(key).__name__)] = value


@_instruction(pickle.GLOBAL)
def _global(machine: Machine) -> None:
    machine.refer(machine.line(), machine.line())


@_instruction(pickle.STACK_GLOBAL)
def _stack_global(machine: Machine) -> None:
    name = machine.stack.pop()
    machine.refer(machine.stack.pop(), name)


@_instruction(pickle.INST)
def _inst(machine: Machine) -> None:
    machine.refer(machine.line(), machine.line())
    name = machine.stack.pop()
    arguments = tuple(machine.since_mark())
    machine.stack += [name, arguments]
    machine.call()


@_instruction(pickle.REDUCE)
@_instruction(pickle.NEWOBJ)
def _reduce(machine: Machine) -> None:
    machine.call()


@_instruction(pickle.NEWOBJ_EX)
def _newobj_ex(machine: Machine) -> None:
    machine.stack.pop()
    machine.call()


@_instruction(pickle.BUILD)
def _build(machine: Machine) -> None:
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


@_instruction(pickle.BINPERSID)
def _binpersid(machine: Machine) -> None:
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
