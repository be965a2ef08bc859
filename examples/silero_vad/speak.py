"""Speech from text, by espeak-ng's library as the package espeakng-loader has it."""

from __future__ import annotations

import ctypes
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from espeakng_loader import get_data_path, get_library_path
from scipy.signal import resample_poly

RATE = 16_000

# From speak_lib.h.
_SYNCHRONOUS = 2
_CHARACTERS, _UTF8 = 1, 1
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Speaker:
    """A voice, such as ``en``, ``en-us`` or ``de``; the library has one for a whole process."""

    def __init__(self, voice: str = "en") -> None:
        self._library = ctypes.CDLL(get_library_path())
        self._rate = int(self._library.espeak_Initialize(_SYNCHRONOUS, 0, get_data_path().encode(), 0))
        if self._rate < 0 or self._library.espeak_SetVoiceByName(voice.encode()):
            raise ValueError(f"espeak-ng cannot speak with the voice {voice!r}")
        # Kept as long as the library may call it.
        self._callback = _Callback(self._take)
        self._library.espeak_SetSynthCallback(self._callback)
        self._parts: list[npt.NDArray[np.int16]] = []

    def say(self, text: str) -> npt.NDArray[np.float32]:
        """The sound of a text at 16 kHz, -1 to 1."""
        self._parts = []
        words = text.encode() + b"\0"
        self._library.espeak_Synth(words, len(words), 0, _CHARACTERS, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        return resampled(np.concatenate(self._parts).astype(np.float32) / 32768, self._rate)

    def _take(self, samples: Any, count: int, _events: Any) -> int:
        if samples and count:
            self._parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0


def resampled(sound: npt.NDArray[np.float32], rate: int) -> npt.NDArray[np.float32]:
    """A sound of another rate at 16 kHz."""
    ratio = Fraction(RATE, rate)
    return resample_poly(sound, ratio.numerator, ratio.denominator).astype(np.float32)
