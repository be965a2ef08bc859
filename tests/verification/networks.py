"""A network of a dozen layers in the language and in PyTorch, and what holds one against the other."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

import trtdsl
from trtdsl.ir import Graph
from trtdsl.reference import to_numpy

TEXT = """model net() {
  dim N = 1 .. 2 .. 4
  input image: float32[N, 3, 16, 16]
  x = image -> conv1: Conv2d(8, 3, padding = 1, bias = false) -> bn1: BatchNorm2d -> relu
  x = x -> max_pool2d(3, stride = 2, padding = 1)
  a = x -> conv2: Conv2d(8, 3, padding = 1)
  b = x -> conv3: Conv2d(8, 1)
  x = cat([relu(a), b], 1)
  x = x -> interpolate(scale_factor = 2.0, mode = "bilinear")
  x = x -> conv4: Conv2d(16, 3, stride = 2, padding = 1)
  x = x -> avg_pool2d(3, stride = 1, padding = 1)
  x = x -> adaptive_avg_pool2d(1) -> flatten(1)
  y = x -> norm: LayerNorm(16) -> fc1: Linear(16) -> gelu -> fc2: Linear(16)
  x = x + y
  output scores = x -> head: Linear(10) -> softmax(1)
}
"""

TOLERANCE = 1e-5
"""A dozen small layers in float32 stay below 1e-6."""


class Net(nn.Module):
    def __init__(self, width: int = 8, momentum: float = 0.1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width, momentum=momentum)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv3 = nn.Conv2d(width, width, 1)
        self.conv4 = nn.Conv2d(2 * width, 16, 3, stride=2, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.norm = nn.LayerNorm(16)
        self.fc1 = nn.Linear(16, 16)
        self.fc2 = nn.Linear(16, 16)
        self.head = nn.Linear(16, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.act(self.bn1(self.conv1(image)))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        x = torch.cat([self.act(self.conv2(x)), self.conv3(x)], 1)
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear")
        x = F.avg_pool2d(self.conv4(x), 3, stride=1, padding=1)
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        x = x + self.fc2(F.gelu(self.fc1(self.norm(x))))
        return self.head(x).softmax(1)


def make_net(seed: int = 0) -> Net:
    """The module with weights that let every operator show: means and gains as if trained, values past 6."""
    torch.manual_seed(seed)
    net = Net().eval()
    with torch.no_grad():
        net.bn1.weight.uniform_(3.0, 6.0)
        net.bn1.bias.normal_()
        net.bn1.running_mean.normal_(0.0, 0.1)
        net.bn1.running_var.uniform_(0.2, 0.6)
        net.fc1.weight.mul_(4)
        net.head.weight.mul_(4)
    return net


def state(net: nn.Module) -> dict[str, Any]:
    return {key: to_numpy(value) for key, value in net.state_dict().items()}


def graph_of(text: str) -> Graph:
    return trtdsl.elaborate_text(text, "net.trtnet")


def verify_text(text: str, net: nn.Module, **options: Any) -> trtdsl.Verification:
    return trtdsl.verify(graph_of(text), state(net), net, **{"tolerance": TOLERANCE, **options})
