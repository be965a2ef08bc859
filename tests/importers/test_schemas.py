"""ATen's further names of operations: they take what the operation takes, and are read as it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.importers.comparing import held
from trtdsl.importers.reading import Reading
from trtdsl.importers.schemas import ALIASES, overload_of, plain_name


def schemas(name: str) -> list[list[str]]:
    """The names of the arguments of each overload, but for those that write elsewhere."""
    packet = getattr(torch.ops.aten, name)
    found = [[each.name for each in getattr(packet, one)._schema.arguments] for one in packet.overloads()]
    return [names for names in found if "out" not in names]


@pytest.mark.parametrize("name", ALIASES)
def test_a_further_name_takes_what_the_operation_takes(name: str) -> None:
    theirs = schemas(ALIASES[name])
    assert schemas(name)
    for arguments in schemas(name):
        assert arguments in theirs


def test_names_in_place_and_with_overloads() -> None:
    assert overload_of(torch.ops.aten.multiply_.Scalar) == "mul_.Scalar"
    assert overload_of(torch.ops.aten.absolute.default) == "abs"
    assert plain_name("aten.__and__.Tensor") == "__and__.Tensor"


class Renamed(nn.Module):
    """A few of them at work, one in place."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.subtract(torch.multiply(x, 2.0), 0.5)
        y.divide_(3)
        y = torch.concat([torch.absolute(y), torch.special.expit(x)], 1)
        return torch.where(torch.greater(y, 0.4), y, torch.arctan2(y, y + 1))


def test_nothing_is_taken_apart_for_a_further_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reading, "in_parts", lambda reading, names: pytest.fail(str(names)))
    held(Renamed(), {"x": "float32[N, 4]"})
