"""The faces of a photograph, beside facenet-pytorch with the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from facenet_pytorch import MTCNN
from facenet_pytorch.models import mtcnn
from PIL import Image

import trtdsl
from tests.tasks.scripts import EXAMPLES, script

faces: Any = script("mtcnn/find_faces.py")
ASTRONAUT = Image.open(faces.package("skimage") / "data" / "astronaut.png").convert("RGB")


@pytest.fixture(scope="module")
def detector() -> Any:
    return faces.Detector(device="cpu")


def crowd() -> Image.Image:
    """The astronaut four times: as she is, mirrored, small, and at the edge, cut off."""
    picture = Image.new("RGB", (700, 480), "gray")
    bust = ASTRONAUT.crop((90, 0, 390, 300))
    picture.paste(bust, (0, 0))
    picture.paste(bust.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (300, 40))
    picture.paste(bust.resize((150, 150)), (150, 310))
    picture.paste(bust, (560, 250))
    return picture


@pytest.mark.parametrize("photo", [ASTRONAUT, crowd()], ids=["astronaut", "crowd"])
def test_faces_are_those_of_facenet(detector: Any, photo: Image.Image) -> None:
    found = detector.find(np.asarray(photo))
    original: Any = MTCNN(keep_all=True)
    boxes, scores, points = original.detect(photo, landmarks=True)
    assert len(found.boxes) == len(boxes) >= (1 if photo is ASTRONAUT else 3)
    # The networks differ by a rounding, and the boxes that are cut out are whole pixels.
    assert np.abs(found.boxes - boxes.astype(np.float32)).max() < 1
    assert np.abs(found.points - points.astype(np.float32)).max() < 1
    assert np.abs(found.scores - scores.astype(np.float32)).max() < 1e-3


def test_a_picture_without_faces(detector: Any) -> None:
    found = detector.find(np.full((64, 80, 3), 128, np.uint8))
    assert (found.boxes.shape, found.scores.shape, found.points.shape) == ((0, 4), (0,), (0, 5, 2))


def test_faces_are_drawn(detector: Any) -> None:
    found = detector.find(np.asarray(ASTRONAUT))
    drawn = np.asarray(faces.draw(ASTRONAUT, found)).astype(int)
    changed = np.abs(drawn - np.asarray(ASTRONAUT)).sum(2) > 0
    left, top, right, bottom = found.boxes[0].astype(int)
    assert changed[top, left:right].mean() > 0.9 and changed[top:bottom, left].mean() > 0.9
    assert not changed[:, : left - 5].any()


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("PNet", [(1, 3, 12, 12), (2, 3, 13, 40), (1, 3, 309, 220)]),
        ("RNet", [(1, 3, 24, 24), (64, 3, 24, 24)]),
        ("ONet", [(1, 3, 48, 48), (16, 3, 48, 48)]),
    ],
)
def test_networks_are_those_of_facenet(name: str, shapes: list[tuple[int, ...]]) -> None:
    module: Any = getattr(mtcnn, name)()
    weights = Path(mtcnn.__file__).parents[1] / "data" / f"{name.lower()}.pt"
    options = trtdsl.CheckOptions(model=name.lower())
    network = trtdsl.load(EXAMPLES / "mtcnn" / "mtcnn.trtnet", weights, device="cpu", check=options)
    for number, shape in enumerate(shapes):
        pixels = np.random.default_rng(number).uniform(-1, 1, shape).astype(np.float32)
        found = network.run({network.inputs[0].name: pixels})
        with torch.no_grad():
            expected = module(torch.from_numpy(pixels))
        for array, tensor in zip(found.values(), expected, strict=True):
            assert np.abs(array - tensor.numpy()).max() < 1e-5


@pytest.mark.parametrize(("size", "wanted"), [(10, 10), (10, 4), (7, 13), (40, 24)])
def test_resizing_is_that_of_pytorch(size: int, wanted: int) -> None:
    image = np.random.default_rng(0).uniform(0, 255, (size, 9, 3)).astype(np.float32)
    found = faces.resized(image, wanted, 5)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    expected = torch.nn.functional.interpolate(tensor, size=(wanted, 5), mode="area")[0].permute(1, 2, 0)
    assert np.abs(found - expected.numpy()).max() < 1e-4
