"""Where the weights are in what training scripts save."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from trtdsl.diagnostics import DiagnosticError
from trtdsl.weights import Checkpoint, load_checkpoint
from trtdsl.weights.state_dict import AVERAGED, SECTIONS

W = {"fc.weight": torch.ones(2, 2), "fc.bias": torch.zeros(2)}
V = {"fc.weight": torch.zeros(2, 2), "fc.bias": torch.zeros(2)}


def prefixed(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + key: tensor for key, tensor in W.items()}


@pytest.fixture
def loaded(tmp_path: Path):
    def load(value: object, section: str | None = None, prefix: str | None = None) -> Checkpoint:
        torch.save(value, tmp_path / "w.pth")
        return load_checkpoint(tmp_path / "w.pth", section=section, prefix=prefix)

    return load


@pytest.mark.parametrize("section", [*SECTIONS, *AVERAGED])
def test_known_sections(loaded: Any, section: str):
    weights = loaded(
        {"epoch": 3, section: OrderedDict(W), "optimizer": {"state": {0: {"step": torch.ones(1)}}}}
    )
    assert (list(weights), weights.section, weights.prefix, weights.notes) == (list(W), section, "", ())


def test_a_flat_state_dict_has_no_section(loaded: Any):
    weights = loaded(W)
    assert (list(weights), weights.section, weights.prefix, weights.notes) == (list(W), "", "", ())


def test_an_unknown_section_is_taken_where_it_is_the_only_one(loaded: Any):
    assert loaded({"epoch": 3, "resnet": W}).section == "resnet"


def test_sections_within_sections(loaded: Any):
    assert loaded({"trainer": 1, "state_dict": {"model": W, "step": 3}}).section == "state_dict.model"


def test_weights_beat_averaged_ones_and_it_is_said(loaded: Any):
    weights = loaded({"ema": V, "model": W})
    assert weights["fc.weight"].all()
    assert weights.notes == ("took the weights of `model`; `ema` also hold weights",)


def test_a_section_can_be_asked_for(loaded: Any):
    weights = loaded({"ema": V, "model": W}, "ema")
    assert not weights["fc.weight"].any()
    assert (weights.section, weights.notes) == ("ema", ())
    assert loaded({"a": {"b": W}}, "a.b").section == "a.b"


def test_a_section_that_is_not_there(loaded: Any):
    with pytest.raises(DiagnosticError, match="has nothing named `emma`; its keys are `ema`, `model`"):
        loaded({"ema": V, "model": W}, "emma")


def test_tensors_beside_a_section_do_not_hide_it(loaded: Any):
    assert loaded({"epoch": torch.tensor(3), "state_dict": W}).section == "state_dict"


def test_several_unknown_sections_are_not_guessed(loaded: Any):
    with pytest.raises(DiagnosticError, match="holds several state dicts: `generator`, `discriminator`"):
        loaded({"generator": W, "discriminator": V})
    assert loaded({"generator": W, "discriminator": V}, "generator").section == "generator"


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_wrappers_are_stripped(loaded: Any, prefix: str):
    weights = loaded({"state_dict": prefixed(prefix)})
    assert (list(weights), weights.prefix) == (list(W), prefix)
    assert weights.notes == (f"stripped `{prefix}` from all 2 keys",)


def test_a_wrapper_on_some_keys_is_a_name(loaded: Any):
    weights = loaded({**W, "module.x": torch.ones(1)})
    assert (list(weights), weights.prefix) == ([*W, "module.x"], "")


@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod."])
@pytest.mark.parametrize("prefix", ["model.", "model"])
def test_a_prefix_that_is_asked_for_is_stripped(loaded: Any, wrapper: str, prefix: str):
    value = {"state_dict": {**prefixed(f"{wrapper}model."), f"{wrapper}loss.weight": torch.ones(1)}}
    weights = loaded(value, prefix=prefix)
    assert list(weights) == list(W)
    assert weights.notes[-1] == f"left out what does not begin with `{prefix}`: `loss.weight`"
    assert list(loaded(value)) == ["model.fc.weight", "model.fc.bias", "loss.weight"]


def test_wrappers_behind_a_prefix_are_stripped(loaded: Any):
    assert list(loaded(prefixed("model._orig_mod."), prefix="model.")) == list(W)
    assert list(loaded(prefixed("model._orig_mod."), prefix="model._orig_mod.")) == list(W)


def test_a_prefix_of_all_keys_alone_leaves_no_note(loaded: Any):
    weights = loaded(prefixed("model."), prefix="model.")
    assert (list(weights), weights.prefix, weights.notes) == (list(W), "model.", ())


def test_a_prefix_that_no_key_has_is_refused(loaded: Any):
    with pytest.raises(
        DiagnosticError, match=r"has no key that begins with `net\.`; its keys are `model\.fc"
    ):
        loaded(prefixed("model."), prefix="net.")


def test_values_that_are_no_tensors_are_passed_over(loaded: Any):
    weights = loaded({**W, "_extra_state": None, "version": 3, 7: torch.ones(1)})
    assert list(weights) == list(W)
    assert weights.notes == ("passed over what is not a tensor: `_extra_state`, `version`, `7`",)


def test_an_empty_state_dict_is_a_checkpoint(loaded: Any):
    assert list(loaded(torch.nn.ReLU().state_dict())) == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.ones(2), "holds a tensor where a state dict was expected"),
        ([torch.ones(2)], "holds a list where a state dict was expected"),
        (3, "holds a int where a state dict was expected"),
        ({"epoch": 3, "lr": 0.1}, "holds no state dict; its keys are `epoch`, `lr`"),
        ({"a": {"b": {"c": {"d": {"e": {"f": W}}}}}}, "holds no state dict"),
    ],
)
def test_what_holds_no_state_dict(loaded: Any, value: object, message: str):
    with pytest.raises(DiagnosticError) as caught:
        loaded(value)
    assert message in str(caught.value)
