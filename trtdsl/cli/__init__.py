"""The command line: arguments in, text out; every command is one call into the library.

A command is a file of its own, imported when it is called.
"""

from __future__ import annotations

import errno
import faulthandler
import gc
import os
import sys
import traceback
from typing import TypeGuard

import click

from trtdsl.cli.program import program
from trtdsl.cli.report import report
from trtdsl.diagnostics import Cancelled, Diagnostic, DiagnosticError, UsageError, reason_of

OBJECTS_PER_COLLECTION = 200_000
"""Trees and graphs are many objects without cycles: by default Python would look through them again and
again while they grow, a third of the time of a large model."""

EXIT_INTERRUPTED = 130
EXIT_BUG = 70
_NOT_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE)
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
        # Here, where it can be reported, rather than when Python exits.
        print(end="", flush=True)
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
        if _is_of_output(error):
            code = _without_output(error)
        else:
            traceback.print_exception(error)
            print(BUG, file=sys.stderr)
            code = EXIT_BUG
    # A command returns nothing unless it ends early.
    sys.exit(code or 0)


def _is_of_output(error: Exception) -> TypeGuard[OSError]:
    """Whether standard output could not be written: an error of a file names the file."""
    return isinstance(error, OSError) and error.filename is None and error.errno in _NOT_WRITTEN


def _without_output(error: OSError) -> int:
    """Give up what is still to be printed. Whoever closed a pipe, as `head` does, has what it wants."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error.errno == errno.EPIPE:
        return 1
    said = UsageError(Diagnostic(f"cannot write to standard output: {reason_of(error)}"))
    report(said.diagnostics)
    return said.exit_code
