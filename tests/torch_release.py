"""What the installed PyTorch can do that the package's lowest cannot."""

from __future__ import annotations

from trtdsl.diagnostics import UsageError
from trtdsl.verification.loading import require_export


def can_import() -> bool:
    """Whether PyTorch is as new as the importer asks for."""
    try:
        require_export("importing")
    except UsageError:
        return False
    return True
