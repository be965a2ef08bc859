"""Where in a model an ONNX node ran, and what its weights are called.

In: a node's name and metadata.  Out: the calls of modules around it, and the path that its weights lie at.
The old exporter of PyTorch names nodes ``/layer1/layer1.0/conv1/Conv``; the new one has the calls' paths and
classes in its metadata.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence, Set
from itertools import groupby
from typing import Any

import msgspec

from trtdsl.importers.program import Call, Frame, Operation, frames_of_trace, kind_of

_STACK = "pkg.torch.onnx.stack_trace"
_SCOPES = "pkg.torch.onnx.name_scopes"
_CLASSES = "pkg.torch.onnx.class_hierarchy"
_CALL = "pkg.torch.onnx.fx_node"
_NOWHERE = "_empty_nn_module_stack_from_metadata_hook"
_KEY = re.compile(r"[A-Za-z_]\w*(\.\w+)*")
_CONTAINER = "torch.nn.modules.container.Sequential"


def is_key(name: str) -> bool:
    """Whether a name may be a state-dict key as it stands."""
    return _KEY.fullmatch(name) is not None


def calls_of(proto: Any) -> tuple[Call, ...]:
    """The calls of modules that a node ran in, from the outermost."""
    metadata = {each.key: each.value for each in getattr(proto, "metadata_props", ())}
    if _SCOPES in metadata and _CLASSES in metadata:
        return _of_metadata(metadata[_SCOPES], metadata[_CLASSES])
    return _of_name(proto.name)


def frames_of(proto: Any) -> tuple[Frame, ...]:
    """The lines of the module's source that led to a node, from the outermost."""
    metadata = {each.key: each.value for each in getattr(proto, "metadata_props", ())}
    return frames_of_trace(metadata.get(_STACK, ""))


def _of_metadata(scopes: str, classes: str) -> tuple[Call, ...]:
    try:
        paths, kinds = ast.literal_eval(scopes), ast.literal_eval(classes)
    except (ValueError, SyntaxError):
        return ()
    found: list[Call] = []
    # The last of both is the operation itself.
    for path, kind in list(zip(paths, kinds, strict=False))[:-1]:
        if path and isinstance(path, str) and path != _NOWHERE:
            found.append(Call(path, kind_of(str(kind))))
    return tuple(found)


def call_text(proto: Any) -> str:
    """The call of PyTorch that a node is a part of, as its exporter prints it."""
    return next((each.value for each in getattr(proto, "metadata_props", ()) if each.key == _CALL), "")


def placed_calls(operations: Sequence[Operation]) -> tuple[Operation, ...]:
    """Operations without the calls of modules whose ``forward`` did not lead to them, though it led to others
    of that call: an exporter that takes a module apart may say that it ran in the next one.
    """
    led = {call for each in operations for call in _leading(each.calls, each.frames)}
    found: list[Operation] = []
    for each in operations:
        kept = each.calls[: _agreed(each.calls, each.frames, led)]
        if each.frames and len(kept) < len(each.calls):
            before = found[-1].calls if found else ()
            still = before[: _agreed(before, each.frames, led)]
            own, running = (len(_leading(calls, each.frames)) for calls in (kept, still))
            kept = still if running and running >= own else kept
            each = msgspec.structs.replace(each, calls=_running(kept))
        found.append(each)
    return tuple(found)


def _agreed(calls: Sequence[Call], frames: Sequence[Frame], led: Set[Call]) -> int:
    """How many of the calls may have led to the lines."""
    own = _leading(calls, frames)
    wrong = (depth for depth, each in enumerate(calls) if each in led and each not in own)
    return next(wrong, len(calls))


def _running(calls: tuple[Call, ...]) -> tuple[Call, ...]:
    """Calls without the containers of which no item runs."""
    while calls and calls[-1].kind == _CONTAINER:
        calls = calls[:-1]
    return calls


def _leading(calls: Sequence[Call], frames: Sequence[Frame]) -> Set[Call]:
    """The calls whose ``forward`` is on a line behind those of the calls around it; a class that inherits it
    is in none."""
    lines = [each.file for each in frames if each.function == "forward"]
    found: set[Call] = set()
    place = 1  # behind the model's own
    for call in calls:
        path = call.kind.rpartition(".")[0].replace(".", "/")
        ends = (f"/{path}.py", f"/{path}/__init__.py")
        line = next((line for line in range(place, len(lines)) if path and lines[line].endswith(ends)), None)
        if line is not None:
            found.add(call)
            place = line + 1
    return found


def numbered_calls(operations: Sequence[Operation]) -> tuple[Operation, ...]:
    """Operations whose calls are told apart where a module is called again, at once or after others."""
    kinds = _kinds(operations)
    begins = frozenset(_begins(tuple(enumerate(_steps(operations))), 0))
    counts: dict[tuple[Call, ...], int] = {}
    before: tuple[Call, ...] = ()
    found: list[Operation] = []
    for place, operation in enumerate(operations):
        calls: list[Call] = []
        for depth, given in enumerate(operation.calls):
            call = msgspec.structs.replace(given, kind=kinds[given.path])
            above = tuple(calls)
            key = (*above, call)
            again = before[: depth + 1]
            is_running = again[:depth] == above and len(again) > depth and again[depth].path == call.path
            if not is_running or (place, depth) in begins:
                counts[key] = counts.get(key, -1) + 1
            calls.append(msgspec.structs.replace(call, number=counts[key]))
        before = tuple(calls)
        found.append(msgspec.structs.replace(operation, calls=before))
    return tuple(found)


class _Step(msgspec.Struct, frozen=True):
    """What is the same of an operation each time that the modules around it are called."""

    name: str
    paths: tuple[str, ...]
    frames: tuple[Frame, ...]


def _steps(operations: Sequence[Operation]) -> Iterator[_Step]:
    for each in operations:
        yield _Step(each.name, tuple(call.path for call in each.calls), each.frames)


def _begins(steps: Sequence[tuple[int, _Step]], depth: int) -> Iterator[tuple[int, int]]:
    """Where a module is called again at once, from the outermost: the operation that begins it, and how deep
    the call is.  A file does not number calls; they are where all that a module does is done again."""
    for path, run in groupby(steps, lambda each: each[1].paths[: depth + 1]):
        if len(path) <= depth:
            continue
        members = tuple(run)
        length = _round([step for _, step in members])
        for begin in range(0, len(members), length):
            if begin:
                yield members[begin][0], depth
            yield from _begins(members[begin : begin + length], depth + 1)


def _round(steps: Sequence[_Step]) -> int:
    """How many steps a module takes until it takes the same ones again, on several lines of its source."""
    for length in range(2, len(steps) // 2 + 1):
        is_round = len(steps) % length == 0 and steps[:-length] == steps[length:]
        if is_round and _are_on_several_lines(steps[:length]):
            return length
    return len(steps)


def _are_on_several_lines(steps: Sequence[_Step]) -> bool:
    return any(len({*lines}) > 1 for lines in zip(*(each.frames for each in steps), strict=False))


def _kinds(operations: Sequence[Operation]) -> dict[str, str]:
    """The class of the module at each path: one that runs more than its items is not a plain container,
    though the items' names look like it.
    """
    found: dict[str, str] = {}
    for call in (call for operation in operations for call in operation.calls):
        if found.get(call.path, _CONTAINER) == _CONTAINER:
            found[call.path] = call.kind
    return found


def _of_name(name: str) -> tuple[Call, ...]:
    """``/layer1/layer1.0/conv1/Conv``: each part is a path below the last, or repeats it."""
    parts = [part for part in name.split("/") if part][:-1]
    if not name.startswith("/") or not all(re.fullmatch(r"[\w.]+", part) for part in parts):
        return ()
    found: list[Call] = []
    path = ""
    before = ""
    for number, part in enumerate(parts):
        if before and part.startswith(f"{before}."):
            # ``block/block.0``: a container's name before its item's.
            path += part.removeprefix(before)
        else:
            path = f"{path}.{part}".lstrip(".")
        before = part
        behind = parts[number + 1] if number + 1 < len(parts) else ""
        is_container = behind.startswith(f"{part}.")
        found.append(Call(path, _CONTAINER if is_container else _kind(path)))
    return tuple(found)


def _kind(path: str) -> str:
    """A class's name for a module of which only the path is known: ``layer1.0`` is a ``Layer``."""
    words = [word for word in path.split(".") if word and not word.isdigit()]
    last = words[-1].rstrip("0123456789_") if words else ""
    if path.rpartition(".")[2].isdigit() and last.endswith("s") and not last.endswith("ss"):
        last = last[:-1]
    return "".join(each[:1].upper() + each[1:] for each in last.split("_") if each) or "Module"


def scope_of(calls: tuple[Call, ...], name: str, operator: str) -> str:
    """Where the weights lie that a node reads."""
    if calls:
        return _clean(calls[-1].path)
    return path_of(name) or operator.lower()


def path_of(name: str) -> str:
    """A name of another framework as a path: ``model/conv:0`` is ``model.conv``."""
    return _clean(".".join(part for part in re.split(r"[/.:]+", name.removesuffix(":0")) if part))


def _clean(path: str) -> str:
    parts = [re.sub(r"\W", "_", part) for part in path.split(".")]
    parts = [
        part if not part[0].isdigit() or number else f"_{part}" for number, part in enumerate(parts) if part
    ]
    # A later part may be a number, but not begin with one.
    return ".".join(f"_{part}" if part[0].isdigit() and not part.isdigit() else part for part in parts)
