"""Names for a program's outputs.

In: the shape of what ``forward`` returns, as torch.export keeps it.  Out: ``{"logits": …}`` → ``logits``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from trtdsl.ir.names import NEVER_NAMES


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
    """Names for outputs from where ``forward`` returns them: the last key on the way, if one has it; with the
    numbers behind it, and the keys before it as far as others have it too.
    """
    keys = [tuple(str(_step(each)) for each in path) for path in paths]
    stems = [_stem(path) for path in keys]
    names: list[str] = []
    for path, stem in zip(keys, stems, strict=True):
        is_alone = bool(stem) and [each[-1:] for each in stems].count(stem[-1:]) == 1
        parts = stem[-1:] if is_alone else (*_shortest(stem, stems), *path[len(stem) :])
        name = re.sub(r"\W", "_", "_".join(parts))
        names.append(f"{name}_" if name in NEVER_NAMES else name)
    return names


def _stem(path: tuple[str, ...]) -> tuple[str, ...]:
    """A path without the numbers at its end."""
    return path[: max((number for number, key in enumerate(path, 1) if not key.isdigit()), default=0)]


def _shortest(stem: tuple[str, ...], stems: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The end of a stem that begins with a name and no other stem has."""
    for start in range(len(stem) - 1, -1, -1):
        end = stem[start:]
        if not end[0].isdigit() and {each for each in stems if each[-len(end) :] == end} == {stem}:
            return end
    return ("output", *stem)


def _step(step: Any) -> object:
    return getattr(step, "key", getattr(step, "name", getattr(step, "idx", "")))
