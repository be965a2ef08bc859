"""What a precision does to a graph after the passes, in words: for `trtdsl passes`.

Out: a page for `quantize` and one for `convert_precision`, each with what it leaves as it is, and why.
"""

from __future__ import annotations

from collections.abc import Sequence

from trtdsl.passes import CONVERT_PRECISION, QUANTIZE, convert_precision
from trtdsl.passes.describe import Stage
from trtdsl.precision.floating import POLICY
from trtdsl.precision.placement import FEWEST_CHANNELS, FIRST_INT8_CONVOLUTION, LARGEST_KERNEL
from trtdsl.types import DType

_QUANTIZE = f"""\
Compute convolutions and linear layers in int8 or float8, where that pays, by the ranges of what they read.

It runs where `--precision int8` or float8 asks for it. Before what a layer reads stand `quantize` and
`dequantize`, once for all its readers; weights get a scale for each output.

before::

    model example() {{
      input x: float32[4, 16]
      y = x -> fc: Linear(32)
      output y = y
    }}

after::

    model example() {{
      input x: float32[4, 16]
      x_scale = fc.input_scale: Parameter(())
      x_d = dequantize(quantize(x, x_scale), x_scale)
      fc_w = fc.weight: Parameter((32, 16), dtype = int8)
      fc_wd = dequantize(fc_w, fc.weight_scale: Parameter((32,)), axis = 0)
      y = fc: Linear(32)(x_d, weight = fc_wd)
      output y = y
    }}

It leaves a layer in floating point, and `explain` says which and why:

- that `--keep` names, or that `--max-error` takes out;
- with fewer than {FEWEST_CHANNELS} channels on a side, unless it is depthwise; in int8 with channels whose
  product is not a multiple of 8; a linear layer of one row;
- in float8 a depthwise one, with a kernel of more than {LARGEST_KERNEL} elements, or with
  {FEWEST_CHANNELS} channels or fewer;
- an int8 convolution for a target before sm{FIRST_INT8_CONVOLUTION};
- whose range the checkpoint given by `--scales` does not have.

`--allow` names layers for which the rules of size do not count. Transposed convolutions, MultiheadAttention,
recurrent layers, and what stands in the body of a loop or a branch are never narrow. Refused are a precision
without ranges, a type that a target cannot compute in, and a model of which no layer would become narrow."""


def stages() -> Sequence[Stage]:
    """The pages in the order in which they run."""
    rows = [
        f"- {', '.join(f'`{_name(operator)}`' for operator in row.operators)}: {row.why};" for row in POLICY
    ]
    plain = convert_precision(DType.FLOAT16)
    page = [
        plain.documentation,
        "",
        "In float16 and bfloat16 these operators stay float32 by policy; `explain` says which and why:",
        "",
        *rows,
        "- what reads or makes numbers that the type does not hold: constants, weights, and with",
        "  `--calibrate` tensors; and what stands between such operators, where casts would be more.",
        "",
        "`--keep float32=…` names more, `--allow` exceptions.",
    ]
    return (
        Stage(QUANTIZE, _QUANTIZE, "measured on the data of `--calibrate`; `--max-error` limits it"),
        Stage(CONVERT_PRECISION, "\n".join(page), f"relative L2 error of at most {plain.tolerance:g}"),
    )


def _name(operator: type) -> str:
    name = str(getattr(operator, "name", operator.__name__))
    return "x * x" if name == "mul" else name
