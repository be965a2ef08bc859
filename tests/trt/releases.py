"""What each release of TensorRT has, from the signatures in `api/` that were read off its real bindings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from trtdsl.trt.facts import Facts

API = Path(__file__).parent / "api"
LACKING = ("does not support bfloat16", "for quantised values only", "for floating-point tensors only")
"""What TensorRT 8.5 says it lacks."""
RELEASES = ("8.5.3", "10.13", "11.4")


def narrowed(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays as TensorRT 8.5 takes them, whose integers are of 32 bits."""
    return {name: array.astype("i4") if array.dtype == "i8" else array for name, array in arrays.items()}


@cache
def api(release: str) -> dict[str, Any]:
    return json.loads((API / f"tensorrt-{release}.json").read_text())


def facts(release: str) -> Facts:
    """The release's facts, from its signatures."""
    known = api(release)
    enums = {name: frozenset(members) for name, members in known["enums"].items()}
    return Facts(
        layers=frozenset(name.removeprefix("add_") for name in known["add_methods"]),
        enums=enums | {"DataType": frozenset(known["datatypes"])},
        strongly_typed="STRONGLY_TYPED" in known["network_flags"],
        metadata="metadata" in known["ilayer_base"],
        progress="progress_monitor" in known["builder_config"],
        weights_by_address=release != "8.5.3",
        quantize_names_dtype="output_type" in str(known["add_methods"]["add_quantize"]),
        samples_volumes="rank 4 or 5" in known["network_members"]["add_grid_sample"]["doc"],
    )
