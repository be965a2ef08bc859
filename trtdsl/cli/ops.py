"""`trtdsl ops`: the operators of the language."""

from __future__ import annotations

from trtdsl.cli.options import argument, command


@command
@argument("name", "An operator to describe.", required=False)
def ops(name: str | None) -> None:
    """List the operators of the language, or describe one."""
    from trtdsl.ops.describe import describe_operator, operator_table

    print(operator_table() if name is None else describe_operator(name))
