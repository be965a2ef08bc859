"""Light up the faces in a video: frames in, batches through a network, frames out.

    python examples/video/watch.py VIDEO.mp4 -o lit.mp4

`watch.trtnet` with facenet-pytorch's weights. Frames are decoded and encoded with PyAV, and all stages
overlap: while a batch is computed, the next is decoded and moved to the GPU, and the last one moved back and
encoded. `--compare` first does one stage after the other. Without a VIDEO it is a flight over scikit-image's
portrait.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

import trtdsl

Array = npt.NDArray[Any]

SHRINK, BATCH = 6, 8
STEP = 2 * SHRINK
"""Of what height and width are multiples."""


@dataclass
class Times:
    """Frames, and the seconds that decoding, encoding and the whole took."""

    frames: int = 0
    decoding: float = 0.0
    encoding: float = 0.0
    whole: float = 0.0

    def __str__(self) -> str:
        rate = self.frames / self.whole
        busy = f"decoding {self.decoding:.2f} s, encoding {self.encoding:.2f} s"
        return f"{self.frames} frames in {self.whole:.2f} s, {rate:.1f} frames/s ({busy})"


@dataclass(frozen=True)
class Size:
    """A video's width and height in pixels, and its rate in frames a second."""

    width: int
    height: int
    rate: Fraction


MADE = Size(27 * STEP, 20 * STEP, Fraction(24))
"""Of a video that is made here."""


@dataclass
class Video:
    """What is read of a file: its size, and batches of frames uint8[N, H, W, 3] in RGB."""

    path: Path
    times: Times = field(default_factory=Times)

    def __post_init__(self) -> None:
        with av.open(str(self.path)) as file:
            stream = file.streams.video[0]
            width, height = (max(14 * SHRINK, side // STEP * STEP) for side in (stream.width, stream.height))
            self.size = Size(width, height, stream.average_rate or Fraction(25))

    def batches(self) -> Iterator[Array]:
        """All frames, scaled to the nearest size that the network takes."""
        waiting: list[Array] = []
        begin = time.perf_counter()
        with av.open(str(self.path)) as file:
            for frame in file.decode(video=0):
                waiting.append(
                    frame.to_ndarray(format="rgb24", width=self.size.width, height=self.size.height)
                )
                if len(waiting) == BATCH:
                    self.times.decoding += time.perf_counter() - begin
                    yield np.stack(waiting)
                    waiting, begin = [], time.perf_counter()
        self.times.decoding += time.perf_counter() - begin
        if waiting:
            yield np.stack(waiting)


def light_up(network: trtdsl.Runner, video: Video, output: Path, *, overlapping: bool = True) -> Times:
    """Write the video with its faces lit; all stages at the same time, or one after the other."""
    times = video.times = Times()
    begin = time.perf_counter()
    given = ({"frames": batch} for batch in video.batches())
    found = network.stream(given) if overlapping else map(network.run, given)
    with Encoder(output, video.size) as encoder:
        for each in found:
            start = time.perf_counter()
            encoder.write(each["lit"])
            times.encoding += time.perf_counter() - start
            times.frames += len(each["lit"])
    times.whole = time.perf_counter() - begin
    return times


class Encoder:
    """A file that frames uint8[N, H, W, 3] are written to."""

    def __init__(self, path: Path, size: Size) -> None:
        self._file: Any = av.open(str(path), "w")
        self._stream = self._file.add_stream("mpeg4", rate=size.rate)
        self._stream.width, self._stream.height = size.width, size.height
        self._stream.pix_fmt, self._stream.bit_rate = "yuv420p", 4_000_000

    def __enter__(self) -> Encoder:
        return self

    def write(self, frames: Array) -> None:
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            self._file.mux(self._stream.encode(picture))

    def __exit__(self, *_: object) -> None:
        self._file.mux(self._stream.encode(None))
        self._file.close()


def make(path: Path, frames: int = 96) -> None:
    """A flight over the portrait, nearer and back."""
    portrait = Image.open(package("skimage") / "data" / "astronaut.png").convert("RGB")
    with Encoder(path, MADE) as encoder:
        for turn in np.linspace(0, 2 * np.pi, frames, endpoint=False):
            wide = 440 + 60 * np.cos(turn)
            left, top = 25 - 25 * np.cos(2 * turn), 20 * np.sin(turn) ** 2
            box = (left, top, left + wide, top + wide * MADE.height / MADE.width)
            picture = portrait.resize((MADE.width, MADE.height), Image.Resampling.BILINEAR, box)
            encoder.write(np.asarray(picture)[None])


def load(device: Any = None) -> trtdsl.Runner:
    """The network, on the GPU or the CPU."""
    weights = package("facenet_pytorch") / "data" / "pnet.pt"
    return trtdsl.load(Path(__file__).with_name("watch.trtnet"), weights, device=device)


def package(name: str) -> Path:
    """The folder of an installed package, which is not imported."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"the package {name} is not installed: `make video` installs it")
    return Path(found.submodule_search_locations[0])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video", nargs="?", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("lit.mp4"))
    parser.add_argument("--compare", action="store_true", help="first one stage after the other")
    parser.add_argument("--device", choices=["gpu", "cpu"], help="by default the GPU, where there is one")
    given = parser.parse_args()

    source = given.video
    if source is None:
        source = given.output.with_name(f"{given.output.stem}-original.mp4")
        make(source)
    network, video = load(given.device), Video(source)
    network(frames=np.zeros((BATCH, video.size.height, video.size.width, 3), np.uint8))
    if given.compare:
        print(f"one after the other: {light_up(network, video, given.output, overlapping=False)}")
    print(f"overlapping: {light_up(network, video, given.output)}")
    print(f"on {network.place}; wrote {given.output}")


if __name__ == "__main__":
    main()
