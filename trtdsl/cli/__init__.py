"""The command line: arguments in, text out; every command is one call into the library.

A command is a file of its own, imported when it is called.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import sys
import traceback

import click

from trtdsl.cli.program import program
from trtdsl.cli.report import report
from trtdsl.diagnostics import Cancelled, DiagnosticError

OBJECTS_PER_COLLECTION = 200_000
"""Trees and graphs are many objects without cycles: by default Python would look through them again and
again while they grow, a third of the time of a large model."""

EXIT_INTERRUPTED = 130
EXIT_BUG = 70
BUG = "\nThis is a bug in trtdsl. Please report it with the command, the .trtnet file and the text above."


def main() -> None:
    """Run the command line; every outcome has its exit code."""
    gc.set_threshold(OBJECTS_PER_COLLECTION)
    # No product of matrices is computed here, and numpy's import would start threads for it: 0.06 s.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # What crashes within TensorRT ends the process: where it was called is then all there is to tell.
    if sys.__stderr__ and not faulthandler.is_enabled():
        faulthandler.enable(sys.__stderr__)
    try:
        code = program.main(prog_name="trtdsl", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except DiagnosticError as error:
        report(error.diagnostics)
        code = error.exit_code
    except (Cancelled, click.Abort):
        print("cancelled; nothing was written", file=sys.stderr)
        code = EXIT_INTERRUPTED
    except Exception as error:
        traceback.print_exception(error)
        print(BUG, file=sys.stderr)
        code = EXIT_BUG
    # A command returns nothing unless it ends early.
    sys.exit(code or 0)
