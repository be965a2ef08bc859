"""Names for a program's outputs.

In: the shape of what ``forward`` returns, as torch.export keeps it.  Out: ``{"logits": …}`` → ``logits``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any


def output_names(spec: Any, count: int) -> list[str]:
    """A name for each of so many outputs; a number where what ``forward`` returns does not name it."""
    paths = _paths(spec)
    names = _names(paths) if len(paths) == count else [""] * count
    return [name or f"output{number}" for number, name in enumerate(names)]


def _paths(spec: Any) -> list[Sequence[Any]]:
    """Where each output stands in what ``forward`` returns; nothing where a class does not tell."""
    import torch.utils._pytree as pytree

    if not spec:
        return []
    whole = spec.unflatten([0] * spec.num_leaves)
    try:
        return [path for path, _ in pytree.tree_flatten_with_path(whole)[0]]
    except ValueError:  # of classes that say how they are flattened, but no keys
        return [(pytree.MappingKey(key),) for key in whole] if isinstance(whole, Mapping) else []


def _names(paths: Sequence[Sequence[Any]]) -> list[str]:
    """Names for outputs from where ``forward`` returns them: the last key on the way, if one has it."""
    keys = [[str(_step(each)) for each in path] for path in paths]
    last = [next((key for key in reversed(path) if not key.isdigit()), "") for path in keys]
    names: list[str] = []
    for path, name in zip(keys, last, strict=True):
        if not name or last.count(name) > 1:
            name = "_".join(("output", *path))
        names.append(re.sub(r"\W", "_", name))
    return names


def _step(step: Any) -> object:
    return getattr(step, "key", getattr(step, "name", getattr(step, "idx", "")))
