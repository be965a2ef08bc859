"""The families of operators, as `trtdsl ops` and the operator pages list them: layers, then functions."""

from __future__ import annotations

from trtdsl.ops.base import Op

_FAMILIES = {
    "Convolution": ("convolution", "deformable"),
    "Pooling": ("pooling", "adaptive", "lp_pooling"),
    "Padding": ("pad", "pad_modules"),
    "Activation": ("activation", "piecewise_linear", "softmax"),
    "Normalization": ("batch_norm", "layer_norm"),
    "Linear layers": ("linear",),
    "Attention": ("multihead_attention", "attention", "rotary", "kv_cache"),
    "Recurrent layers": ("recurrent", "recurrent_cells"),
    "Embeddings": ("embedding",),
    "Quantisation": ("quantization",),
    "Dropout and identity": ("dropout",),
    "Images and patches": ("resize", "pixels", "patches", "sampling", "regions"),
    "Control flow": ("control_flow",),
    "Plugins": ("plugin",),
    "Arithmetic": ("pointwise", "division", "pairs", "bits"),
    "Elementwise functions": ("unary", "special"),
    "Comparison and choice": ("logic",),
    "Reduction": ("reduction", "statistics", "cumulative", "vector_norm"),
    "Sorting and searching": ("ordering", "comparing"),
    "Products and distances": ("matrix", "products", "einsum", "distance"),
    "Shape": ("shape", "views", "shuffle"),
    "Joining and splitting": ("joining", "stacking", "splitting"),
    "Reordering and repetition": ("movement",),
    "Indexing": ("indexing", "gathering", "scattering", "index_writing", "slices", "strided_slice"),
    "Creation": ("creation", "likeness", "ranges", "triangles"),
}
"""By their names the modules of this package whose operators they hold."""

_OF_MODULE = {module: family for family, modules in _FAMILIES.items() for module in modules}
_PLACES = {family: place for place, family in enumerate(_FAMILIES)}


def family(op: type[Op]) -> str:
    """An operator's family; one from elsewhere is called after its module."""
    module = op.__module__.rpartition(".")[2]
    return _OF_MODULE.get(module, module.replace("_", " ").capitalize())


def place(family: str) -> tuple[int, str]:
    """Where a family stands among the others."""
    return _PLACES.get(family, len(_PLACES)), family
