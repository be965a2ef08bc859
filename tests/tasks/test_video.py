"""A video's frames through a network, beside the same in PyTorch with facenet-pytorch's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from facenet_pytorch.models.mtcnn import PNet
from torch.nn import functional as F

from tests.tasks.scripts import script

watch: Any = script("video/watch.py")
FRAMES = 20


@pytest.fixture(scope="module")
def network() -> Any:
    return watch.load("cpu")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "original.mp4"
    watch.make(path, FRAMES)
    return path


def expected(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where a face is, 0 to 1 for each pixel, and the pictures before they are rounded."""
    pixels = torch.from_numpy(frames).float().permute(0, 3, 1, 2)
    with torch.no_grad():
        _, face = PNet()((F.avg_pool2d(pixels, watch.SHRINK) - 127.5) / 128)
    light = F.interpolate(F.pad(face[:, 1:], (2, 3, 2, 3)), size=pixels.shape[2:], mode="bilinear")
    lit = pixels + 0.7 * light * (255 - pixels) - 0.5 * (1 - light) * pixels
    return light[:, 0].numpy(), lit.permute(0, 2, 3, 1).numpy()


def test_frames_are_lit_as_pytorch_does(network: Any, original: Path) -> None:
    frames = next(watch.Video(original).batches())
    found = network(frames=frames)["lit"]
    light, lit = expected(frames)
    assert found.dtype == np.uint8 and found.shape == frames.shape
    # Whole numbers of what differs by a rounding of float32.
    assert np.abs(found.astype(np.float32) - np.floor(lit)).max() <= 1
    assert (found == np.floor(lit)).mean() > 0.999
    # On the face, which is in the left half of each frame and in its upper two thirds.
    assert light.max() > 0.9
    rows, columns = np.nonzero((light > 0.9).any(0))
    assert rows.mean() < 2 * light.shape[1] / 3 and columns.mean() < 0.7 * light.shape[2]


@pytest.mark.parametrize("overlapping", [True, False])
def test_every_frame_comes_out_in_order(
    network: Any, original: Path, tmp_path: Path, overlapping: bool
) -> None:
    video = watch.Video(original)
    times = watch.light_up(network, video, tmp_path / "lit.mp4", overlapping=overlapping)
    assert times.frames == FRAMES and times.whole > times.encoding > 0 < times.decoding
    with av.open(str(tmp_path / "lit.mp4")) as file:
        shown = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert len(shown) == FRAMES
    frames = np.concatenate(list(watch.Video(original).batches()))
    _, lit = expected(frames)
    distances = np.array([[np.abs(a - b).mean() for b in lit] for a in np.array(shown, np.float32)])
    assert distances.argmin(1).tolist() == list(range(FRAMES))
    assert distances.diagonal().max() < 6


def test_a_last_batch_may_be_smaller(original: Path) -> None:
    sizes = [len(batch) for batch in watch.Video(original).batches()]
    assert sizes == [8, 8, 4]
