"""Finds the weights in what a training script saved.

    {"epoch": 90, "state_dict": {"module.conv1.weight": …}, "optimizer": {…}}

becomes ``{"conv1.weight": …}``, and what was passed over is said in notes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trtdsl.weights.file import MappedFile, listing, quote
from trtdsl.weights.tensor import LazyTensor
from trtdsl.weights.torch_objects import Opaque

# In order of preference. Averaged weights come last: whoever wants them says so.
SECTIONS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params")
AVERAGED = ("ema", "state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "params_ema")

# What DataParallel and torch.compile put before every key.
WRAPPERS = ("module.", "_orig_mod.")

_NESTING = 4


@dataclass(frozen=True)
class StateDict:
    """The weights, the dotted path of the dict they were in, the stripped prefix, what to tell the user."""

    tensors: dict[str, LazyTensor]
    section: str
    prefix: str
    notes: tuple[str, ...]


def find_state_dict(root: object, file: MappedFile, section: str | None) -> StateDict:
    """The state dict of a checkpoint, at ``section`` ("ema", "trainer.model") where that is given."""
    found = _mapping(root, file)
    path: list[str] = section.split(".") if section else []
    notes: list[str] = []
    for name in path:
        found = _mapping(_descend(found, name, file), file)
    while len(path) < _NESTING and found and (not _has_tensors(found) or (_known(found) and not section)):
        name = _choose(found, file, notes)
        found = _mapping(found[name], file)
        path.append(name)
    if found and not _has_tensors(found):
        raise file.refuse(f"holds no tensors under {quote('.'.join(path))}")
    tensors = {
        key: value for key, value in found.items() if isinstance(key, str) and isinstance(value, LazyTensor)
    }
    if others := [str(key) for key in found if key not in tensors]:
        notes.append(f"passed over what is no tensor: {listing(others)}")
    return unwrap(StateDict(tensors, ".".join(path), "", tuple(notes)))


def unwrap(state: StateDict) -> StateDict:
    """Strips ``module.`` and ``_orig_mod.`` where every key begins so."""
    keys = list(state.tensors)
    prefix = ""
    while wrapper := next(
        (w for w in WRAPPERS if keys and all(key.startswith(prefix + w) for key in keys)), ""
    ):
        prefix += wrapper
    if not prefix:
        return state
    tensors = {key[len(prefix) :]: tensor for key, tensor in state.tensors.items()}
    note = f"stripped {quote(prefix)} from all {len(keys)} keys"
    return StateDict(tensors, state.section, prefix, (*state.notes, note))


def _mapping(value: object, file: MappedFile) -> dict[object, Any]:
    if isinstance(value, dict):
        return value
    kind = "a tensor" if isinstance(value, LazyTensor) else _kind(value)
    raise file.refuse(f"holds {kind} where a state dict was expected", "save `model.state_dict()`")


def _kind(value: object) -> str:
    return f"an object of {quote(value.name)}" if isinstance(value, Opaque) else f"a {type(value).__name__}"


def _has_tensors(value: object) -> bool:
    return isinstance(value, dict) and any(isinstance(item, LazyTensor) for item in value.values())


def _holds_weights(value: object) -> bool:
    """Whether a dict is a state dict, or has one under a known name directly inside."""
    return isinstance(value, dict) and (_has_tensors(value) or bool(_known(value)))


def _known(found: dict[object, Any]) -> list[str]:
    """The known names under which a dict has state dicts, in order of preference."""
    return [name for name in (*SECTIONS, *AVERAGED) if _has_tensors(found.get(name))]


def _choose(found: dict[object, Any], file: MappedFile, notes: list[str]) -> str:
    """The name under which the weights are; says so where others hold weights too."""
    candidates = [name for name in (*SECTIONS, *AVERAGED) if _holds_weights(found.get(name))]
    others = [key for key, value in found.items() if isinstance(key, str) and _has_tensors(value)]
    if not candidates and len(others) == 1:
        candidates = others
    if not candidates and others:
        raise file.refuse(
            f"holds several state dicts: {listing(others)}",
            "name the one to take: `load_checkpoint(path, section=…)`",
        )
    if not candidates:
        raise file.refuse(f"holds no state dict; its keys are {listing([str(key) for key in found])}")
    if rest := [name for name in dict.fromkeys([*candidates, *others]) if name != candidates[0]]:
        notes.append(f"took the weights of {quote(candidates[0])}; {listing(rest)} also hold weights")
    return candidates[0]


def _descend(found: dict[object, Any], name: str, file: MappedFile) -> object:
    if name not in found:
        keys = [str(key) for key in found]
        raise file.refuse(f"has nothing named {quote(name)}; its keys are {listing(keys)}")
    return found[name]
