"""Rows of a table by their numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from trtdsl.ops.arithmetic_layers import not_equal
from trtdsl.ops.base import Module, Spelling
from trtdsl.ops.positions import Positions, checked, require_index
from trtdsl.ops.refused import Refused
from trtdsl.ops.rules import require_elements, weight_sizes
from trtdsl.types import DType, TensorType
from trtdsl.types.arrays import np

if TYPE_CHECKING:
    from trtdsl.ops.lowering import Array, Network, Tensor


def _configured(types: Mapping[str, TensorType], values: Mapping[str, Any]) -> Embedding:
    rows, columns = weight_sizes(types, "embedding", 2)
    return Embedding(rows, columns, **values, dtype=types["weight"].dtype)


def _configured_bag(types: Mapping[str, TensorType], values: Mapping[str, Any]) -> EmbeddingBag:
    rows, columns = weight_sizes(types, "embedding_bag", 2)
    return EmbeddingBag(rows, columns, **values, dtype=types["weight"].dtype)


class Embedding(Module):
    """The rows of ``weight`` that the input names; a row number out of range gives zeros on a GPU.

    ``padding_idx`` means something in training only.
    """

    torch = "torch.nn.Embedding"
    weight_shapes = {"weight": "[num_embeddings, embedding_dim]"}
    examples = (
        "Embedding(30, 8)(int64[N, S]) -> float32[N, S, 8]",
        "Embedding(7, 4, padding_idx = 0)(int32[N]) -> float32[N, 4]",
        "Embedding(7, 4, dtype = float16)(int64[]) -> float16[4]",
        "Embedding(9, 3)(int64[N, 2, S]) -> float32[N, 2, S, 3]",
    )
    ignored = ("norm_type", "scale_grad_by_freq", "sparse")
    spellings = (
        Spelling(
            "torch.nn.functional.embedding",
            ("input", "weight", "padding_idx", "max_norm"),
            defaults={"padding_idx": None, "max_norm": None},
            configure=_configured,
            examples=(
                "embedding(int64[N, S], float32[6, 8]) -> float32[N, S, 8]",
                "embedding(int32[N], float16[5, 3], padding_idx = 1) -> float16[N, 3]",
                "embedding(int64[], int64[4, 2]) -> int64[2]",
            ),
        ),
    )

    num_embeddings: int
    embedding_dim: int
    padding_idx: int | None = None
    max_norm: float | None = None
    dtype: DType | None = None

    def weights(self, input: TensorType) -> dict[str, TensorType]:
        shape = (self.num_embeddings, self.embedding_dim)
        return {"weight": TensorType(self.dtype or DType.FLOAT32, shape)}

    def infer(self, input: TensorType) -> TensorType:
        require_index(input, "input")
        for name in ("num_embeddings", "embedding_dim"):
            if getattr(self, name) < 1:
                raise Refused(f"`{name}` must be at least 1, not {getattr(self, name)}", name)
        if self.max_norm is not None:
            raise Refused(
                "`max_norm` rewrites the rows of the weight as they are looked up",
                "max_norm",
                help="scale the rows of the checkpoint's weight once and leave it out",
            )
        rows = self.num_embeddings
        if self.padding_idx is not None and not -rows <= self.padding_idx < rows:
            raise Refused(f"`padding_idx` {self.padding_idx} is not one of {rows} rows", "padding_idx")
        return TensorType(self.dtype or DType.FLOAT32, (*input.shape, self.embedding_dim))

    def positions(self, input: TensorType) -> Mapping[str, Positions]:
        return {"input": Positions(self.num_embeddings)}

    def lower(self, net: Network, input: Tensor, weight: Tensor) -> Tensor:
        return net.gather(weight, checked(input, self.num_embeddings), 0)

    def fold(self, input: Array, weight: Array) -> Array | None:
        is_inside = Positions(self.num_embeddings).stray(input) is None
        return np.take(weight, input, axis=0) if is_inside else None

    def reference(self, torch: Any, input: Any, weight: Any) -> Any:
        # The module makes integer weights from a pretrained table only.
        return None if weight.is_floating_point() else torch.nn.functional.embedding(input, weight)


Mode = Literal["sum", "mean", "max"]


class EmbeddingBag(Module):
    """The sum, mean or maximum of the rows that each bag, a row of the 2-D input, names.

    Rows named ``padding_idx`` count nowhere; a bag of them alone gives 0.
    """

    torch = "torch.nn.EmbeddingBag"
    weight_shapes = Embedding.weight_shapes
    examples = (
        "EmbeddingBag(9, 4)(int64[N, 5]) -> float32[N, 4]",
        'EmbeddingBag(9, 4, mode = "sum")(int32[N, S]) -> float32[N, 4]',
        'EmbeddingBag(9, 4, mode = "max", padding_idx = 1)(int64[N, S]) -> float32[N, 4]',
        "EmbeddingBag(3, 4, padding_idx = -1, dtype = float16)(int64[N, 5]) -> float16[N, 4]",
    )
    ignored = ("norm_type", "scale_grad_by_freq", "sparse", "include_last_offset")
    spellings = (
        Spelling(
            "torch.nn.functional.embedding_bag",
            (
                "input",
                "weight",
                "offsets",
                "max_norm",
                "norm_type",
                "scale_grad_by_freq",
                "mode",
                "sparse",
                "per_sample_weights",
                "include_last_offset",
                "padding_idx",
            ),
            defaults={
                "offsets": None,
                "max_norm": None,
                "norm_type": 2.0,
                "scale_grad_by_freq": False,
                "mode": "mean",
                "sparse": False,
                "per_sample_weights": None,
                "include_last_offset": False,
                "padding_idx": None,
            },
            configure=_configured_bag,
            examples=(
                "embedding_bag(int64[N, 5], float32[6, 8]) -> float32[N, 8]",
                'embedding_bag(int32[N, S], float32[5, 3], mode = "max", padding_idx = 1) -> float32[N, 3]',
                'embedding_bag(int64[N, 5], float32[6, 8], mode = "sum",'
                " per_sample_weights = float32[N, 5]) -> float32[N, 8]",
            ),
        ),
    )

    num_embeddings: int
    embedding_dim: int
    max_norm: float | None = None
    mode: Mode = "mean"
    padding_idx: int | None = None
    dtype: DType | None = None

    @property
    def _rows(self) -> Embedding:
        return Embedding(self.num_embeddings, self.embedding_dim, self.padding_idx, self.max_norm, self.dtype)

    def weights(
        self,
        input: TensorType,
        offsets: TensorType | None = None,
        per_sample_weights: TensorType | None = None,
    ) -> dict[str, TensorType]:
        return self._rows.weights(input)

    def infer(
        self,
        input: TensorType,
        offsets: TensorType | None = None,
        per_sample_weights: TensorType | None = None,
    ) -> TensorType:
        rows = self._rows.infer(input)
        if offsets is not None or input.rank != 2:
            raise Refused(
                "bags told apart by `offsets` have lengths that depend on values",
                "offsets" if offsets is not None else "input",
                help="give a 2-D input, one row for each bag, filled up with `padding_idx`",
            )
        if per_sample_weights is not None:
            if self.mode != "sum":
                raise Refused(
                    f'per_sample_weights are for mode "sum", not "{self.mode}"', "per_sample_weights"
                )
            wanted = rows.with_shape(input.shape)
            if per_sample_weights != wanted:
                raise Refused(
                    f"per_sample_weights must be {wanted}, not {per_sample_weights}", "per_sample_weights"
                )
        if not rows.dtype.is_floating:
            raise Refused("EmbeddingBag needs a floating-point weight", "dtype")
        require_elements(input, (1,), "EmbeddingBag")
        return rows.with_shape((input.shape[0], self.embedding_dim))

    def positions(
        self,
        input: TensorType,
        offsets: TensorType | None = None,
        per_sample_weights: TensorType | None = None,
    ) -> Mapping[str, Positions]:
        return self._rows.positions(input)

    def lower(
        self,
        net: Network,
        input: Tensor,
        weight: Tensor,
        offsets: Tensor | None = None,
        per_sample_weights: Tensor | None = None,
    ) -> Tensor:
        rows = net.gather(weight, checked(input, self.num_embeddings), 0)
        column = (*input.shape, 1)
        if per_sample_weights is not None:
            rows = net.elementwise("PROD", rows, net.reshape(per_sample_weights, column))
        if self.padding_idx is None:
            operation = {"sum": "SUM", "mean": "AVG", "max": "MAX"}[self.mode]
            return net.reduce(operation, rows, [1], False)
        padding = self.padding_idx % self.num_embeddings
        kept = net.reshape(not_equal(net, input, net.scalar(padding, input)), column)
        count = net.reduce("SUM", net.cast(kept, rows.dtype), [1], False)
        if self.mode == "max":
            most = net.reduce("MAX", net.select(kept, rows, net.scalar(-math.inf, rows)), [1], False)
            is_empty = net.elementwise("EQUAL", count, net.scalar(0, count))
            return net.select(is_empty, net.scalar(0, most), most)
        total = net.reduce("SUM", net.select(kept, rows, net.scalar(0, rows)), [1], False)
        if self.mode == "sum":
            return total
        return net.elementwise("DIV", total, net.elementwise("MAX", count, net.scalar(1, count)))
