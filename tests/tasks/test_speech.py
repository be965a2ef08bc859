"""Where somebody speaks, beside silero-vad with the same weights."""

from __future__ import annotations

import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from silero_vad import load_silero_vad

from tests.tasks.scripts import EXAMPLES, script

sys.path.append(str(EXAMPLES / "silero_vad"))
speech: Any = script("silero_vad/mark_speech.py")
IN_A_SENTENCE = 16_000
"""A sample in the middle of the first sentence."""


@pytest.fixture(scope="module")
def listener() -> Any:
    return speech.Listener(device="cpu")


@pytest.fixture(scope="module")
def sound() -> Any:
    return speech.made()


def test_probabilities_are_those_of_silero(listener: Any, sound: Any) -> None:
    original: Any = load_silero_vad()
    expected = original.audio_forward(torch.from_numpy(sound), sr=16_000)[0].numpy()
    found = listener.probabilities(sound)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-4
    assert found.max() > 0.9 and found.min() < 0.05


def test_the_state_is_carried(listener: Any, sound: Any) -> None:
    chunk = sound[IN_A_SENTENCE : IN_A_SENTENCE + 512]
    listener.forget()
    first = listener.hear(chunk)
    assert abs(listener.hear(chunk) - first) > 1e-3
    listener.forget()
    assert listener.hear(chunk) == first


def test_the_sentences_are_marked_and_the_chord_is_not(listener: Any, sound: Any, tmp_path: Path) -> None:
    probabilities = listener.probabilities(sound)
    marked = np.zeros(len(sound), bool)
    for begin, end in speech.spoken(probabilities):
        marked[int(begin * 16_000) : int(end * 16_000)] = True
    loud = np.abs(sound) > 0.02
    chord = np.zeros(len(sound), bool)
    quiet = np.flatnonzero(~marked)
    middle = quiet[len(quiet) // 2]
    chord[middle - 8_000 : middle + 8_000] = True
    assert marked[loud & ~chord].mean() > 0.6
    assert not marked[chord].any() and loud[chord].mean() > 0.3
    speech.plot(sound, probabilities, tmp_path / "speech.png")
    assert (tmp_path / "speech.png").read_bytes().startswith(b"\x89PNG")


def test_runs_of_speech() -> None:
    chunk = speech.CHUNK / speech.RATE
    probabilities = np.array([0, 0.6, 0.4, 0.2, 0.6, 0.1, 0.1, 0.1, 0.1, 0.49, 0.9], np.float32)
    assert speech.spoken(probabilities) == [
        (pytest.approx(chunk), pytest.approx(5 * chunk)),
        (pytest.approx(10 * chunk), pytest.approx(11 * chunk)),
    ]
    assert speech.spoken(np.zeros(4, np.float32)) == []


def test_a_file_is_read_at_any_rate(tmp_path: Path) -> None:
    rate, seconds = 44_100, np.arange(44_100) / 44_100
    tone = (np.sin(2 * np.pi * 440 * seconds) * 16_384).astype("<i2")
    with wave.open(str(tmp_path / "tone.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.stack([tone, tone], 1).tobytes())
    found = speech.read(tmp_path / "tone.wav")
    expected = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000) / 2
    assert found.shape == (16_000,)
    assert np.abs(found - expected)[500:-500].max() < 1e-2
