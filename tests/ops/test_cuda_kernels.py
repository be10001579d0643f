"""The CUDA kernels on the host: the tests of the ops, with csrc/cuda in place of the CPU kernels.

csrc/cuda is compiled as it is, the glue to torch included, for a runtime that runs the threads of
a block as fibers (tests/ops/cuda_shim). The tests are those of test_ops, test_ops_reduced,
test_ops_inputs, test_interp, test_update, test_repeat_border, test_max_pool, test_unrolled and
test_window, imported, so that every case and tolerance is theirs.
"""

import pytest
import torch
from host_kernels import compile_backend, instead_of_cpu_kernels, load
from test_interp import (  # noqa: F401
    test_interp_any_size,
    test_interp_argmax_refuses,
    test_interp_argmax_twin,
    test_interp_derivatives,
    test_interp_ignored_nan_and_the_clamp,
    test_interp_label_types,
    test_interp_loss_layouts_and_bits,
    test_interp_loss_refuses,
    test_interp_loss_twin,
    test_interp_mixed_devices,
    test_interp_nothing_takes_part,
    test_interp_ties_and_nan,
)
from test_max_pool import (  # noqa: F401
    test_any_windows,
    test_bad_pools,
    test_layer_as_by_torch,
    test_pool_twin,
    test_pool_views,
)
from test_ops import (  # noqa: F401
    SAMPLES,
    TOLERANCE,
    gradient,
    test_algebra,
    test_any_geometry,
    test_empty,
    test_golden,
    test_gradcheck,
    test_layouts,
    test_tile_edges,
    test_twin,
)
from test_ops_inputs import (  # noqa: F401
    test_edges,
    test_empty_crops_and_inputs,
    test_labels_out_of_range,
    test_loss_of_nan_and_infinity,
    test_mixed_devices,
    test_nan_stays_beside_the_kernel,
    test_views_of_images,
    test_views_of_labels,
)
from test_ops_reduced import (  # noqa: F401
    loss_args,
    test_add_twin,
    test_argmax_ties_and_nan,
    test_argmax_twin,
    test_label_types,
    test_loss_any_geometry,
    test_loss_clamp,
    test_loss_derivatives,
    test_loss_ignores_nan,
    test_loss_twin,
    test_nothing_takes_part,
    with_skip,
)
from test_repeat_border import (  # noqa: F401
    test_any_border,
    test_bad_borders,
    test_border_bits,
    test_border_twin,
    test_border_views,
)
from test_unrolled import (  # noqa: F401
    test_any_unrolled_windows,
    test_bad_arguments,
    test_bad_arguments_of_sums,
    test_convolution,
    test_convolution_and_relu,
    test_image_convolution,
    test_image_convolution_of_nan,
    test_image_convolution_refuses,
    test_patches_are_the_twin,
    test_relu_backward,
    test_relu_backward_of_nan_and_views,
    test_relu_backward_refuses,
    test_sums_of_patches_are_the_twins_gradient,
    test_unrolled_in_pieces,
)
from test_update import test_same_bits_as_the_rules  # noqa: F401
from test_window import (  # noqa: F401
    test_any_window,
    test_nan_stays_in_its_windows,
    test_what_window_filter_refuses,
    test_window_filter_at_other_places,
    test_window_filter_derivatives,
    test_window_filter_is_the_double_sum,
    test_window_filter_views_and_bits,
    test_windows_of_nothing,
    test_windows_on_mixed_devices,
)

from fcn_repro import ops
from fcn_repro.ops.pooling import max_pool_backward_ref

# Geometry as in SAMPLES, of more than one tile of the kernels
TILES = [
    ((1, 21, 7, 20), (16, 16), (8, 8), (0, 0), (5, 7), (40, 131)),     # FCN's classes
    ((2, 18, 3, 18), (64, 64), (32, 32), (0, 0), (19, 19), (70, 530)),  # strips; parts of a cell
    ((1, 2, 2, 20), (63, 63), (32, 32), (0, 0), (18, 18), (17, 600)),
    ((43, 13, 11, 3), (4, 4), (2, 2), (0, 0), (1, 1), (21, 5)),         # bands of several rows
    ((1, 3, 2, 700), (3, 2), (2, 1), (1, 0), (0, 0), (3, 701)),         # a kernel below 2 strides
    ((1, 2, 2, 2), (300, 2), (150, 1), (0, 0), (9, 0), (311, 3)),       # strides beyond a block
    ((1, 2, 2, 2), (2, 600), (1, 300), (0, 0), (0, 11), (3, 700)),
]


@pytest.fixture(scope='session')
def backend(tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    if folder.name.startswith('popen-gw'):      # pytest-xdist: a folder for each process
        folder = folder.parent
    return load(compile_backend(folder))


@pytest.fixture(autouse=True, scope='module')
def cuda_kernels(backend):
    before, one = backend.cuda_shim_launches(), torch.ones(1)
    with instead_of_cpu_kernels():
        ops.upcrop(one.view(1, 1, 1, 1), one, one, (1, 1), (0, 0), (0, 0), (1, 1))
        assert backend.cuda_shim_launches() == before + 1
        yield


@pytest.mark.parametrize('dtype', TOLERANCE)
@pytest.mark.parametrize('sample', TILES)
def test_tiles(sample, dtype):
    test_twin(sample, dtype, 'cpu')
    test_add_twin(sample, dtype, 'cpu')
    test_loss_twin(sample, dtype, 'VALID', 'cpu')
    if dtype == torch.float32:
        test_layouts(sample, 'cpu')


@pytest.mark.parametrize('shape', [(1, 1, 65539, 2), (1, 65539, 2, 2)])
def test_more_rows_and_planes_than_a_grid_has(shape):
    x = torch.rand(shape)
    borders = (1, 0, 1 if shape[2] > 2 else 0), (0, 0, 1)
    assert torch.equal(ops.repeat_border(x, *borders), ops.repeat_border_ref(x, *borders))
    grad = ops.repeat_border_ref(x, *borders)
    assert torch.equal(torch.ops.fcn_repro.repeat_border_backward(grad, (0, 0, 0), (0, 0, 0)), grad)
    windows = (1, 2), (1, 1), (0, 0), (shape[2], 1)
    top, index = torch.ops.fcn_repro.max_pool(x, *windows, True)
    assert torch.equal(top, ops.max_pool_ref(x, *windows))
    back = top, index, *windows[:3], shape[2:]
    assert torch.equal(torch.ops.fcn_repro.max_pool_backward(*back), max_pool_backward_ref(*back))


def bits(sample, dtype):
    """Results and gradients of all ops for one sample, as tensors."""
    args = with_skip(sample, dtype=dtype)
    x, *middle, skip, start = args
    last = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    image, label, *rest = loss_args(sample, dtype)
    loss = ops.upcrop_softmax_loss(image, label, *rest, ignore_label=255)
    return [*gradient(ops.upcrop, x, *middle), *gradient(ops.upcrop, last, *middle),
            ops.upcrop_add(x, *middle, skip, start),
            *ops.upcrop_argmax(x, *middle, probability=True),
            loss, *torch.autograd.grad(loss, image)]


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('sample', [*SAMPLES[:9], *TILES])
def test_same_bits_in_any_order_of_threads(sample, dtype, backend):
    """A result that depends on the order of a block's threads lacks a barrier."""
    found = []
    for reverse in False, True:
        backend.cuda_shim_reverse(reverse)
        found.append(bits(sample, dtype))
    backend.cuda_shim_reverse(False)
    assert all(map(torch.equal, *found))


@pytest.mark.parametrize('shape', [(1, 64, 50, 61), (2, 5, 9, 11), (1, 1100, 3, 5)])
def test_sums_in_any_order_of_threads(shape, backend):
    grad, top = (torch.randn(shape, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    found = []
    for reverse in False, True:
        backend.cuda_shim_reverse(reverse)
        held = torch.ops.fcn_repro.patches(grad, (2, 3), (1, 0))
        found.append([held, torch.ops.fcn_repro.patches_input(held, (2, 3), (1, 0)),
                      *torch.ops.fcn_repro.relu_backward(grad, top)])
    backend.cuda_shim_reverse(False)
    assert all(map(torch.equal, *found))
