"""Complex tensors are two real ones, as far as rotary embeddings and their kind need them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tests.importers.comparing import Calls, held
from trtdsl.diagnostics import DiagnosticError
from trtdsl.importers.module import import_module


def turns(length: int) -> torch.Tensor:
    angles = torch.outer(torch.arange(length).float(), torch.tensor([1.0, 0.1, 0.01]))
    return torch.polar(torch.ones_like(angles), angles)


def rotated(x: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * by).flatten(2).type_as(x)


class Rotary(nn.Module):
    """Llama's, with its table in a buffer."""

    table: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", turns(32), persistent=False)
        self.query = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return rotated(self.query(x), self.table[: x.shape[1]].view(1, x.shape[1], 3))


def test_rotary_of_a_table() -> None:
    held(Rotary(), {"x": "float32[N, S, 6]"}, {"S": "1 .. 8 .. 32"})


def as_complex(x: torch.Tensor) -> torch.Tensor:
    return torch.view_as_complex(x.reshape(-1, 4, 3, 2))


FUNCTIONS: dict[str, Callable[[torch.Tensor], Any]] = {
    "made as it is needed": lambda x: rotated(x, turns(x.shape[1])),
    "abs": lambda x: as_complex(x).abs(),
    "terms": lambda x: (lambda z: torch.view_as_real(z + z * 2 - z * z))(as_complex(x)),
    "parts": lambda x: torch.complex(x, x * 2).real + torch.complex(x * 3, x).imag,
    "conjugate": lambda x: torch.view_as_real(as_complex(x).conj().resolve_conj() * as_complex(x)),
}


fft = torch.fft
TRANSFORMS: dict[str, Callable[[torch.Tensor], Any]] = {
    "of real numbers": lambda x: torch.view_as_real(fft.fft(x)),
    "of complex numbers": lambda x: torch.view_as_real(fft.fft(as_complex(x), dim=1, norm="ortho")),
    "of several dimensions": lambda x: fft.fftn(x, dim=(1, 2)).real,
    "of two": lambda x: fft.fft2(x, norm="forward").imag,
    "there and back": lambda x: fft.ifft(fft.fft(x) * 2).real,
    "back of two": lambda x: torch.view_as_real(fft.ifft2(as_complex(x), norm="forward")),
    "half": lambda x: torch.view_as_real(fft.rfft(x, dim=1)),
    "half of an odd size": lambda x: torch.view_as_real(fft.rfft(x[:, :, :5], norm="ortho")),
    "half and back": lambda x: fft.irfft(fft.rfft(x) * 3),
    "an odd size back": lambda x: fft.irfft(fft.rfft(x[:, :, :5]) * 3, n=5),
    "half of two and back": lambda x: fft.irfft2(fft.rfft2(x, norm="ortho") * 0.5, s=(4, 6), norm="ortho"),
    "half of an image": lambda x: fft.irfftn(fft.rfftn(x, dim=(2, 1)), s=(6, 4), dim=(2, 1), norm="forward"),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_fourier_transform(name: str) -> None:
    held(Calls(TRANSFORMS[name]), {"x": "float32[N, 4, 6]"})


def test_a_fourier_transform_over_a_dynamic_size_is_refused_with_what_to_do() -> None:
    with pytest.raises(DiagnosticError, match="a Fourier transform is imported over fixed sizes"):
        import_module(Calls(lambda x: fft.fft(x, dim=1).abs()), {"x": "float32[N, S, 6]"})


def windows(x: torch.Tensor, *given: Any, **named: Any) -> torch.Tensor:
    """The short-time transform of a signal."""
    return torch.stft(x, *given, return_complex=True, **named)


HANN = torch.hann_window(12)
SHORT_TIME: dict[str, Callable[[torch.Tensor], Any]] = {
    "spectrum": lambda x: windows(x, 16, 4, window=torch.hann_window(16)).abs() ** 2,
    "parts": lambda x: torch.view_as_real(windows(x, 16, window=torch.ones(16), center=False)),
    "narrow windows": lambda x: windows(x, 16, 5, 12, HANN, pad_mode="constant").imag,
    "narrow ones without a window": lambda x: windows(x, 15, 4, 11).real,
    "all frequencies": lambda x: windows(
        x, 16, 4, window=HANN, win_length=12, onesided=False, normalized=True
    ).abs(),
}


@pytest.mark.filterwarnings("ignore:A window was not provided")
@pytest.mark.parametrize("name", SHORT_TIME)
@pytest.mark.parametrize("input", ["float32[N, T]", "float32[T]"])
def test_a_short_time_transform(name: str, input: str) -> None:
    held(Calls(SHORT_TIME[name]), {"x": input}, {"T": "24..60..100"})


class LogMel(nn.Module):
    """As of Whisper: the window and the filters are the module's."""

    window: torch.Tensor
    filters: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(16))
        self.register_buffer("filters", torch.rand(5, 9, generator=torch.Generator().manual_seed(0)))

    def forward(self, wave: torch.Tensor) -> torch.Tensor:
        spectrum = windows(wave, 16, 4, window=self.window)[..., :-1].abs() ** 2
        return (self.filters @ spectrum).clamp(min=1e-10).log10()


def test_a_log_mel_spectrogram() -> None:
    held(LogMel(), {"wave": "float32[N, T]"}, {"T": "24..60..100"})


def test_a_short_time_transform_of_complex_numbers_is_lacking() -> None:
    with pytest.raises(DiagnosticError, match="`stft` cannot be imported"):
        import_module(Calls(lambda x: windows(as_complex(x)[:, 0], 2, 1).abs()), {"x": "float32[N, 4, 6]"})


@pytest.mark.parametrize("name", FUNCTIONS)
def test_complex(name: str) -> None:
    held(Calls(FUNCTIONS[name]), {"x": "float32[N, 4, 6]"})


def test_what_else_is_complex_is_lacking() -> None:
    with pytest.raises(DiagnosticError, match="cannot be imported"):
        import_module(Calls(lambda x: (as_complex(x) * 1j).abs()), {"x": "float32[N, 4, 6]"})
