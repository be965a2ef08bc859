"""What to say of the keys that a checkpoint lacks and of those that nobody reads.

In: a graph and a checkpoint that do not fit.  Out: guesses at what a key is called there, and advice::

    the checkpoint has none of the 62 keys of model `resnet18`, such as `conv1.weight`
      = help: all of them are there below `model.`:
          `--weights-prefix model.`, in Python `weights_prefix = "model."` (`prefix` of `bind`)
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np

from trtdsl.diagnostics import Diagnostic, counted, nearest
from trtdsl.ir import Graph, Weight
from trtdsl.ops.text import quoted
from trtdsl.weights.checkpoint import Checkpoint
from trtdsl.weights.file import printable, quote
from trtdsl.weights.tensor import LazyTensor

UNMENTIONED = "num_batches_tracked"
"""BatchNorm's counter for training, which no inference reads."""

_MOST_GUESSED = 5000
"""Keys that are compared with a missing one. A checkpoint can have millions."""

_MOST_PREFIXES = 20


class Absent:
    """A graph's keys beside a checkpoint's."""

    def __init__(self, graph: Graph, weights: Mapping[str, Any], wanted: Iterable[str]) -> None:
        """``wanted`` are the keys under which the checkpoint should have the graph's weights."""
        self.graph = graph
        self.weights = weights
        self.wanted = list(wanted)
        read = {*self.wanted}
        self.free = [key for key in weights if key not in read]

    @property
    def is_everything(self) -> bool:
        """Whether a checkpoint has none of several keys: it is of something else, or under other names."""
        return len(self.wanted) > 1 and not any(key in self.weights for key in self.wanted)

    def everything(self) -> Diagnostic:
        """What is said then."""
        first = self.wanted[0]
        name, count = self.graph.name, len(self.wanted)
        text = f"the checkpoint has none of the {count} keys of model `{name}`, such as `{first}`"
        keys = ", ".join(quote(key) for key in list(self.weights)[:3])
        others = counted(len(self.weights), "other")
        found = f"it has {others}, such as {keys}" if keys else "it has no keys at all"
        return Diagnostic(text + self.guess(first), help=(found, *self.prefix_help))

    def missing(self, weights: Mapping[str, Weight], helped: bool) -> Diagnostic:
        """What is said of a layer's missing weights, by their keys.

        ``helped`` where advice on all keys was given before.
        """
        guesses = list(dict.fromkeys(filter(None, map(self._guess, weights))))
        guess = f", did you mean {' and '.join(map(quote, guesses))}?" if guesses else ""
        help = () if helped else self.prefix_help
        if not guess and not help:
            free = [each for each in weights.values() if not each.stored]
            help = tuple(text for each in free for text in self._tied_help(each))
        keys = " and no ".join(map(quote, weights))
        return Diagnostic(f"the checkpoint has no {keys}{guess}", help=help)

    def guess(self, key: str) -> str:
        """``, did you mean `x`?`` with the same key at a deeper level, or else the most similar."""
        found = self._guess(key)
        return f", did you mean {quote(found)}?" if found else ""

    def _guess(self, key: str) -> str | None:
        deeper = next((free for free in self.free if free.endswith(f".{key}")), None)
        return deeper or nearest(key, islice(self.free, _MOST_GUESSED), cutoff=0.75)

    @cached_property
    def prefix_help(self) -> tuple[str, ...]:
        return prefix_help(self.wanted, self.weights)

    def _tied_help(self, weight: Weight) -> tuple[str, ...]:
        """How to say that two layers share a matrix, where the checkpoint has one of that name and shape."""
        shape, name = weight.type.shape, weight.key.rpartition(".")[2]
        if len(shape) < 2:
            return ()
        alike = (
            key for key, found in _shapes(self.weights) if found == shape and key.rpartition(".")[2] == name
        )
        match list(islice(alike, 2)):
            case [other]:
                line = f"weights {{ {quoted(weight.key)} = {quoted(other)} }}"
                return (f"{quote(other)} has its shape; if the two are tied, say so in the model: `{line}`",)
            case _:
                return ()


def prefix_help(wanted: Sequence[str], weights: Mapping[str, Any]) -> tuple[str, ...]:
    """Advice to strip the prefix after which more of these keys are than at the top, and most of all."""

    def behind(prefix: str) -> int:
        return sum(prefix + key in weights for key in wanted)

    missing = next((key for key in wanted if key not in weights), "")
    deeper = (key for key in weights if key.endswith(f".{missing}"))
    candidates = [key.removesuffix(missing) for key in islice(deeper, _MOST_PREFIXES)]
    best = max(candidates, key=behind, default="")
    found, count = behind(best), len(wanted)
    if not best or found <= behind("") or 2 * found < count:
        return ()
    which = "all of them are" if found == count else f"{found} of the model's {count} keys are"
    best = printable(best)
    spelled = f'`--weights-prefix {best}`, in Python `weights_prefix = "{best}"` (`prefix` of `bind`)'
    return (f"{which} there below `{best}`: {spelled}",)


def unread(weights: Mapping[str, Any], read: Collection[str], owner: str) -> tuple[Diagnostic, ...]:
    """A warning that lists the keys which are not ``read``, or nothing.

    A key whose values another one has, which is read, is not among them: the two are tied.
    """
    others = sorted(key for key in weights if key not in read and key.rpartition(".")[2] != UNMENTIONED)
    values = _values(weights)
    places = {_place(values[key]) for key in read} if others else set()
    others = [key for key in others if (place := _place(values[key])) is None or place not in places]
    if not others:
        return ()
    more = f" and {len(others) - 10} more" if len(others) > 10 else ""
    listed = ", ".join(quote(key) for key in others[:10])
    text = f"the model never reads {counted(len(others), 'key')} of {owner}: {listed}{more}"
    return (Diagnostic(text, severity="warning"),)


def _values(weights: Mapping[str, Any]) -> Mapping[str, Any]:
    """What stands behind each key, without reading a checkpoint's data."""
    return weights.tensors if isinstance(weights, Checkpoint) else weights


def _shapes(weights: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The shapes of what has one."""
    for key, value in _values(weights).items():
        shape = getattr(value, "shape", None)
        if shape is not None:
            yield key, tuple(shape)


def _place(value: Any) -> Hashable:
    """Where a tensor's values are: two that are tied are at one place. None where nobody knows."""
    match value:
        case LazyTensor(storage=None):
            return None
        case LazyTensor():
            return id(value.storage), value.offset, value.shape, value.strides
        case np.ndarray():
            return value.ctypes.data, value.shape, value.strides
        case _ if hasattr(value, "data_ptr"):
            return value.data_ptr(), tuple(value.shape), tuple(value.stride())
        case _:
            return None
