"""Operators that compute in float32 inside, whatever the type is of what they read."""

from __future__ import annotations

COMPUTED_WIDE = frozenset(
    {
        *("LayerNorm", "RMSNorm", "GroupNorm", "normalize"),
        *("BatchNorm1d", "BatchNorm2d", "BatchNorm3d"),
        *("InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"),
        *("logsumexp", "norm", "vector_norm", "std", "var", "std_mean", "var_mean"),
    }
)
"""Their names: what these sum they sum in float32."""
