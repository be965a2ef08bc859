"""What a module keeps between calls, and an engine does not."""

from __future__ import annotations

import torch
from torch import nn

import trtdsl


class Counter(nn.Module):
    """Adds what it has counted, and counts on."""

    seen: torch.Tensor

    def __init__(self, persistent: bool, counts: bool) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(4), persistent=persistent)
        self.fc = nn.Linear(4, 4)
        self.counts = counts

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.fc(x) + self.seen
        if self.counts:
            self.seen[1:].add_(1.0)
        return y


def warnings(module: nn.Module) -> list[str]:
    imported = trtdsl.import_module(module, {"x": "float32[N, 4]"}, {"N": "1 .. 2 .. 8"})
    return [each.message for each in imported.notes if each.severity == "warning"]


def test_a_buffer_that_is_written_is_told() -> None:
    (message,) = warnings(Counter(persistent=True, counts=True))
    assert message.startswith("the module writes to its buffer `seen` when it is called")


def test_a_buffer_without_a_key_too() -> None:
    assert len(warnings(Counter(persistent=False, counts=True))) == 1


def test_a_buffer_that_is_only_read_is_not() -> None:
    assert warnings(Counter(persistent=True, counts=False)) == []
