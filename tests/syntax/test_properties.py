"""What holds of every text, tried on texts drawn from the grammar and on broken ones."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from lark.exceptions import LarkError

from trtdsl.diagnostics import DiagnosticError
from trtdsl.syntax import format_text, parse, tree
from trtdsl.syntax.layout import WIDTH

from .derivation import language, texts
