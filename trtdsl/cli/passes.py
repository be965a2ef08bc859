"""`trtdsl passes`: what is done to a graph before it is lowered."""

from __future__ import annotations

from trtdsl.cli.options import argument, command


@command
@argument("name", "A pass to describe.", required=False)
def passes(name: str | None) -> None:
    """List the passes of `compile` in their order, or describe one."""
    from trtdsl.passes.describe import describe_pass, pass_table
    from trtdsl.precision.stages import stages

    print(pass_table(stages()) if name is None else describe_pass(name, stages()))
