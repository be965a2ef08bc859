"""What a file of PyTorch's exporter says of the exported program: its inputs, and its state dict.

In: a ModelProto.  Out: a :class:`Signature`; an empty one for files of others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from trtdsl.importers.fx_calls import Placeholder, placeholders

_SIGNATURE = "pkg.torch.export.ExportedProgram.graph_signature"
_WEIGHTS = ("PARAMETER", "BUFFER")


class Signature(msgspec.Struct, frozen=True):
    """The placeholders of the exported program, by name."""

    placeholders: Mapping[str, Placeholder]
    inputs: tuple[str, ...] = ()
    """what the file calls its inputs"""

    @property
    def is_known(self) -> bool:
        return bool(self.placeholders)

    @property
    def weights(self) -> frozenset[str]:
        """The keys of the state dict."""
        return frozenset(
            each.target for each in self.placeholders.values() if each.kind in _WEIGHTS and each.is_persistent
        )

    @property
    def labels(self) -> Mapping[str, str]:
        """What the source calls the tensors that no state dict has, by the file's names for them."""
        others = [
            (name, each)
            for name, each in self.placeholders.items()
            if each.kind not in ("USER_INPUT", *_WEIGHTS) or not each.is_persistent
        ]
        found: dict[str, str] = {}
        for name, each in others:
            label = each.target.rpartition(".")[2] if each.kind == "BUFFER" else ""
            found |= {name: label, each.target: label}
        return found

    def value_of(self, name: str) -> str:
        """What the file calls a placeholder, or a value that is none."""
        found = self.placeholders.get(name)
        if found is None:
            return name
        if found.kind == "USER_INPUT":
            inputs = [each for each, other in self.placeholders.items() if other.kind == "USER_INPUT"]
            return self.inputs[inputs.index(name)] if len(inputs) == len(self.inputs) else name
        return found.target


def signature_of(model: Any) -> Signature:
    """The signature of a model."""
    metadata = {each.key: each.value for each in getattr(model.graph, "metadata_props", ())}
    initialised = {each.name for each in model.graph.initializer}
    inputs = tuple(each.name for each in model.graph.input if each.name not in initialised)
    return Signature(placeholders(metadata.get(_SIGNATURE, "")), inputs)
