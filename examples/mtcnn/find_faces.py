"""Find the faces of a photograph, and the eyes, nose and mouth of each, and draw them into it.

    python examples/mtcnn/find_faces.py PHOTO -o faces.png

Three networks, `mtcnn.trtnet` with facenet-pytorch's weights. The first looks at the photograph in many
sizes and proposes boxes, the second and the third look at what is in a box, drop most and move the others.
Without a PHOTO it is scikit-image's portrait of Eileen Collins.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

import trtdsl

Array = npt.NDArray[Any]

SHRINK = 0.709
"""Each picture of the pyramid by the one before: half the area."""
SURE = (0.6, 0.7, 0.7)
"""How probable a face must be for each network."""
CELL, STRIDE = 12, 2
"""What the first network sees of a place in pixels, and how far its places are apart."""
LARGEST_BATCH = 512


@dataclass(frozen=True)
class Faces:
    """K faces, the largest first: boxes float32[K, 4] of left, top, right and bottom in pixels, scores
    float32[K], points float32[K, 5, 2] of x and y: eyes, nose, corners of the mouth."""

    boxes: Array
    scores: Array
    points: Array


class Detector:
    """The three networks, on the GPU or the CPU (`trtdsl.load`).

    `weights` is the folder with pnet.pt, rnet.pt and onet.pt, by default the one in facenet-pytorch.
    """

    def __init__(self, weights: Path | None = None, device: Any = None) -> None:
        weights = weights or package("facenet_pytorch") / "data"
        text = Path(__file__).with_name("mtcnn.trtnet")
        self.pnet, self.rnet, self.onet = (
            trtdsl.load(text, weights / f"{name}.pt", device=device, check=trtdsl.CheckOptions(model=name))
            for name in ("pnet", "rnet", "onet")
        )

    def find(self, pixels: Array, smallest: int = 20) -> Faces:
        """The faces of a photograph, uint8[H, W, 3] in RGB; `smallest` is the side of a face in pixels."""
        image = pixels.astype(np.float32)
        boxes = self._propose(image, smallest)
        boxes, crops = cut(image, squares(boxes), 24)
        moves, faces = batched(self.rnet, crops, "boxes", "faces")
        boxes, scores, moves = those(faces[:, 1] > SURE[1], boxes, faces[:, 1], moves)
        boxes, moves = those(separate(boxes, scores, 0.7), boxes, moves)
        boxes, crops = cut(image, squares(moved(boxes, moves, 1)), 48)
        moves, faces, marks = batched(self.onet, crops, "boxes", "faces", "points")
        boxes, scores, moves, marks = those(faces[:, 1] > SURE[2], boxes, faces[:, 1], moves, marks)
        sides = (boxes[:, 2:] - boxes[:, :2] + 1)[:, None]
        points = marks.reshape(-1, 2, 5).transpose(0, 2, 1) * sides + boxes[:, None, :2] - 1
        boxes = moved(boxes, moves, 1)
        boxes, scores, points = those(separate(boxes, scores, 0.7, of_smaller=True), boxes, scores, points)
        return Faces(*those(np.argsort(-areas(boxes)), boxes, scores, points))

    def _propose(self, image: Array, smallest: int) -> Array:
        """Boxes float32[K, 4] where the first network sees a face, in any size of the photograph."""
        found = [np.zeros((0, 9), np.float32)]
        for scale in scales(min(image.shape[:2]), smallest):
            height, width = (int(side * scale + 1) for side in image.shape[:2])
            seen = self.pnet(image=as_input(resized(image, height, width)[None]))
            faces, moves = seen["faces"][0, 1], seen["boxes"][0]
            y, x = np.nonzero(faces >= SURE[0])
            places = STRIDE * np.stack([x, y], 1).astype(np.float32)
            corners = np.floor(np.concatenate([places + 1, places + CELL], 1) / scale)
            rows = np.concatenate([corners, faces[y, x, None], moves[:, y, x].T], 1)
            found.append(rows[separate(corners, rows[:, 4], 0.5)])
        rows = np.concatenate(found)
        rows = rows[separate(rows[:, :4], rows[:, 4], 0.7)]
        return moved(rows[:, :4], rows[:, 5:], 0)


def scales(side: int, smallest: int) -> Iterator[float]:
    """The sizes of the pyramid, by which faces from `smallest` pixels up become as large as a cell."""
    scale = CELL / smallest
    while side * scale >= CELL:
        yield scale
        scale *= SHRINK


def resized(image: Array, height: int, width: int) -> Array:
    """float32[H, W, C] in another size: each pixel is the mean of the area that it stands for."""
    rows, columns = means(image.shape[0], height), means(image.shape[1], width)
    return np.einsum("yh,hwc,xw->yxc", rows, image, columns, optimize=True)


def means(size: int, wanted: int) -> Array:
    """The matrix that takes `size` numbers to `wanted` means of neighbours."""
    first = np.arange(wanted) * size // wanted
    last = -(-np.arange(1, wanted + 1) * size // wanted)
    place = np.arange(size)
    inside = (place >= first[:, None]) & (place < last[:, None])
    return (inside / (last - first)[:, None]).astype(np.float32)


def as_input(pixels: Array) -> Array:
    """float32[N, H, W, C] of 0 to 255 as the networks take it, float32[N, C, H, W]."""
    return np.ascontiguousarray((pixels.transpose(0, 3, 1, 2) - 127.5) / 128, np.float32)


def cut(image: Array, boxes: Array, side: int) -> tuple[Array, Array]:
    """The boxes that have pixels, and these in `side` by `side`, as the networks take them."""
    height, width = image.shape[:2]
    whole = boxes.astype(np.int64)
    first, last = np.maximum(whole[:, :2], 1) - 1, np.minimum(whole[:, 2:], [width, height])
    (boxes, first, last) = those((last > first).all(1), boxes, first, last)
    crops = [
        resized(image[y:bottom, x:right], side, side)
        for (x, y), (right, bottom) in zip(first, last, strict=True)
    ]
    return boxes, as_input(np.stack(crops) if crops else np.zeros((0, side, side, 3), np.float32))


def batched(network: trtdsl.Runner, crops: Array, *names: str) -> list[Array]:
    """The network's outputs of these names for any number of crops."""
    starts = range(0, len(crops), LARGEST_BATCH)
    found = [network(crops=crops[start : start + LARGEST_BATCH]) for start in starts]
    widths = {output.name: output.shape[1] for output in network.outputs}
    return [
        np.concatenate([np.zeros((0, widths[name]), np.float32), *(each[name] for each in found)])
        for name in names
    ]


def those(kept: Array, *arrays: Array) -> tuple[Array, ...]:
    return tuple(array[kept] for array in arrays)


def moved(boxes: Array, moves: Array, edge: int) -> Array:
    """Boxes moved by parts of their sides; `edge` is what a side has beside the difference of its ends."""
    sides = boxes[:, 2:] - boxes[:, :2] + edge
    return boxes + moves * np.concatenate([sides, sides], 1)


def squares(boxes: Array) -> Array:
    """Squares of the longer side around the same middles."""
    sides = boxes[:, 2:] - boxes[:, :2]
    longer = sides.max(1, keepdims=True)
    first = boxes[:, :2] + sides * 0.5 - longer * 0.5
    return np.concatenate([first, first + longer], 1)


def areas(boxes: Array, edge: int = 0) -> Array:
    return np.prod(boxes[:, 2:] - boxes[:, :2] + edge, axis=1)


def separate(boxes: Array, scores: Array, overlap: float, of_smaller: bool = False) -> Array:
    """The indices of the boxes that no more probable one overlaps, the most probable first.

    Two overlap by their common area as a part of what both cover, or of the smaller one, whose last pixels
    count then. (Non-maximum suppression.)
    """
    edge = int(of_smaller)
    area = areas(boxes, edge)
    waiting, kept = np.argsort(-scores, kind="stable"), []
    while len(waiting):
        best, others = waiting[0], waiting[1:]
        kept.append(best)
        first = np.maximum(boxes[best, :2], boxes[others, :2])
        last = np.minimum(boxes[best, 2:], boxes[others, 2:])
        common = np.prod(np.maximum(last - first + edge, 0), axis=1)
        smaller = np.minimum(area[best], area[others])
        covered = smaller if of_smaller else area[best] + area[others] - common
        waiting = others[common <= overlap * covered]
    return np.array(kept, np.int64)


def draw(photo: Image.Image, faces: Faces) -> Image.Image:
    """A copy of the photograph with boxes and points."""
    picture = photo.copy()
    pen = ImageDraw.Draw(picture)
    thick = max(2, min(photo.size) // 200)
    for box, points in zip(faces.boxes, faces.points, strict=True):
        pen.rectangle(box.tolist(), outline="#76b900", width=thick)
        for x, y in points.tolist():
            pen.ellipse((x - thick, y - thick, x + thick, y + thick), fill="#ff3030")
    return picture


def package(name: str) -> Path:
    """The folder of an installed package, which is not imported."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"the package {name} is not installed: `make faces` installs it")
    return Path(found.submodule_search_locations[0])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photo", nargs="?", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("faces.png"))
    parser.add_argument("--smallest", type=int, default=20, help="side of the smallest face, in pixels")
    parser.add_argument("--device", choices=["gpu", "cpu"], help="by default the GPU, where there is one")
    given = parser.parse_args()

    photo = Image.open(given.photo or package("skimage") / "data" / "astronaut.png").convert("RGB")
    detector = Detector(device=given.device)
    begin = time.perf_counter()
    faces = detector.find(np.asarray(photo), given.smallest)
    seconds = time.perf_counter() - begin
    draw(photo, faces).save(given.output)
    for box, score in zip(faces.boxes, faces.scores, strict=True):
        print(f"face {score:.3f} at {', '.join(f'{number:.1f}' for number in box)}")
    print(f"{len(faces.boxes)} in {seconds:.2f} s on {detector.pnet.place}; wrote {given.output}")


if __name__ == "__main__":
    main()
