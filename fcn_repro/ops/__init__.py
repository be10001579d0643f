"""The fused ops: bilinear deconvolution and offset crop in one gather, with argmax or loss.

    u = y + offset_y + pad_y,  v = x + offset_x + pad_x
    out[n, c, y, x] = sum over i, j of in[n, c, i, j] * taps_y[u - i * s_y] * taps_x[v - j * s_x]

Schemas, argument checks and kernels are C++ (csrc/); fake kernels, gradients and the reference
twins in plain PyTorch, which define the ops, are here.
"""

from .border import repeat_border, repeat_border_ref
from .extension import has_avx512_bf16, load_extension, refuse_devices
from .gemm import conv_gemm, conv_gemm_ref
from .interp import (
    interp_argmax,
    interp_argmax_ref,
    interp_softmax_loss,
    interp_softmax_loss_ref,
)
from .lattice import (
    Kernel,
    Lattice,
    lattice,
    lattice_filter,
    lattice_filter_ref,
    lattice_ref,
    mean_field,
    mean_field_ref,
)
from .pointwise import conv1x1, conv1x1_ref, pointwise, pointwise_filters, pointwise_ref
from .pooling import (
    block_maximum,
    block_maximum_ref,
    max_pool,
    max_pool_ref,
    suits_block_maximum,
    suits_max_pool,
    unpool,
    unpool_ref,
)
from .prelu import prelu, prelu_backward, prelu_backward_ref
from .reduced import upcrop_argmax, upcrop_argmax_ref, upcrop_softmax_loss, upcrop_softmax_loss_ref
from .scoring import boundary_bands, boundary_bands_ref, pair_counts, pair_counts_ref
from .taps import bilinear_taps, recognise_bilinear, tap_dtype
from .upsample import upcrop, upcrop_add, upcrop_add_ref, upcrop_ref
from .window import WindowKernel, window_filter, window_filter_ref
from .winograd import (
    block_filters,
    conv3x3,
    conv3x3_ref,
    winograd,
    winograd_blocks,
    winograd_filters,
)

__all__ = ['Kernel', 'Lattice', 'WindowKernel', 'bilinear_taps', 'block_filters', 'block_maximum',
           'block_maximum_ref', 'boundary_bands', 'boundary_bands_ref', 'conv1x1', 'conv1x1_ref',
           'conv3x3', 'conv3x3_ref', 'conv_gemm', 'conv_gemm_ref', 'has_avx512_bf16',
           'interp_argmax', 'interp_argmax_ref', 'interp_softmax_loss', 'interp_softmax_loss_ref',
           'lattice', 'lattice_filter', 'lattice_filter_ref', 'lattice_ref', 'load_extension',
           'max_pool', 'max_pool_ref', 'mean_field', 'mean_field_ref', 'pair_counts',
           'pair_counts_ref', 'pointwise', 'pointwise_filters', 'pointwise_ref', 'prelu',
           'prelu_backward', 'prelu_backward_ref', 'recognise_bilinear', 'refuse_devices',
           'repeat_border', 'repeat_border_ref', 'suits_block_maximum', 'suits_max_pool',
           'tap_dtype', 'unpool', 'unpool_ref', 'upcrop', 'upcrop_add', 'upcrop_add_ref',
           'upcrop_argmax', 'upcrop_argmax_ref', 'upcrop_ref', 'upcrop_softmax_loss',
           'upcrop_softmax_loss_ref', 'window_filter', 'window_filter_ref', 'winograd',
           'winograd_blocks', 'winograd_filters']
