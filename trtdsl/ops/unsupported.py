"""What of PyTorch no operator is: what an engine cannot do, and what is written otherwise."""

from __future__ import annotations

from collections.abc import Mapping

_GROUPS: Mapping[str, str] = {
    "TensorRT has neither complex numbers nor Fourier transforms: of a fixed size one is a `matmul` with"
    " constant cosines, and another with constant sines": """
        fft ifft rfft irfft hfft ihfft fft2 ifft2 rfft2 irfft2 fftn ifftn rfftn irfftn stft istft
    """,
    "TensorRT has no complex numbers: keep the real and the imaginary part as two tensors": """
        complex polar angle conj conj_physical resolve_conj real imag view_as_complex view_as_real
        is_complex cfloat cdouble chalf
    """,
    "TensorRT has no float64: write `float`": "double",
    "its result is float64 in PyTorch, which TensorRT lacks: write `pow`": "float_power",
    "TensorRT has no 16-bit integers: write `int`": "short",
    "an engine draws no random numbers: give them as an input": """
        rand randn rand_like randn_like randint randint_like randperm bernoulli multinomial normal poisson
        gumbel_softmax fractional_max_pool2d fractional_max_pool3d FractionalMaxPool2d FractionalMaxPool3d
    """,
    "how many elements it gives depends on values, and sizes must follow from those of the inputs (TensorRT"
    " has a layer that finds them, TensorRT-RTX has none): keep the shape with `where(mask, x, 0)`, count"
    " with `sum(to(mask, int64))`": """
        nonzero argwhere masked_select
    """,
    "how large its result is depends on values, and sizes must follow from those of the inputs": """
        unique unique_consecutive bincount
    """,
    "which element of the source goes where depends on all of the mask: where each has a place of its own,"
    " write `where(mask, source, x)`": "masked_scatter",
    "how many boxes are left depends on values: `nms_padded` of std/detection.trtnet finds a given number of"
    " them, its `EfficientNMS` by TensorRT's plugin where there are plugins; or give out boxes and scores and"
    " choose after the engine": "nms batched_nms",
    "how large each of its cells is depends on the boxes, and TensorRT has no plugin for it: `roi_align` with"
    " a `sampling_ratio` reads a given number of points": "roi_pool ps_roi_pool RoIPool PSRoIPool",
    'write `import "std/detection.trtnet"`, which has it': """
        FrozenBatchNorm2d box_area box_convert box_iou clip_boxes_to_image generalized_box_iou
    """,
    'write `import "std/squeeze_excitation.trtnet"`, which has it': "SqueezeExcitation",
    'write `import "std/transformer.trtnet"`, which has it': """
        TransformerDecoder TransformerDecoderLayer TransformerEncoder TransformerEncoderLayer
    """,
    "write `TransformerEncoder` and `TransformerDecoder` of std/transformer.trtnet": "Transformer",
    "write `roi_align` of every level, and `where` for the level of a box of its size": "MultiScaleRoIAlign",
    "in inference it is `BatchNorm1d`, `BatchNorm2d` or `BatchNorm3d`, with the same keys": "SyncBatchNorm",
    "in inference it is `leaky_relu`, with the mean of its two bounds for the slope": "RReLU rrelu",
    "in inference it does nothing: leave it out": """
        DropBlock2d DropBlock3d StochasticDepth drop_block2d drop_block3d stochastic_depth
    """,
    "every module finds the channels of its input: write it without `Lazy`": """
        LazyBatchNorm1d LazyBatchNorm2d LazyBatchNorm3d LazyConv1d LazyConv2d LazyConv3d LazyConvTranspose1d
        LazyConvTranspose2d LazyConvTranspose3d LazyInstanceNorm1d LazyInstanceNorm2d LazyInstanceNorm3d
        LazyLinear
    """,
    "write the module inside, whose keys are below `module`": "DataParallel",
    "label its modules with its own label and their keys, `heads.first: Linear(4)`": "ModuleDict",
    'write each with its key, `"scales.{i}": Parameter(8)`': "ParameterDict ParameterList",
    "it needs the positions of a pool's maxima, which TensorRT's pooling does not return": """
        max_unpool1d max_unpool2d max_unpool3d MaxUnpool1d MaxUnpool2d MaxUnpool3d
    """,
    "PyTorch's sums keep the first channel in all later ones: write `local_response_norm`": "CrossMapLRN2d",
    "TensorRT has no decompositions of matrices: compute it outside, and give it as a weight or an input": """
        svd svd_lowrank pca_lowrank qr cholesky cholesky_inverse cholesky_solve lu lu_solve eigh eigvalsh eig
        eigvals det slogdet logdet inverse inv pinverse pinv lstsq matrix_exp matrix_rank triangular_solve
    """,
    "TensorRT has no such special function": """
        lgamma digamma polygamma mvlgamma i0 igamma igammac
    """,
    "TensorRT has no steps that are repeated until a number is found": "gcd lcm",
    "TensorRT cannot read the bits of a float": "frexp nextafter",
    "how a tensor lies in memory is TensorRT's own choice: write slices, `reshape` and `permute`": """
        as_strided stride storage_offset
    """,
    "write the products one after the other, `a @ b @ c`": "chain_matmul multi_dot",
    "a loss is for training, an engine computes what is inferred": """
        AdaptiveLogSoftmaxWithLoss BCELoss BCEWithLogitsLoss CTCLoss CosineEmbeddingLoss CrossEntropyLoss
        GaussianNLLLoss HingeEmbeddingLoss HuberLoss KLDivLoss L1Loss MSELoss MarginRankingLoss
        MultiLabelMarginLoss MultiLabelSoftMarginLoss MultiMarginLoss NLLLoss PoissonNLLLoss SmoothL1Loss
        SoftMarginLoss TripletMarginLoss TripletMarginWithDistanceLoss binary_cross_entropy
        binary_cross_entropy_with_logits cosine_embedding_loss cross_entropy ctc_loss gaussian_nll_loss
        hinge_embedding_loss huber_loss kl_div l1_loss margin_ranking_loss mse_loss multi_margin_loss
        multilabel_margin_loss multilabel_soft_margin_loss nll_loss poisson_nll_loss smooth_l1_loss
        soft_margin_loss triplet_margin_loss triplet_margin_with_distance_loss
    """,
}
REASONS: Mapping[str, str] = {name: reason for reason, names in _GROUPS.items() for name in names.split()}
"""Why an operator is missing, by PyTorch's name for it."""
