"""Finds the weights in what a training script saved.

    {"epoch": 90, "state_dict": {"module.conv1.weight": …}, "optimizer": {…}}

becomes ``{"conv1.weight": …}``, and what was passed over is said in notes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from trtdsl.weights.file import MappedFile, listing, printable, quote
from trtdsl.weights.tensor import LazyTensor
from trtdsl.weights.torch_objects import Opaque

# In order of preference. Averaged weights come last: whoever wants them says so.
SECTIONS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params")
AVERAGED = ("ema", "state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "params_ema")

# What DataParallel and torch.compile put before every key.
WRAPPERS = ("module.", "_orig_mod.")

# What torch.nn.utils.weight_norm and spectral_norm called what torch.nn.utils.parametrizations keeps; the
# parametrised tensor's own name stands before it.
_BEFORE_PARAMETRIZATIONS = {
    "original0": "g",
    "original1": "v",
    "original": "orig",
    "0._u": "u",
    "0._v": "v",
}
_PARAMETRIZED = re.compile(r"(?P<module>|.+\.)parametrizations\.(?P<name>\w+)\.(?P<part>[\w.]+)")


def before_parametrizations(key: str) -> str:
    """What an older PyTorch calls a key of a parametrised tensor; "" of any other.

    ``conv.parametrizations.weight.original0`` is ``conv.weight_g``.
    """
    found = _PARAMETRIZED.fullmatch(key)
    part = found and _BEFORE_PARAMETRIZATIONS.get(found["part"])
    return f"{found['module']}{found['name']}_{part}" if found and part else ""


_NESTING = 4

TOOK = "took the weights of"
"""How a note begins that says which section was read."""


LONGEST_KEY = 1000
"""Characters of a key. Published models have a hundred or two."""


@dataclass(frozen=True)
class StateDict:
    """The weights, the dotted path of the dict they were in, the stripped prefix, what to tell the user."""

    tensors: dict[str, LazyTensor]
    section: str
    prefix: str
    notes: tuple[str, ...]


def find_state_dict(root: object, file: MappedFile, section: str | None) -> StateDict:
    """The state dict of a checkpoint, at ``section`` ("ema", "trainer.model") where that is given."""
    return _Search(file).find(root, section.split(".") if section else [])


def strip(state: StateDict, file: MappedFile, prefix: str = "") -> StateDict:
    """The weights without what wrappers put before every key.

    ``module.`` and ``_orig_mod.`` go where every key begins so. ``prefix`` is one that is asked for: keys
    without it are left out.
    """
    if longest := next((key for key in state.tensors if len(key) > LONGEST_KEY), None):
        raise file.refuse(
            f"has a key of {len(longest)} characters, {quote(longest)}; a key may have {LONGEST_KEY}"
        )
    if prefix:
        state = state if behind(prefix, state.tensors) else _without_wrappers(state)
        state = _with_prefix(state, prefix, file)
    return _without_wrappers(state)


def behind(prefix: str, keys: Iterable[str]) -> dict[str, str]:
    """The keys that begin with a prefix, whose final dot may be left out, by what is left of them."""
    prefix = prefix if prefix.endswith(".") else f"{prefix}."
    return {key.removeprefix(prefix): key for key in keys if key.startswith(prefix)}


def _without_wrappers(state: StateDict) -> StateDict:
    keys, prefix = list(state.tensors), ""
    while wrapper := next(
        (w for w in WRAPPERS if keys and all(key.startswith(prefix + w) for key in keys)), ""
    ):
        prefix += wrapper
    if not prefix:
        return state
    note = f"stripped {quote(prefix)} from {'its only key' if len(keys) == 1 else f'all {len(keys)} keys'}"
    tensors = {key[len(prefix) :]: tensor for key, tensor in state.tensors.items()}
    return StateDict(tensors, state.section, state.prefix + prefix, (*state.notes, note))


def _with_prefix(state: StateDict, prefix: str, file: MappedFile) -> StateDict:
    taken = behind(prefix, state.tensors)
    if not taken:
        keys = listing(list(state.tensors))
        raise file.refuse(f"has no key that begins with {quote(prefix)}; its keys are {keys}")
    used = {*taken.values()}
    others = [key for key in state.tensors if key not in used]
    notes = [f"left out what does not begin with {quote(prefix)}: {listing(others)}"] if others else []
    tensors = {key: state.tensors[old] for key, old in taken.items()}
    return StateDict(tensors, state.section, state.prefix + prefix, (*state.notes, *notes))


class _Search:
    """Looks for the weights in nested dicts.

    A pickle can hold one dict in many places, so that each is looked through once.
    """

    def __init__(self, file: MappedFile) -> None:
        self.file = file
        self.seen: dict[int, bool] = {}

    def find(self, root: object, section: list[str]) -> StateDict:
        found, path = self.mapping(root), list(section)
        notes: list[str] = []
        for name in path:
            found = self.mapping(self.descend(found, name))
        while (
            len(path) < _NESTING
            and found
            and (not self.has_tensors(found) or (self.known(found) and not section))
        ):
            name = self.choose(found, notes)
            found = self.mapping(found[name])
            path.append(name)
        if found and not self.has_tensors(found):
            raise self.file.refuse(f"holds no tensors under {quote('.'.join(path))}")
        tensors = {
            key: value
            for key, value in found.items()
            if isinstance(key, str) and isinstance(value, LazyTensor)
        }
        if others := [key for key in found if key not in tensors]:
            notes.append(f"passed over what is not a tensor: {_listing(others)}")
        return StateDict(tensors, ".".join(path), "", tuple(notes))

    def mapping(self, value: object) -> dict[object, Any]:
        if isinstance(value, dict):
            return value
        kind = "a tensor" if isinstance(value, LazyTensor) else _kind(value)
        raise self.file.refuse(f"holds {kind} where a state dict was expected", "save `model.state_dict()`")

    def has_tensors(self, value: object) -> bool:
        if not isinstance(value, dict):
            return False
        if id(value) not in self.seen:
            self.seen[id(value)] = any(isinstance(item, LazyTensor) for item in value.values())
        return self.seen[id(value)]

    def known(self, found: dict[object, Any]) -> list[str]:
        """The known names under which a dict has state dicts, in order of preference."""
        return [name for name in (*SECTIONS, *AVERAGED) if self.has_tensors(found.get(name))]

    def holds_weights(self, value: object) -> bool:
        """Whether a dict is a state dict, or has one under a known name directly inside."""
        return isinstance(value, dict) and (self.has_tensors(value) or bool(self.known(value)))

    def choose(self, found: dict[object, Any], notes: list[str]) -> str:
        """The name under which the weights are; says so where others hold weights too."""
        candidates = [name for name in (*SECTIONS, *AVERAGED) if self.holds_weights(found.get(name))]
        others = [key for key, value in found.items() if isinstance(key, str) and self.has_tensors(value)]
        if not candidates and len(others) == 1:
            candidates = others
        if not candidates and others:
            raise self.file.refuse(
                f"holds several state dicts: {listing(others)}",
                f"name the one to take: `--section {printable(others[0])}`, in Python `section = …`",
            )
        if not candidates:
            raise self.file.refuse(f"holds no state dict; its keys are {_listing(found)}")
        if rest := [name for name in dict.fromkeys([*candidates, *others]) if name != candidates[0]]:
            notes.append(f"{TOOK} {quote(candidates[0])}; {listing(rest)} also hold weights")
        return candidates[0]

    def descend(self, found: dict[object, Any], name: str) -> object:
        if name not in found:
            raise self.file.refuse(f"has nothing named {quote(name)}; its keys are {_listing(found)}")
        return found[name]


def _listing(keys: Iterable[object]) -> str:
    """The first few keys of a dict from a pickle, of which some are not strings."""
    return listing([key.name if isinstance(key, Opaque) else str(key) for key in keys])


def _kind(value: object) -> str:
    return f"an object of {quote(value.name)}" if isinstance(value, Opaque) else f"a {type(value).__name__}"
