"""What layers can become in a narrow precision, a row each: of which type, by which scales, on which GPUs.

In: a precision's name, ``int8`` or ``nvfp4``.  Out: its :class:`Format`, which says how weights are held and
what is done to the tensors that multiply them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from trtdsl.recipe import BLOCKS
from trtdsl.types import DType

Reads = Literal["ranges", "floats", "blocks"]
"""How a layer's tensor is read: quantised by a range that is known, in floating point, or in blocks whose
scales are found while the network runs."""


@dataclass(frozen=True)
class Format:
    """A narrow precision: the type of its weights, and of its tensors where these are quantised too.

    ``blocks`` are how many elements of a row may share a scale, the most first; without them a row has one.
    ``first`` is the least compute capability that has kernels of it. Formats of blocks are for linear layers
    alone; ``needs_ranges`` says whether the tensors' ranges must be known, and ``without_kernels`` why
    TensorRT computes none of its products in the type, where that is so.
    """

    name: str
    dtype: DType
    reads: Reads
    first: int
    blocks: tuple[int, ...] = ()
    needs_ranges: bool = False
    without_kernels: str = ""

    @property
    def is_of_linear_layers(self) -> bool:
        return self.reads != "ranges"

    @property
    def computes(self) -> bool:
        """Whether products are of narrow numbers, rather than of weights that are read back."""
        return self.reads != "floats"

    def block(self, inputs: int, most: int | None = None) -> int | None:
        """How many elements of a row of so many share a scale; None where no number of them divides it.

        A row has two blocks at least: with a scale for each output alone TensorRT reads int4 back in a
        kernel of its own.
        """
        sizes = (size for size in self.blocks if size <= (most or size))
        fitting = (size for size in sizes if inputs % size == 0 and inputs > size)
        return next(fitting, None)


_READ_BACK = "TensorRT-RTX has no products of mxfp8: it saves memory alone"

FORMATS: Mapping[str, Format] = {
    each.name: each
    for each in (
        Format("int8", DType.INT8, "ranges", 75, needs_ranges=True),
        Format("float8_e4m3fn", DType.FLOAT8, "ranges", 89, needs_ranges=True),
        Format("int8-weights", DType.INT8, "floats", 75),
        Format("int4", DType.INT4, "floats", 80, BLOCKS),
        Format("nvfp4", DType.FLOAT4, "blocks", 100, (16,), needs_ranges=True),
        Format("mxfp8", DType.FLOAT8, "blocks", 100, (32,), without_kernels=_READ_BACK),
    )
}
"""All of them, by the names that recipes have. What a layer in nvfp4 reads is quantised by blocks, whose
scales are float8 in relation to a range of the whole tensor; those of mxfp8 are powers of two."""


def format_of(precision: DType | str) -> Format:
    """The format of a recipe's precision."""
    return FORMATS[str(precision)]
