"""Whether an engine can run here: the trtdsl, the TensorRT, the libraries and the GPU that it was built for.

In: an engine's manifest and what is at hand.  Out: nothing, or a RefusedByTensorRT that says what differs and
how the engine is built anew.  ``path`` is where the engine lies, where it lies anywhere.
"""

from __future__ import annotations

import shlex
from collections.abc import Container, Sequence
from pathlib import Path

from trtdsl.diagnostics import Diagnostic, RefusedByTensorRT
from trtdsl.runtime.cuda import Device
from trtdsl.trt.dialect import Dialect
from trtdsl.trt.manifest import NOT_INSTALLED, Manifest, own_version
from trtdsl.trt.registry import PluginName
from trtdsl.trt.tactics import LIBRARIES, Lack


def require_release(manifest: Manifest, path: Path | str | None = None) -> None:
    """Refuse an engine of another trtdsl, whose manifest may mean something else."""
    built, here = manifest.trtdsl, own_version()
    if built != here and NOT_INSTALLED not in (built, here):
        text = f"the engine was built by trtdsl {built}, but trtdsl {here} is installed"
        raise RefusedByTensorRT(Diagnostic(text, help=(compile_again(manifest, path),)))


def require_runtime(manifest: Manifest, dialect: Dialect, path: Path | str | None = None) -> None:
    """Refuse an engine of another release of TensorRT."""
    built, here = f"{manifest.runtime} {manifest.runtime_version}", str(dialect)
    if built == here:
        return
    text = f"the engine was built by {built}, but {here} is installed: engines cannot move between releases"
    again = compile_again(manifest, path, runtime=dialect.name)
    raise RefusedByTensorRT(Diagnostic(text, help=(again, f"or install {built}")))


def require_libraries(manifest: Manifest, dialect: Dialect, path: Path | str | None = None) -> None:
    """Refuse an engine that may call a stand-in for a library, which may end the process."""
    if any(lack.is_stand_in for lack in _lacking(manifest, dialect).values()):
        text = "the engine may call a library that this machine has a stand-in for"
        raise RefusedByTensorRT(Diagnostic(text, help=missing_libraries(manifest, dialect, path)))


def require_plugins(manifest: Manifest, dialect: Dialect, libraries: Sequence[str | Path]) -> None:
    """Load libraries of plugins, and refuse an engine with a plugin that none of them, nor TensorRT, has.

    Nothing is loaded but what the caller names: a library is a program, and a manifest only a text.
    """
    dialect.plugins.load(libraries)
    for plugin in manifest.plugins:
        name = PluginName(plugin.name, plugin.version, plugin.namespace)
        if dialect.plugins.find(name) is None:
            again = ",".join(manifest.plugin_libraries) or "LIBRARY.so"
            help = f"load the library that has it: `--plugins {again}` (`plugins=` in Python)"
            text = f"the engine has the plugin {name}, which is not in the registry of {dialect}"
            raise RefusedByTensorRT(Diagnostic(text, help=(help,)))


def missing_libraries(
    manifest: Manifest, dialect: Dialect, path: Path | str | None = None
) -> tuple[str, ...]:
    """What to say of the libraries that an engine may call and this machine lacks, where there are any."""
    reasons = [
        f"the engine may call {LIBRARIES[source].name}, which cannot be used here: {lack}"
        for source, lack in _lacking(manifest, dialect).items()
    ]
    return (*reasons, f"install it, or {compile_again(manifest, path)}") if reasons else ()


def _lacking(manifest: Manifest, dialect: Dialect) -> dict[str, Lack]:
    lacking = dialect.unusable_tactics
    return {source: lacking[source] for source in manifest.tactic_sources if source in lacking}


def require_target(manifest: Manifest, device: Device, path: Path | str | None = None) -> None:
    """Refuse an engine that was built for GPUs of other compute capabilities."""
    targets = [target.lower() for target in manifest.targets]
    if not targets or device.target in targets:
        return
    text = f"the engine was built for {', '.join(targets)}, but {device.name} is {device.target}"
    raise RefusedByTensorRT(Diagnostic(text, help=(compile_again(manifest, path, target=device.target),)))


def compile_again(
    manifest: Manifest, path: Path | str | None = None, *, target: str = "", runtime: str = ""
) -> str:
    """What to do to have the engine built anew, for a further target or with another runtime where given.

    TensorRT builds for the GPU it runs on; TensorRT-RTX is told its targets by name.
    """
    changes: dict[str, str | None] = {}
    by_name = (runtime or manifest.runtime) == "tensorrt_rtx"
    if runtime and runtime != manifest.runtime:
        changes["--runtime"] = runtime
    if target and by_name:
        changes["--target"] = ",".join((target, *manifest.targets))
    elif not by_name:
        changes["--target"] = None
    flags = [part for name, value in changes.items() if value for part in (name, value)]
    if not manifest.command:
        return "compile the model again" + (f" with `{shlex.join(flags)}`" if flags else "")
    output = ["--output", str(path)] if path else []
    command = shlex.join(["trtdsl", *_without(changes, manifest.command), *output, *flags])
    return f"compile the model again: `{command}`"


def _without(names: Container[str], command: Sequence[str]) -> list[str]:
    """The command less these options and their values."""
    kept: list[str] = []
    arguments = iter(command)
    for argument in arguments:
        if argument in names:
            next(arguments, None)
        else:
            kept.append(argument)
    return kept
