"""Which version of GPTQ a checkpoint is of, as the configuration in its folder says.

In: the checkpoint's path.  Out: an entry whose value is ``gptq`` or ``gptq_v2``, the word
``checkpoint_format``; without that word it is the first version (transformers' GPTQConfig). It is empty where
no configuration is of GPTQ, and the files are looked into when it is read: few checkpoints need it.
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
class GptqFormat:
    """What the first of the files says that is of GPTQ, as an entry of the checkpoint."""

    checkpoint: Path
    shape: tuple[int, ...] = ()

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.read().dtype

    def read(self) -> npt.NDArray[Any]:
        for name in FILES:
            config = _read(self.checkpoint.with_name(name))
            config = config.get("quantization_config", config)
            if isinstance(config, dict) and _is_of_gptq(config):
                return np.array(str(config.get("checkpoint_format") or "gptq"))
        return np.array("")


def _is_of_gptq(config: dict[str, Any]) -> bool:
    return config.get("quant_method", "gptq") == "gptq" and {"bits", "group_size"} <= config.keys()


def _read(path: Path) -> dict[str, Any]:
    """A file's object; an empty one for what is not a file of JSON."""
    try:
        found = json.loads(path.read_bytes()) if path.is_file() else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
