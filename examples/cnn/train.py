"""Train ``cnn.py`` for a few seconds on scikit-learn's handwritten digits and save its weights.

Usage: ``python examples/cnn/train.py [weights.pth]``
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from cnn import CNN
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn import functional as F


def load_images() -> tuple[torch.Tensor, torch.Tensor]:
    """1,797 grey digits of 8 x 8, resized to ``[N, 3, 32, 32]`` in -1 .. 1, and their labels ``[N]``."""
    digits = load_digits()
    grey = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 8 - 1
    images = F.interpolate(grey, size=(32, 32), mode="bilinear", align_corners=False)
    return images.repeat(1, 3, 1, 1), torch.tensor(digits.target)


def train(model: CNN, images: torch.Tensor, labels: torch.Tensor, epochs: int = 8) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()


def main(weights: Path) -> None:
    torch.manual_seed(0)
    images, labels = load_images()
    training, held_out = train_test_split(torch.arange(len(images)), test_size=0.2, random_state=0)

    model = CNN()
    train(model, images[training], labels[training])
    with torch.inference_mode():
        correct = model.eval()(images[held_out]).argmax(1) == labels[held_out]
    torch.save(model.state_dict(), weights)
    print(f"accuracy on {len(held_out)} held-out digits: {correct.float().mean():.1%}; saved {weights}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("weights.pth"))
