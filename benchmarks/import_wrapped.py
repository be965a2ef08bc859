"""Parts of published models that are networks by themselves."""

from __future__ import annotations

from torch import Tensor, nn


class Heads(nn.Module):
    """A detector's backbone and heads, without what makes boxes of what they give."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, x: Tensor) -> object:
        return self.head(list(self.backbone(x).values()))


class Decoder(nn.Module):
    """What makes an image of a latent one."""

    def __init__(self, autoencoder: nn.Module) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, x: Tensor) -> object:
        return self.autoencoder.decode(x, return_dict=False)  # pyright: ignore
