"""The plugins of a runtime: its registry, and the libraries that fill it.

In: a runtime module.  Out: the creators of plugins by name, version and namespace, with what each declares of
its fields; UsageError for a library that cannot be loaded, and words for a plugin that is not there.

Before TensorRT 10 the registry lists creators of the second kind, as ``plugin_creator_list``; from then on it
has those of the third as well, as ``all_creators``.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from trtdsl.diagnostics import Diagnostic, UsageError, did_you_mean

_EXPORTS = ("getCreators", "getPluginCreators")
"""Functions of a library that TensorRT asks for its creators; another registers them as it is loaded."""

_MOST_SHOWN = 12


class PluginName(NamedTuple):
    """What a plugin is found by in the registry."""

    name: str
    version: str
    namespace: str = ""

    def __str__(self) -> str:
        where = f" of the namespace `{self.namespace}`" if self.namespace else ""
        return f"`{self.name}` version {self.version}{where}"


class PluginRegistry:
    """The registry of a runtime module, TensorRT's own plugins in it."""

    def __init__(self, trt: Any, logger: Any) -> None:
        self._trt = trt
        self._logger = logger
        self._loaded: dict[str, Any] = {}

    @cached_property
    def _registry(self) -> Any:
        # Loads TensorRT's own library of plugins, which registers them.
        self._trt.init_libnvinfer_plugins(self._logger, "")
        return self._trt.get_plugin_registry()

    @property
    def _creators(self) -> Sequence[Any]:
        attribute = "all_creators" if hasattr(self._registry, "all_creators") else "plugin_creator_list"
        return getattr(self._registry, attribute)

    def names(self) -> list[PluginName]:
        """Every plugin, in the order of the registry."""
        return [_name_of(creator) for creator in self._creators]

    def find(self, wanted: PluginName) -> Any | None:
        """The creator of a plugin."""
        return next((creator for creator in self._creators if _name_of(creator) == wanted), None)

    def missing(self, wanted: PluginName, runtime: str) -> tuple[str, tuple[str, ...]]:
        """What to say of a plugin that is not there: the message, and what helps."""
        alike = [each for each in self.names() if each.name == wanted.name]
        if alike:
            listed = " and ".join(dict.fromkeys(map(str, alike)))
            return f"{runtime} has no plugin {wanted}, but {listed}", ()
        known = sorted({each.name for each in self.names()})
        guess = did_you_mean(wanted.name, known)
        more = ", …" if len(known) > _MOST_SHOWN else ""
        shown = (
            f"its registry has {', '.join(known[:_MOST_SHOWN])}{more}" if known else "its registry is empty"
        )
        help = "load the library that has it: `--plugins LIBRARY.so` (`plugins=` in Python)"
        return f"{runtime} has no plugin `{wanted.name}`{guess}", (help,) if guess else (help, shown)

    def load(self, libraries: Sequence[str | Path]) -> None:
        """Load libraries, whose plugins are then in the registry; raises UsageError."""
        for library in libraries:
            # What is not a path is looked for as the system looks for libraries.
            path = str(Path(library).resolve() if Path(library).exists() else library)
            if path not in self._loaded:
                self._loaded[path] = self._load(path)

    def _load(self, path: str) -> Any:
        before = len(self._creators)
        try:
            library = ctypes.CDLL(path)
        except OSError as error:
            text = f"cannot load the plugin library `{path}`: {error}"
            raise UsageError(Diagnostic(text)) from error
        asked = any(hasattr(library, each) for each in _EXPORTS) and hasattr(self._registry, "load_library")
        if len(self._creators) == before and asked and self._registry.load_library(path) is None:
            raise UsageError(Diagnostic(f"TensorRT cannot take the plugins of the library `{path}`"))
        return library


def declared_fields(creator: Any) -> Mapping[str, str]:
    """The fields of a creator's plugin, and what TensorRT's ``PluginFieldType`` calls their types."""
    return dict(_fields(creator))


def _fields(creator: Any) -> Iterator[tuple[str, str]]:
    for field in creator.field_names or ():
        yield field.name, field.type.name


def _name_of(creator: Any) -> PluginName:
    return PluginName(creator.name, creator.plugin_version, creator.plugin_namespace)
