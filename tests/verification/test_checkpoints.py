"""What a user has beside plain weights: unreadable buffers, a module's own state, ties, prefixes of keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

import trtdsl
from trtdsl.compile import check_file
from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate import elaborate_text
from trtdsl.options import CheckOptions

TEXT = "model m() { input x: float32[2, 4] output y = x -> fc: Linear(5) }"


class Net(nn.Module):
    """A layer, and a buffer that it does not read."""

    def __init__(self, extra: torch.Tensor) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 5)
        self.register_buffer("extra", extra)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x)


def test_a_buffer_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    module = Net(torch.eye(3).to_sparse())
    torch.save(module.state_dict(), tmp_path / "w.pth")
    with pytest.raises(DiagnosticError, match="has a tensor `extra` that cannot be read: it is sparse"):
        trtdsl.verify(elaborate_text(TEXT), tmp_path / "w.pth", module)


class Stateful(Net):
    def get_extra_state(self) -> Any:
        return {"steps": 3}

    def set_extra_state(self, state: Any) -> None:
        assert state == {"steps": 3}


@pytest.mark.parametrize("from_file", [True, False])
def test_state_that_is_not_a_tensor_is_passed_over(tmp_path: Path, from_file: bool) -> None:
    module = Stateful(torch.ones(3))
    torch.save(module.state_dict(), tmp_path / "w.pth")
    weights = tmp_path / "w.pth" if from_file else None
    assert trtdsl.verify(elaborate_text(TEXT), weights, module).equal


class Versioned(Net):
    """Refuses a state dict that does not say its version, as torchvision's MNASNet does."""

    _version = 2

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        if local_metadata.get("version") != 2:
            raise ValueError("version should be 2")
        keys = missing_keys, unexpected_keys, error_msgs
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, *keys)


@pytest.mark.parametrize("randomize", [True, False])
@pytest.mark.parametrize("from_file", [True, False])
def test_a_module_may_ask_for_its_state_s_version(tmp_path: Path, from_file: bool, randomize: bool) -> None:
    module = Versioned(torch.ones(3))
    torch.save(module.state_dict(), tmp_path / "w.pth")
    weights = tmp_path / "w.pth" if from_file else None
    assert trtdsl.verify(elaborate_text(TEXT), weights, module, randomize=randomize).equal


# --- Tied weights -----------------------------------------------------------------------------------------

TIED = """model m() {{
  input x: float32[2, 6]
  output y = x -> {first}: Linear(6, bias = false) -> relu -> {second}: Linear(6, bias = false)
}}"""


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 6, bias=False)
        self.b = nn.Linear(6, 6, bias=False)
        self.b.weight = self.a.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.a(x).relu())


@pytest.mark.parametrize("labels", [("a", "a"), ("b", "b"), ("a", "b")])
@pytest.mark.parametrize("kind", ["pth", "save_model", "only a", "only b"])
def test_a_file_that_holds_one_key_of_a_tied_pair(tmp_path: Path, labels: tuple[str, str], kind: str) -> None:
    module, path = Tied(), tmp_path / "w"
    if kind == "pth":
        torch.save(module.state_dict(), path)
    elif kind == "save_model":
        save_model(module, str(path))
    else:
        save_file({f"{kind[-1]}.weight": module.a.weight.detach()}, path)
    graph = elaborate_text(TIED.format(first=labels[0], second=labels[1]))
    found = trtdsl.verify(graph, path, Tied)
    assert found.equal
    assert found.notes == ()


class Untied(Tied):
    def __init__(self) -> None:
        super().__init__()
        self.b.weight = nn.Parameter(self.a.weight.detach().clone())


def test_equal_weights_that_the_module_does_not_tie_are_missing(tmp_path: Path) -> None:
    save_file({"a.weight": torch.ones(6, 6)}, tmp_path / "w")
    with pytest.raises(DiagnosticError, match=r"the checkpoint has no `b\.weight`, which Untied needs"):
        trtdsl.verify(elaborate_text(TIED.format(first="a", second="b")), tmp_path / "w", Untied)


# --- Prefixes ---------------------------------------------------------------------------------------------


def test_a_prefix_of_the_keys_is_proposed_and_taken(tmp_path: Path) -> None:
    module = Net(torch.ones(3))
    state = {f"model.{key}": value for key, value in module.state_dict().items()}
    torch.save({"state_dict": {**state, "loss.weight": torch.ones(1)}}, tmp_path / "w.ckpt")
    graph = elaborate_text(TEXT)
    with pytest.raises(DiagnosticError) as caught:
        trtdsl.verify(graph, tmp_path / "w.ckpt", module)
    assert "all of them are there below `model.`: `--weights-prefix model.`" in str(caught.value)
    assert trtdsl.verify(graph, tmp_path / "w.ckpt", module, weights_prefix="model.").equal
    assert trtdsl.verify(graph, state, module, weights_prefix="model.").equal
    with pytest.raises(DiagnosticError, match=r"has no key that begins with `net\.`"):
        trtdsl.verify(graph, state, module, weights_prefix="net.")


# --- Sections and keys that nobody reads ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "asked", "notes"),
    [
        (["net"], None, 1),
        (["state_dict"], None, 1),
        (["trainer", "model"], "trainer", 1),
        (["trainer", "model"], "trainer.model", 0),
        ([], None, 0),
    ],
)
def test_the_section_that_is_entered_is_said(
    tmp_path: Path, section: list[str], asked: str | None, notes: int
) -> None:
    module, path = nn.Sequential(), tmp_path / "w.pth"
    module.add_module("fc", nn.Linear(4, 5))
    saved: Any = module.state_dict()
    for name in reversed(section):
        saved = {name: saved}
    torch.save(saved, path)
    found = trtdsl.verify(elaborate_text(TEXT), path, module, section=asked)
    note = f"took the weights of `{'.'.join(section)}`, a section of `{path}`"
    assert found.equal
    assert found.notes == (note,) * notes
    (tmp_path / "m.trtnet").write_text(TEXT)
    checked = check_file(tmp_path / "m.trtnet", path, CheckOptions(section=asked))
    assert [(each.severity, each.message) for each in checked.warnings] == [("note", note)] * notes


def test_what_a_file_has_beside_its_weights_is_said(tmp_path: Path) -> None:
    module = Net(torch.ones(3))
    torch.save({**module.state_dict(), "epoch": 3}, tmp_path / "w.pth")
    found = trtdsl.verify(elaborate_text(TEXT), tmp_path / "w.pth", module)
    assert "passed over what is not a tensor: `epoch`" in found.notes


@pytest.mark.parametrize("own", [True, False])
def test_a_text_without_weights_reads_none_of_them(tmp_path: Path, own: bool) -> None:
    class Unread(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.relu()

    torch.save(Unread().state_dict(), tmp_path / "w.pth")
    graph = elaborate_text("model m() { input x: float32[2, 4] output y = relu(x) }")
    found = trtdsl.verify(graph, None if own else tmp_path / "w.pth", Unread())
    owner = "module" if own else "checkpoint"
    assert found.equal
    assert found.notes[-1] == f"the model never reads 2 keys of the {owner}: `fc.bias`, `fc.weight`"
