"""The recurrent examples compute what their PyTorch modules do, at any length, whole and piece by piece."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.zoo_entries import EXAMPLES, load_oracle
from tests.closeness import require_close
from trtdsl.elaborate import elaborate_file
from trtdsl.evaluate import evaluate
from trtdsl.passes import optimize
from trtdsl.reference import run, to_numpy
from trtdsl.trt.lower import lower
from trtdsl.weights import bind

SMALL: dict[str, Any] = {"vocabulary": 50, "hidden": 16}
MODELS = [
    ("language_model", "LanguageModel", {"layers": 3}),
    ("recurrence", "Recurrence", {}),
    ("recurrence", "Recurrence", {"bidirectional": True}),
]


@pytest.mark.parametrize(("model", "oracle", "options"), MODELS)
def test_equals_its_module(model: str, oracle: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    module = load_oracle(f"lstm/lstm.py:{oracle}")(**SMALL, **options).eval()
    graph = elaborate_file(EXAMPLES / "lstm" / "lstm.trtnet", model, SMALL | options)
    state = {key: to_numpy(value) for key, value in module.state_dict().items()}
    assert {weight.key: weight.type.shape for weight in graph.weights} == {
        k: v.shape for k, v in state.items()
    }
    graph = optimize(bind(graph, state).graph)
    lowered = lower(graph)
    layers = (options["layers"],) if "layers" in options else ()
    for length, batch in ((1, 1), (7, 3), (40, 2)):
        h0, c0 = torch.randn(*layers, batch, 16), torch.randn(*layers, batch, 16)
        inputs = {"tokens": torch.randint(0, 50, (length, batch)), "h0": h0, "c0": c0}
        with torch.no_grad():
            wanted = module(**inputs)
        found = evaluate(lowered.network, inputs, weights=lowered.weights)
        for one, other, value in zip(run(graph, inputs).values(), found.values(), wanted, strict=True):
            require_close(one, value)
            require_close(other, value)


def test_a_sequence_may_come_in_pieces() -> None:
    """The states that one call leaves are what the next begins with."""
    module = load_oracle("lstm/lstm.py:LanguageModel")(**SMALL).eval()
    graph = elaborate_file(EXAMPLES / "lstm" / "lstm.trtnet", "language_model", SMALL)
    graph = bind(graph, {key: to_numpy(value) for key, value in module.state_dict().items()}).graph
    lowered = lower(graph)
    tokens = torch.randint(0, 50, (9, 2))
    states = {"h0": torch.zeros(2, 2, 16), "c0": torch.zeros(2, 2, 16)}
    whole = evaluate(lowered.network, {"tokens": tokens, **states}, weights=lowered.weights)["logits"]
    pieces: list[torch.Tensor] = []
    for piece in tokens.split([4, 1, 4]):
        found = evaluate(lowered.network, {"tokens": piece, **states}, weights=lowered.weights)
        pieces.append(found["logits"])
        states = {"h0": found["h"], "c0": found["c"]}
    require_close(torch.cat(pieces), whole)
