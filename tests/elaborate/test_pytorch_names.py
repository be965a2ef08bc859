"""PyTorch's names: each is one of torch's, and advice is given of those only that the language lacks."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torchvision import transforms
from torchvision.transforms import functional

from tests.elaborate.bodies import graph_of, mistakes_of
from trtdsl.diagnostics import DiagnosticError
from trtdsl.elaborate.builtins import prelude
from trtdsl.ops import pytorch_names, unsupported

PLACES = (torch.nn, torch.nn.functional, torch, torch.Tensor)
FURTHER = (*PLACES, torch.fft, torch.linalg, torchvision.ops)


@pytest.mark.parametrize("name", sorted(pytorch_names.NAMES))
def test_torch_has_it(name: str) -> None:
    assert any(hasattr(place, name) for place in PLACES)


@pytest.mark.parametrize("name", sorted(unsupported.REASONS))
def test_what_an_engine_cannot_do_is_torchs_and_not_in_the_language(name: str) -> None:
    assert any(hasattr(place, name) for place in FURTHER)
    assert name not in prelude()
    assert not {name} & {*pytorch_names.SYNONYMS, *pytorch_names.INSTEAD}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fft", "TensorRT has neither complex numbers nor Fourier transforms"),
        ("angle", "TensorRT has no complex numbers"),
        ("double", "TensorRT has no float64: write `float`"),
        ("rand_like", "an engine draws no random numbers"),
        ("cross_entropy", "a loss is for training"),
        ("moveaxis", "write `movedim`"),
    ],
)
def test_a_name_that_torch_has_is_answered_with_the_reason(name: str, words: str) -> None:
    with pytest.raises(DiagnosticError) as caught:
        graph_of(f"output y = x -> {name}")
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.message == f"unknown name `{name}`"
    assert any(words in line for line in diagnostic.help)


def test_what_is_written_instead_is_in_the_language() -> None:
    assert set(pytorch_names.SYNONYMS) <= pytorch_names.NAMES
    assert set(pytorch_names.SYNONYMS.values()) <= set(prelude())
    assert not {*pytorch_names.SYNONYMS, *pytorch_names.INSTEAD} & set(prelude())


def test_torchvisions_transforms_are_answered_with_what_to_write() -> None:
    for name in pytorch_names.IMAGES:
        assert hasattr(transforms, name) or hasattr(functional, name)
        assert name not in prelude()
    for name in pytorch_names.NAMESAKES:
        assert hasattr(functional, name)
        assert name in prelude()
    with pytest.raises(DiagnosticError, match="help: write `flip\\(x, -1\\)`"):
        graph_of("output y = hflip(x)")


def test_other_names_get_a_guess() -> None:
    assert mistakes_of("output y = relux(x)") == ["unknown name `relux`, did you mean `relu`?"]
