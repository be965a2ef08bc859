"""The U-Net of diffusion.trtnet and its step of DDIM, with the keys of diffusers' UNet2DModel."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class ResnetBlock(nn.Module):
    def __init__(self, before: int, planes: int, time: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(32, before)
        self.conv1 = nn.Conv2d(before, planes, 3, padding=1)
        self.time_emb_proj = nn.Linear(time, planes)
        self.norm2 = nn.GroupNorm(32, planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1)
        self.conv_shortcut = nn.Identity() if before == planes else nn.Conv2d(before, planes, 1)

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        h = self.conv1(F.silu(self.norm1(x))) + self.time_emb_proj(F.silu(time))[:, :, None, None]
        return self.conv_shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class Attention(nn.Module):
    def __init__(self, planes: int, head_width: int = 8) -> None:
        super().__init__()
        self.heads = planes // head_width
        self.group_norm = nn.GroupNorm(32, planes)
        self.to_q, self.to_k, self.to_v = (nn.Linear(planes, planes) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(planes, planes)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.group_norm(x).flatten(2).transpose(1, 2)
        q, k, v = (
            each(y).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for each in (self.to_q, self.to_k, self.to_v)
        )
        y = torch.softmax(q @ k.transpose(2, 3) * q.shape[-1] ** -0.5, -1) @ v
        return x + self.to_out[0](y.transpose(1, 2).flatten(2)).transpose(1, 2).reshape(x.shape)


class Level(nn.Module):
    """Resnets of one size, and the way to the next size or the attention between them."""

    def __init__(self, before: list[int], planes: int, time: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResnetBlock(each, planes, time) for each in before)


class Resampler(nn.Module):
    def __init__(self, planes: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(planes, planes, 3, stride, 1)


class UNet(nn.Module):
    """The noise in images `[N, channels, H, W]` at steps `[N]`."""

    def __init__(self, channels: int = 3, widths: tuple[int, ...] = (64, 128, 256), layers: int = 2) -> None:
        super().__init__()
        width, time = widths[0], 4 * widths[0]
        self.time_embedding = nn.ModuleDict(
            {"linear_1": nn.Linear(width, time), "linear_2": nn.Linear(time, time)}
        )
        self.conv_in = nn.Conv2d(channels, width, 3, padding=1)
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        before, skipped = width, [width]
        for i, planes in enumerate(widths):
            level = Level([before] + [planes] * (layers - 1), planes, time)
            skipped += [planes] * layers
            if i < len(widths) - 1:
                level.downsamplers = nn.ModuleList([Resampler(planes, 2)])
                skipped.append(planes)
            self.down_blocks.append(level)
            before = planes
        self.mid_block = Level([before, before], before, time)
        self.mid_block.attentions = nn.ModuleList([Attention(before)])
        for i, planes in enumerate(reversed(widths)):
            level = Level(
                [(planes if j else before) + skipped.pop() for j in range(layers + 1)], planes, time
            )
            if i < len(widths) - 1:
                level.upsamplers = nn.ModuleList([Resampler(planes, 1)])
            self.up_blocks.append(level)
            before = planes
        self.conv_norm_out = nn.GroupNorm(32, width)
        self.conv_out = nn.Conv2d(width, channels, 3, padding=1)

    def noise(self, x: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        half = self.conv_in.out_channels // 2
        angle = timestep[:, None] * 10000.0 ** (-torch.arange(half) / half)
        time = F.silu(self.time_embedding["linear_1"](torch.cat([angle.cos(), angle.sin()], 1).to(x.dtype)))
        time = self.time_embedding["linear_2"](time)
        x = self.conv_in(x)
        skipped = [x]
        for level in self.down_blocks:
            for resnet in level.resnets:
                x = resnet(x, time)
                skipped.append(x)
            for resampler in getattr(level, "downsamplers", ()):
                x = resampler.conv(x)
                skipped.append(x)
        x = self.mid_block.resnets[0](x, time)
        x = self.mid_block.resnets[1](self.mid_block.attentions[0](x), time)
        for level in self.up_blocks:
            for resnet in level.resnets:
                x = resnet(torch.cat([x, skipped.pop()], 1), time)
            for resampler in getattr(level, "upsamplers", ()):
                x = resampler.conv(F.interpolate(x, scale_factor=2.0))
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class Step(UNet):
    """DDIM from a step to a previous one, without noise of its own."""

    def forward(self, sample: torch.Tensor, timestep: torch.Tensor, previous: torch.Tensor) -> torch.Tensor:
        noise = self.noise(sample, timestep)
        kept = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)
        kept = torch.cat([torch.ones(1), kept])[:, None, None, None]
        now, then = kept[timestep + 1], kept[previous + 1]
        image = (sample - (1 - now).sqrt() * noise) / now.sqrt()
        return then.sqrt() * image + (1 - then).sqrt() * noise
