"""A network whose sizes are dynamic, though the profile has one of each, for `gpu_forms.py`."""

from __future__ import annotations

import trtdsl.ir.profiles as profiles


def dynamic():
    profiles.with_fixed_sizes = lambda graph: graph
