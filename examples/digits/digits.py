"""Train a network on scikit-learn's handwritten digits, and compare its accuracy in three precisions.

    python examples/digits/digits.py -o build/tasks/digits

Of the 1,797 digits two thirds train the network, the rest tests it; 128 of the former find the ranges for
int8. The network of each precision runs on the GPU or, rounded as TensorRT rounds, on the CPU.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import trtdsl
from trtdsl.recipe import Recipe

Array = npt.NDArray[Any]

TEXT = Path(__file__).with_name("digits.trtnet")
TRAINED, CALIBRATED = 1_200, 128
PRECISIONS = ("float32", "float16", "int8")
BATCH = 200


class Digits(nn.Module):
    """The network of `digits.trtnet`."""

    def __init__(self, widths: Sequence[int] = (32, 64, 64)) -> None:
        super().__init__()
        before = [1, *widths[:-1]]
        self.convs = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 3, stride=1 if i == 0 else 2, padding=1, bias=False)
            for i, (inputs, outputs) in enumerate(zip(before, widths, strict=True))
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.head = nn.Linear(4 * widths[-1], 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            image = F.relu(norm(conv(image)))
        return self.head(image.flatten(1))


class Data(NamedTuple):
    """Images float32[K, 1, 8, 8], 0 to 1, and what digit each is."""

    images: Array
    labels: Array


def data() -> tuple[Data, Data]:
    """Digits to train with and digits to test with, always the same."""
    found: Any = load_digits()
    images = (found.images[:, None] / 16).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(images))
    first, last = order[:TRAINED], order[TRAINED:]
    return Data(images[first], found.target[first]), Data(images[last], found.target[last])


def train(training: Data, epochs: int = 12) -> Digits:
    """The same network each time, in eval mode."""
    torch.manual_seed(0)
    module = Digits()
    images, labels = torch.from_numpy(training.images), torch.from_numpy(training.labels)
    optimizer = torch.optim.Adam(module.parameters(), lr=2e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(100):
            optimizer.zero_grad()
            F.cross_entropy(module(images[batch]), labels[batch]).backward()
            optimizer.step()
    return module.eval()


@dataclass(frozen=True)
class Result:
    """What the network says in a precision: its logits float32[K, 10], the share of digits that it reads
    right, and where it was computed."""

    precision: str
    logits: Array
    accuracy: float
    place: str


def measure(weights: Path, precision: str, samples: Path, test: Data, device: Any = None) -> Result:
    """Read the test's digits in a precision; `samples` is a file of images for int8's ranges."""
    recipe = Recipe(precision=precision, calibrate=samples if precision == "int8" else None)
    network = trtdsl.load(TEXT, weights, device=device, options=trtdsl.CompileOptions(recipe=recipe))
    batches = ({"image": test.images[i : i + BATCH]} for i in range(0, len(test.images), BATCH))
    logits = np.concatenate([found["logits"] for found in network.stream(batches)])
    accuracy = float((logits.argmax(1) == test.labels).mean())
    return Result(precision, logits, accuracy, network.place)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("digits"), help="where the weights go")
    parser.add_argument("--device", choices=["gpu", "cpu"], help="by default the GPU, where there is one")
    given = parser.parse_args()

    training, test = data()
    given.output.mkdir(parents=True, exist_ok=True)
    weights, samples = given.output / "digits.pth", given.output / "samples.npz"
    torch.save(train(training).state_dict(), weights)
    np.savez(samples, image=training.images[:CALIBRATED])
    print(f"trained on {len(training.images)} digits; wrote {weights} and {samples}")
    results = [measure(weights, precision, samples, test, given.device) for precision in PRECISIONS]
    print(f"{'':8}  {'right':>6}  {'read otherwise':>14}  relative L2 of the logits")
    exact = results[0].logits
    for result in results:
        changed = int((result.logits.argmax(1) != exact.argmax(1)).sum())
        off = np.linalg.norm(result.logits - exact) / np.linalg.norm(exact)
        print(f"{result.precision:8}  {result.accuracy:6.1%}  {changed:3} of {len(exact):4}  {off:>14.1e}")
    print(f"on {results[0].place}")


if __name__ == "__main__":
    main()
