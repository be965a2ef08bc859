"""What to install where something of NVIDIA's is missing.

In: the module that cannot be imported, and where.  Out: a line of advice that can be followed there.
"""

from __future__ import annotations

import platform
import sys

_ADVICE = {
    "tensorrt_rtx": "install it with `pip install 'trtdsl[rtx]'`; it builds engines without a GPU",
    "tensorrt": "install it with `pip install 'trtdsl[tensorrt]'`; it builds on the GPU the engine is for",
    "cuda": "install it with `pip install cuda-bindings`",
}

_ON_ARM = {
    "tensorrt_rtx": "install it with `pip install 'trtdsl[rtx]'`, which needs glibc 2.35 and is of no use on "
    "a Jetson",
    "tensorrt": "a Jetson has it from JetPack, for virtual environments that are made with "
    "`--system-site-packages`; elsewhere install it with `pip install 'trtdsl[tensorrt]'`",
}


def how_to_install(module: str, system: str = sys.platform, machine: str = platform.machine()) -> str:
    """Advice for ``tensorrt_rtx``, ``tensorrt`` or ``cuda``; system and machine are as Python calls them."""
    if system == "darwin":
        return (
            "NVIDIA has it for Linux and Windows only: build and run engines there; `check`, `fmt`, `show`, "
            "`ops` and the passes work on macOS"
        )
    if system == "linux" and machine == "aarch64":
        return _ON_ARM.get(module, _ADVICE[module])
    return _ADVICE[module]
