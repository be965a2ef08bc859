"""What an engine is, as a table, from its manifest: no GPU is needed."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, cast

from trtdsl.runtime.binding import show_binding
from trtdsl.trt.manifest import Manifest, ProfileEntry


def show_manifest(manifest: Manifest, *, layers: bool = False, weights: bool = False) -> str:
    """The engine's inputs, outputs and profiles, what built it, and on demand every layer and weight."""
    lines = [
        f"model      {manifest.model}",
        f"engine     {manifest.size} bytes, sha256 {manifest.sha256}",
        f"built by   {manifest.runtime} {manifest.runtime_version}, trtdsl {manifest.trtdsl}",
        f"for        {show_targets(manifest)}",
        f"precision  {manifest.arithmetic}",
        f"passes     {', '.join(manifest.passes) or 'none'}",
        f"kernels    {', '.join(manifest.tactic_sources) or 'of TensorRT itself'}",
    ]
    if manifest.recipe:
        lines.append(f"recipe     {_show_recipe(manifest.recipe)}")
    for plugin in manifest.plugins:
        lines.append(f"plugin     {plugin.name} version {plugin.version}")
    if manifest.plugin_libraries:
        lines.append(f"libraries  {', '.join(manifest.plugin_libraries)}")
    if manifest.command:
        lines.append(f"command    {shlex.join(['trtdsl', *manifest.command])}")
    lines += [f"input      {binding.name}: {show_binding(binding)}" for binding in manifest.inputs]
    lines += [f"output     {binding.name}: {show_binding(binding)}" for binding in manifest.outputs]
    for profile in manifest.profiles:
        lines.append(f"profile    {profile.name}: {show_ranges(profile) or 'nothing is dynamic'}")
    counts = Counter(layer.operator for layer in manifest.layers)
    most = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    lines.append(f"layers     {len(manifest.layers)} TensorRT layers, by operator: {most}")
    lines.append(f"weights    {len(manifest.weights)}")
    if layers:
        rows = [("layer", "operator", "source"), *((x.name, x.operator, x.source) for x in manifest.layers)]
        lines += ["", *_columns(rows)]
    if weights:
        shaped = ((w.key, f"{w.dtype}[{', '.join(map(str, w.shape))}]", w.sha256) for w in manifest.weights)
        lines += ["", *_columns([("weight", "type", "sha256"), *shaped])]
    return "\n".join(lines)


def _show_recipe(recipe: Mapping[str, Any]) -> str:
    """``precision = int8, keep = {float16: head.*}, around = float16``: the words of a recipe as they are."""
    return ", ".join(f"{word} = {_shown(value)}" for word, value in recipe.items() if value not in ("", 0))


def _shown(value: Any) -> str:
    if not isinstance(value, Mapping):
        return str(value)
    tables = cast(Mapping[str, Sequence[str]], value).items()
    return "{" + ", ".join(f"{key}: {' '.join(labels)}" for key, labels in tables) + "}"


def show_ranges(profile: ProfileEntry) -> str:
    """``N = 1 .. 8 .. 64, H = 8 .. 16 .. 64``."""
    return ", ".join(f"{n} = {low} .. {best} .. {high}" for n, (low, best, high) in profile.dims.items())


def show_targets(manifest: Manifest) -> str:
    """``sm89, sm120``, or what it means that none is named."""
    return ", ".join(manifest.targets) or "its default targets"


def _columns(rows: list[tuple[str, str, str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}".rstrip() for a, b, c in rows]
