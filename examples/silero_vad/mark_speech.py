"""Mark where somebody speaks in a sound, chunk by chunk as it would come from a microphone.

    python examples/silero_vad/mark_speech.py SOUND.wav -o speech.png

`silero_vad.trtnet` with the weights of the package silero-vad. Without a SOUND it is one that espeak-ng makes
here: two sentences in faint noise, and a chord of tones between them.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
import wave
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import trtdsl

Array = npt.NDArray[Any]

RATE = 16_000
CHUNK, BEFORE = 512, 64
"""Samples that are new to the network, and those that it is shown again."""
BEGIN, END = 0.5, 0.35
"""How probable speech must be to begin, and below which it ends."""
PAUSE = 0.1
"""Seconds that are no end yet."""


class Listener:
    """One stream of sound: what it heard last, and the state of the network.

    `weights` are arrays by the names that silero-vad's ONNX files have for them.
    """

    def __init__(self, weights: Mapping[str, Array] | None = None, device: Any = None) -> None:
        graph = trtdsl.elaborate_file(Path(__file__).with_name("silero_vad.trtnet"))
        self.network = trtdsl.load(trtdsl.bind(graph, weights or packaged_weights()).graph, device=device)
        self.forget()

    def forget(self) -> None:
        """Begin a new stream."""
        self._before = np.zeros((1, BEFORE), np.float32)
        self._state = np.zeros((2, 1, 128), np.float32)

    def hear(self, chunk: Array) -> float:
        """How probable it is that somebody speaks in the next 512 samples, float32[512]."""
        samples = np.concatenate([self._before, chunk[None]], 1)
        found = self.network(samples=samples, state=self._state)
        self._before, self._state = samples[:, -BEFORE:], found["next"]
        return float(found["speech"][0])

    def probabilities(self, sound: Array) -> Array:
        """Of every chunk of a sound, float32[samples], the last one filled up with zeros."""
        self.forget()
        padded = np.pad(sound, (0, -len(sound) % CHUNK))
        return np.array([self.hear(chunk) for chunk in padded.reshape(-1, CHUNK)], np.float32)


def packaged_weights() -> dict[str, Array]:
    """Of the release that is installed."""
    import onnx
    from onnx.numpy_helper import to_array

    model = onnx.load(package("silero_vad") / "data" / "silero_vad_16k_op15.onnx")
    return {tensor.name: to_array(tensor) for tensor in model.graph.initializer}


def spoken(probabilities: Array) -> list[tuple[float, float]]:
    """Where there is speech, from second to second."""
    found: list[tuple[float, float]] = []
    for first, last in _runs(probabilities):
        begin, end = first * CHUNK / RATE, last * CHUNK / RATE
        if found and begin - found[-1][1] < PAUSE:
            found[-1] = found[-1][0], end
        else:
            found.append((begin, end))
    return found


def _runs(probabilities: Array) -> Iterator[tuple[int, int]]:
    """First chunk and the one behind the last, of each run of speech."""
    first = None
    for index, probability in enumerate(probabilities):
        if first is None and probability >= BEGIN:
            first = index
        elif first is not None and probability < END:
            yield first, index
            first = None
    if first is not None:
        yield first, len(probabilities)


def made(seed: int = 0) -> Array:
    """Noise, a sentence, a chord, a sentence, noise: float32[samples] at 16 kHz."""
    from speak import Speaker

    speaker = Speaker()
    time_of = np.arange(int(1.5 * RATE)) / RATE
    tones = sum(np.sin(2 * np.pi * pitch * time_of) for pitch in (262, 330, 392))
    chord, rest = 0.1 * np.hanning(len(time_of)) * tones, np.zeros(RATE // 2)
    first = speaker.say("The engine was built for another GPU.")
    second = speaker.say("Compile the model again, please.")
    sound = np.concatenate([rest, first, rest, chord, rest, second, rest])
    noise = np.random.default_rng(seed).normal(0, 0.003, len(sound))
    return (sound + noise).astype(np.float32)


def read(path: Path) -> Array:
    """A .wav file of 16 bits at any rate, its channels' mean: float32[samples] at 16 kHz."""
    from speak import resampled

    with wave.open(str(path)) as file:
        if file.getsampwidth() != 2:
            raise SystemExit(f"{path} has {8 * file.getsampwidth()} bits a sample, 16 are read")
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        channels, rate = file.getnchannels(), file.getframerate()
    return resampled(samples.reshape(-1, channels).mean(1).astype(np.float32) / 32768, rate)


def plot(sound: Array, probabilities: Array, path: Path) -> None:
    """The waveform, the probability of speech over it, and what counts as speech."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 2.6), layout="constrained")
    loudest = np.abs(sound).max()
    axes.plot(np.arange(len(sound)) / RATE, 0.5 + sound / (2 * loudest), color="#b8c4cc", linewidth=0.4)
    axes.step(np.arange(len(probabilities)) * CHUNK / RATE, probabilities, where="post", color="#3b7d00")
    for begin, end in spoken(probabilities):
        axes.axvspan(begin, end, color="#76b900", alpha=0.2, linewidth=0)
    axes.set(
        xlabel="seconds", ylabel="probability of speech", ylim=(-0.02, 1.05), xlim=(0, len(sound) / RATE)
    )
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def package(name: str) -> Path:
    """The folder of an installed package, which is not imported."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"the package {name} is not installed: `make speech` installs it")
    return Path(found.submodule_search_locations[0])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sound", nargs="?", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("speech.png"))
    parser.add_argument("--device", choices=["gpu", "cpu"], help="by default the GPU, where there is one")
    given = parser.parse_args()

    sound = read(given.sound) if given.sound else made()
    listener = Listener(device=given.device)
    begin = time.perf_counter()
    probabilities = listener.probabilities(sound)
    seconds = time.perf_counter() - begin
    for first, last in spoken(probabilities):
        print(f"speech from {first:.2f} to {last:.2f} s")
    each = 1e3 * seconds / len(probabilities)
    print(f"{each:.2f} ms for each chunk of {1e3 * CHUNK / RATE:.0f} ms on {listener.network.place}")
    plot(sound, probabilities, given.output)
    print(f"wrote {given.output}")


if __name__ == "__main__":
    main()
