"""Read the text in a picture.

    python examples/ocr/read_text.py PICTURE -o text.png

PP-OCR's networks, the ONNX files of the package rapidocr-onnxruntime, through trtdsl's importer: one finds
lines of text, one sees which are upside down, one reads them. What is around them, cutting out the lines and
decoding, is the package's own. Without a PICTURE it is scikit-image's scan of a page.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

import trtdsl
from trtdsl.types import Symbol

Array = npt.NDArray[Any]

DETECTOR, CLASSIFIER, READER = (
    "ch_PP-OCRv4_det_infer.onnx",
    "ch_ppocr_mobile_v2.0_cls_infer.onnx",
    "ch_PP-OCRv4_rec_infer.onnx",
)
SIZES: Mapping[str, tuple[Symbol, ...]] = {
    DETECTOR: (Symbol("N", 1, 1, 1), Symbol("H", 32, 736, 4096, 32), Symbol("W", 32, 736, 4096, 32)),
    CLASSIFIER: (Symbol("N", 1, 6, 6), Symbol("H", 48, 48, 48), Symbol("W", 192, 192, 192)),
    READER: (Symbol("N", 1, 6, 6), Symbol("H", 48, 48, 48), Symbol("W", 320, 320, 3200)),
}
"""Of the pictures that each network is given: smallest, typical, largest, and what it is a multiple of."""


class Network:
    """A file of the package as a call like those of the package's sessions: one array to a list of one."""

    def __init__(self, name: str, device: Any = None) -> None:
        path = package("rapidocr_onnxruntime") / "models" / name
        imported = trtdsl.import_onnx(path, {symbol.name: symbol for symbol in SIZES[name]})
        assert imported.graph
        self.runner = trtdsl.load(imported.graph, device=device)

    def __call__(self, array: Array) -> list[Array]:
        return [*self.runner.run({self.runner.inputs[0].name: array}).values()]


@dataclass(frozen=True)
class Line:
    """A line of text, the corners of its box as (x, y), and how sure it is."""

    text: str
    corners: tuple[tuple[float, float], ...]
    score: float


class Reader:
    """rapidocr with its three networks on the GPU or the CPU, by `trtdsl.load`."""

    def __init__(self, device: Any = None) -> None:
        from rapidocr_onnxruntime import RapidOCR

        self.rapidocr: Any = RapidOCR()
        self.rapidocr.text_det.infer = self.detector = Network(DETECTOR, device)
        self.rapidocr.text_cls.infer = Network(CLASSIFIER, device)
        self.rapidocr.text_rec.session = Network(READER, device)

    def read(self, picture: Array) -> list[Line]:
        """The lines of a picture, uint8[H, W, 3] in RGB, from top to bottom."""
        return lines(self.rapidocr, picture)


def lines(rapidocr: Any, picture: Array) -> list[Line]:
    """What a RapidOCR reads."""
    found, _ = rapidocr(picture[:, :, ::-1])
    return [Line(text, tuple(map(tuple, corners)), float(score)) for corners, text, score in found or []]


def draw(picture: Image.Image, found: list[Line]) -> Image.Image:
    """A copy of the picture with a box around each line."""
    copy = picture.copy()
    pen = ImageDraw.Draw(copy)
    for line in found:
        pen.polygon(line.corners, outline="#3b7d00")
    return copy


def package(name: str) -> Path:
    """The folder of an installed package, which is not imported."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"the package {name} is not installed: `make text` installs it")
    return Path(found.submodule_search_locations[0])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("picture", nargs="?", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("text.png"))
    parser.add_argument("--device", choices=["gpu", "cpu"], help="by default the GPU, where there is one")
    given = parser.parse_args()

    picture = Image.open(given.picture or package("skimage") / "data" / "page.png").convert("RGB")
    reader = Reader(given.device)
    begin = time.perf_counter()
    found = reader.read(np.asarray(picture))
    seconds = time.perf_counter() - begin
    for line in found:
        print(f"{line.score:.2f}  {line.text}")
    draw(picture, found).save(given.output)
    place = reader.detector.runner.place
    print(f"{len(found)} lines in {seconds:.1f} s on {place}; wrote {given.output}")


if __name__ == "__main__":
    main()
