"""Text in a picture, beside rapidocr with onnxruntime and the same files."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from tests.tasks.scripts import script

pytestmark = pytest.mark.skipif(
    sys.version_info >= (3, 13), reason="rapidocr-onnxruntime is for older Pythons"
)

ocr: Any = script("ocr/read_text.py")


@pytest.fixture(scope="module")
def reader() -> Any:
    return ocr.Reader(device="cpu")


def written(*texts: str) -> Image.Image:
    """Lines of text, black on white; the last one upside down."""
    font = ImageFont.truetype(
        str(ocr.package("matplotlib") / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"), 28
    )
    picture = Image.new("RGB", (480, 60 * len(texts)), "white")
    for row, text in enumerate(texts):
        strip = Image.new("RGB", (480, 60), "white")
        ImageDraw.Draw(strip).text((20, 12), text, "black", font)
        picture.paste(strip.rotate(180) if row == len(texts) - 1 else strip, (0, 60 * row))
    return picture


def test_what_is_read_is_what_rapidocr_reads(reader: Any) -> None:
    from rapidocr_onnxruntime import RapidOCR

    picture = np.asarray(written("TensorRT engines", "Compile 42 models", "this way up"))
    expected = ocr.lines(RapidOCR(), picture)
    found = reader.read(picture)
    assert [line.text for line in found] == [line.text for line in expected]
    assert {"TensorRT", "this way up"} <= {line.text for line in found}
    for line, other in zip(found, expected, strict=True):
        assert np.abs(np.array(line.corners) - other.corners).max() <= 1
        assert abs(line.score - other.score) < 1e-3


def test_a_picture_without_text(reader: Any) -> None:
    assert reader.read(np.full((64, 200, 3), 255, np.uint8)) == []


@pytest.mark.parametrize("name", [ocr.DETECTOR, ocr.CLASSIFIER, ocr.READER])
def test_networks_are_those_of_onnxruntime(name: str, reader: Any) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    shape = {ocr.DETECTOR: (1, 3, 64, 96), ocr.CLASSIFIER: (2, 3, 48, 192), ocr.READER: (2, 3, 48, 331)}[name]
    array = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    session = onnxruntime.InferenceSession(str(ocr.package("rapidocr_onnxruntime") / "models" / name))
    expected = session.run(None, {session.get_inputs()[0].name: array})[0]
    rapidocr = reader.rapidocr
    networks = (rapidocr.text_det.infer, rapidocr.text_cls.infer, rapidocr.text_rec.session)
    network = dict(zip((ocr.DETECTOR, ocr.CLASSIFIER, ocr.READER), networks, strict=True))[name]
    assert np.abs(network(array)[0] - expected).max() < 1e-4
