"""`trtdsl ops`: the operators of the language."""

from __future__ import annotations

import click

from trtdsl.cli.options import argument, command
from trtdsl.diagnostics import Diagnostic, UsageError


@command
@argument("name", "An operator to describe.", required=False)
@click.option("--table", is_flag=True, help="Print what each operator becomes in each release of TensorRT.")
def ops(name: str | None, table: bool) -> None:
    """List the operators of the language, or describe one."""
    from trtdsl.ops.describe import describe_operator, operator_table

    if table and name is not None:
        raise UsageError(Diagnostic("`--table` is of all operators: leave the name out"))
    if table:
        from trtdsl import support

        print(support.table())
        return
    print(operator_table() if name is None else describe_operator(name))
