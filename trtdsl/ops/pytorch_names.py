"""PyTorch's names, so that a message can tell one that the language lacks from a slip of the pen.

They are data: torch is not imported for them, and a test holds them against torch. Names that the language
has may stand here too: nobody asks about them.
"""

from __future__ import annotations

from trtdsl.ops.unsupported import REASONS

_MODULES = """
    AdaptiveLogSoftmaxWithLoss BCELoss BCEWithLogitsLoss Bilinear CTCLoss ChannelShuffle
    CosineEmbeddingLoss CosineSimilarity CrossEntropyLoss CrossMapLRN2d DataParallel Embedding
    EmbeddingBag Fold FractionalMaxPool2d FractionalMaxPool3d GRU GRUCell GaussianNLLLoss
    HingeEmbeddingLoss HuberLoss KLDivLoss L1Loss LPPool1d LPPool2d LPPool3d LSTM LSTMCell
    MSELoss MarginRankingLoss MaxUnpool1d MaxUnpool2d MaxUnpool3d Module ModuleDict ModuleList
    MultiLabelMarginLoss MultiLabelSoftMarginLoss MultiMarginLoss MultiheadAttention NLLLoss
    PairwiseDistance ParameterDict ParameterList PoissonNLLLoss RMSNorm RNN RNNCell RReLU
    Sequential SmoothL1Loss SoftMarginLoss SyncBatchNorm Transformer TransformerDecoder
    TransformerDecoderLayer TransformerEncoder TransformerEncoderLayer TripletMarginLoss
    TripletMarginWithDistanceLoss Unfold
"""
_FUNCTIONALS = """
    affine_grid bilinear binary_cross_entropy binary_cross_entropy_with_logits channel_shuffle
    cosine_embedding_loss cosine_similarity cross_entropy ctc_loss embedding embedding_bag fold
    fractional_max_pool2d fractional_max_pool3d gaussian_nll_loss grid_sample gumbel_softmax
    hinge_embedding_loss huber_loss kl_div l1_loss lp_pool1d lp_pool2d lp_pool3d
    margin_ranking_loss max_unpool1d max_unpool2d max_unpool3d mse_loss
    multi_head_attention_forward multi_margin_loss multilabel_margin_loss
    multilabel_soft_margin_loss nll_loss one_hot pairwise_distance pdist poisson_nll_loss
    rms_norm rrelu scaled_dot_product_attention smooth_l1_loss soft_margin_loss
    triplet_margin_loss triplet_margin_with_distance_loss unfold upsample_bilinear
    upsample_nearest
"""
_FUNCTIONS_AND_METHODS = """
    absolute addbmm addcdiv addmm addmv addr adjoint allclose aminmax angle arccos arccosh
    arcsin arcsinh arctan arctan2 arctanh argsort argwhere as_strided as_tensor atleast_1d
    atleast_2d atleast_3d baddbmm bernoulli bincount bitwise_left_shift bitwise_right_shift
    block_diag broadcast_tensors broadcast_to bucketize cartesian_prod cdist clamp_max clamp_min
    clip clone column_stack combinations complex concat concatenate conj contiguous copysign
    corrcoef count_nonzero cov cross cummax cummin cumprod deg2rad det detach diag diag_embed
    diagflat diagonal diagonal_scatter diff digamma dist divide dot dsplit dstack einsum empty
    empty_like equal erfc erfinv exp2 expand_as eye fix flip fliplr flipud float_power fmax fmin
    frac frexp full_like gather gcd greater greater_equal heaviside histc histogram hsplit
    hstack hypot i0 igamma igammac imag index_add index_copy index_fill index_put index_reduce
    inner inverse isclose isin isneginf isposinf isreal istft kron kthvalue lcm ldexp less
    less_equal lgamma linspace logaddexp logaddexp2 logcumsumexp logdet logit logspace
    masked_scatter masked_select matrix_exp median meshgrid mode moveaxis msort multinomial
    multiply mv mvlgamma nan_to_num nanmean nanmedian nanquantile nansum narrow negative
    new_empty new_full new_ones new_zeros nextafter nonzero normal not_equal numel ones_like
    polar polygamma positive put quantile rad2deg rand rand_like randint randn randn_like
    randperm ravel real renorm repeat repeat_interleave reshape_as roll rot90 row_stack scatter
    scatter_add scatter_reduce searchsorted select_scatter sgn signbit sinc slice_scatter
    slogdet std_mean stft subtract svd swapaxes swapdims take take_along_dim tensor_split
    tensordot tile trace trapezoid tril tril_indices triu triu_indices true_divide unique
    unique_consecutive unravel_index vander var_mean vdot view_as view_as_complex view_as_real
    vsplit vstack xlogy zeros_like
"""
NAMES = frozenset((*_MODULES.split(), *_FUNCTIONALS.split(), *_FUNCTIONS_AND_METHODS.split()))
"""Names of torch.nn, torch.nn.functional, and of torch or torch.Tensor."""

INSTEAD = {
    "Module": "a module of your own is written `block Name(parameters)(tensors) { … }`",
    "ModuleList": 'write the layers in a `for` loop, labelled `"layers.{i}"`',
    "empty": "write `zeros`",
    "empty_like": "write `zeros_like`",
    "new_empty": "write `new_zeros`",
    "Sequential": "write the layers one after the other: `x -> 0: Linear(64) -> relu -> 2: Linear(10)`",
}
"""What is written in place of modules that hold others, and of functions that others express."""

SYNONYMS = {
    "absolute": "abs",
    "clip": "clamp",
    "concat": "cat",
    "concatenate": "cat",
    "divide": "div",
    "true_divide": "div",
    "greater": "gt",
    "greater_equal": "ge",
    "less": "lt",
    "less_equal": "le",
    "moveaxis": "movedim",
    "multiply": "mul",
    "negative": "neg",
    "not_equal": "ne",
    "ravel": "flatten",
    "subtract": "sub",
    "swapaxes": "transpose",
    "swapdims": "transpose",
}
"""Second names of operators, of which the language has one."""

ELSEWHERE = {
    **dict.fromkeys(("swish", "Swish"), "silu"),
    **dict.fromkeys(("hswish", "h_swish", "hard_swish", "HSwish"), "hardswish"),
    **dict.fromkeys(("hsigmoid", "h_sigmoid", "hard_sigmoid", "HSigmoid"), "hardsigmoid"),
    **dict.fromkeys(
        ("gelu_new", "gelu_fast", "gelu_tanh", "gelu_pytorch_tanh", "NewGELU"), 'gelu(approximate = "tanh")'
    ),
    **dict.fromkeys(("quick_gelu", "QuickGELU"), "x * sigmoid(1.702 * x)"),
    **dict.fromkeys(("Dense", "Gemm", "FullyConnected"), "Linear"),
    "BatchNormalization": "BatchNorm2d",
    "LayerNormalization": "LayerNorm",
    "GlobalAveragePool": "adaptive_avg_pool2d(1)",
    "Concat": "cat",
}
"""What timm, transformers, ONNX and others have by names of their own."""

IMAGES = {
    **dict.fromkeys(
        ("to_tensor", "ToTensor"),
        "write `image -> permute(0, 3, 1, 2) -> to(float32) -> div(255)`, of an input `uint8[N, H, W, 3]`",
    ),
    **dict.fromkeys(("convert_image_dtype", "ConvertImageDtype"), "write `to(x, float32) / 255`"),
    **dict.fromkeys(("pil_to_tensor", "PILToTensor"), "write `permute(image, 0, 3, 1, 2)`"),
    "Normalize": "write `(x - mean) / std`, where `mean` and `std` are such as"
    " `tensor([0.485, 0.456, 0.406])[:, none, none]`",
    **dict.fromkeys(
        ("resize", "Resize"), 'write `interpolate(x, (H, W), mode = "bilinear", antialias = true)`'
    ),
    **dict.fromkeys(
        ("crop", "center_crop", "CenterCrop"),
        "write slices, `x[..., top : top + height, left : left + width]`",
    ),
    "hflip": "write `flip(x, -1)`",
    "vflip": "write `flip(x, -2)`",
    **dict.fromkeys(
        ("rgb_to_grayscale", "to_grayscale", "Grayscale"),
        "write `sum(x * tensor([0.2989, 0.587, 0.114])[:, none, none], 1, keepdim = true)`",
    ),
}
"""What torchvision's transforms of images are, by which networks are given what they were trained on."""

NAMESAKES = {
    "normalize": f"torchvision's `normalize(x, mean, std)` is another function: {IMAGES['Normalize']}",
    "pad": "torchvision's `pad` is another function: all sides are given here, `(left, right, top, bottom)`",
}
"""Functions of torchvision's transforms that have the name of another one of torch.nn.functional."""


def advice(name: str) -> str:
    """What to say of an unknown name that PyTorch or another library has; "" of any other."""
    if name in ELSEWHERE:
        return f"write `{ELSEWHERE[name]}`"
    if name in IMAGES:
        return IMAGES[name]
    if name in REASONS:
        return REASONS[name]
    if name not in NAMES:
        return ""
    if name in SYNONYMS:
        return f"write `{SYNONYMS[name]}`"
    return INSTEAD.get(name, "PyTorch has it, trtdsl does not; `trtdsl ops` lists the operators")
