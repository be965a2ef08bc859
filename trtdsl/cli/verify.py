"""`trtdsl verify`: a model held against PyTorch or other outputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from trtdsl.cli.call_arguments import call_arguments
from trtdsl.cli.options import (
    AS_JSON,
    ENGINE_PLUGINS,
    FILE,
    PATH,
    WEIGHTS,
    choice_of,
    command,
    names_in,
    with_options,
)
from trtdsl.options import CheckOptions, CompileOptions


@command
@FILE
@WEIGHTS
@click.option(
    "--against",
    metavar="MODULE:NAME",
    help="What makes the PyTorch module: torchvision.models:resnet18. Without a checkpoint both "
    "sides have the module's own weights.",
)
@click.option(
    "--arg",
    "arguments",
    metavar="NAME=VALUE",
    multiple=True,
    help="An argument for --against: a Python literal.",
)
@click.option("--onnx", type=PATH, metavar="PATH", help="Compare with an ONNX model, run by onnxruntime.")
@click.option(
    "--outputs",
    type=PATH,
    metavar="PATH",
    help="Compare with the arrays of a .npz file; inputs are in it, or in --input.",
)
@click.option(
    "--engine",
    type=PATH,
    metavar="PATH",
    help="Compute the outputs with this engine, on the GPU; without it they are computed on the CPU.",
)
@ENGINE_PLUGINS
@click.option(
    "--input",
    "inputs",
    metavar="NAME=FILE.npy",
    multiple=True,
    help="An input's values; by default random, except with --outputs.",
)
@with_options(CheckOptions, "choice")
@with_options(CompileOptions, "lowering", "recipe")
@click.option(
    "--at",
    metavar="POINT",
    default="opt",
    show_default=True,
    help="Sizes of dynamic dimensions: min, opt or max, or N=3,S=17 and opt of the others.",
)
@click.option(
    "--seed", type=int, metavar="N", default=0, show_default=True, help="The seed of the random inputs."
)
@click.option(
    "--dtype",
    metavar="DTYPE",
    default="float32",
    show_default=True,
    help="What both sides compute in: float32 or float64.",
)
@click.option(
    "--tolerance",
    type=float,
    metavar="X",
    help="Relative L2 error allowed: 1e-4 in float32, 1e-6 in float64, 2e-3 with float16 weights, "
    "1.6e-2 with bfloat16 weights, and as much after casts to these types; of an engine in float32 1e-4, "
    "with TF32 2e-3, in float16 1e-2, in bfloat16 8e-2.",
)
@click.option(
    "--randomize",
    is_flag=True,
    help="Give both sides random weights, of a size that lets every layer be seen; needs --against.",
)
@AS_JSON
@click.pass_context
def verify(
    context: click.Context,
    file: Path,
    weights: Sequence[Path],
    against: str | None,
    arguments: Sequence[str],
    inputs: Sequence[str],
    plugins: Sequence[str],
    choice: CheckOptions,
    lowering: CompileOptions,
    at: str,
    dtype: str,
    as_json: bool,
    **others: Any,
) -> None:
    """Compare a model with PyTorch, layer by layer, or with other outputs; exit 1 where they differ.

    Outputs that are NaN or infinite throughout count as unknown, not as equal.

    With --precision the model is computed as compile lowers it and TensorRT rounds it, without a GPU; without
    --against, --onnx or --outputs it is compared with itself in its own types.

    With --engine the engine computes the outputs on the GPU. Where they differ, the network is computed on
    the CPU to find out why; where they agree, neither a checkpoint nor PyTorch is needed for --outputs and
    --onnx.
    """
    import json

    from trtdsl import verification

    found = verification.verify(
        file,
        weights,
        against,
        arguments=call_arguments(arguments),
        inputs=verification.load_inputs(inputs),
        plugins=names_in(plugins),
        at=at,
        dtype=choice_of("--dtype", dtype, ("float32", "float64")),
        model=choice.model,
        defines=choice.defines,
        weights_dtype=choice.weights_dtype,
        section=choice.section,
        weights_prefix=choice.weights_prefix,
        weights_map=choice.weights_map,
        recipe=lowering.recipe,
        **others,
    )
    print(json.dumps(found.to_dict(), indent=1) if as_json else verification.show_verification(found))
    if not found.equal:
        context.exit(1)
