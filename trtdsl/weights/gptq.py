"""Which version of GPTQ a checkpoint is of, as the configuration in its folder says.

In: the checkpoint's path.  Out: an entry whose value is ``gptq`` or ``gptq_v2``, the word
``checkpoint_format``; without that word it is the first version (transformers' GPTQConfig).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FILES = ("quantize_config.json", "config.json")
"""GPTQ's own file, and that of transformers, which has it below ``quantization_config``."""


@dataclass(frozen=True)
class Told:
    """A text, as an entry of a checkpoint."""

    text: str
    shape: tuple[int, ...] = ()

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.read().dtype

    def read(self) -> npt.NDArray[Any]:
        return np.array(self.text)


def gptq_format(checkpoint: Path) -> Told | None:
    """What the first of the files says that is of GPTQ; None where none is."""
    for name in FILES:
        config = _read(checkpoint.with_name(name))
        config = config.get("quantization_config", config)
        if isinstance(config, dict) and _is_of_gptq(config):
            return Told(str(config.get("checkpoint_format") or "gptq"))
    return None


def _is_of_gptq(config: dict[str, Any]) -> bool:
    return config.get("quant_method", "gptq") == "gptq" and {"bits", "group_size"} <= config.keys()


def _read(path: Path) -> dict[str, Any]:
    """A file's object; an empty one for what is not a file of JSON."""
    try:
        found = json.loads(path.read_bytes()) if path.is_file() else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
