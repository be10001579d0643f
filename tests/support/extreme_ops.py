"""Calls every C++ op with extreme arguments, in this process, which a crash ends:

    python extreme_ops.py EVERY MEMORY [OP ...]

EVERY: 1 for all the calls, n for each n-th. MEMORY: bytes that they may take, 0 for no limit.
Prints each call before it is made. An error of the op is what is wanted, a result is fine too.
"""

import itertools
import resource
import sys

import torch

from fcn_repro import ops

NUMBERS = -2**63, -2**31, -1, 0, 1, 3, 2**16 + 1, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1
LARGE = 2**31 - 1, 2**31, 2**40, 2**62
OP = torch.ops.fcn_repro


def samples():
    """{op: valid arguments}, of all ops."""
    x, taps, ones = torch.rand(1, 2, 3, 3), torch.rand(4), torch.ones
    label = torch.zeros(1, 4, 4, dtype=torch.long)
    pair = [2, 2]
    up = taps, taps, pair, [1, 1], [0, 0]
    filters = torch.rand(1, 2, 2, 3, 2, 4, 2)           # phases: 2 taps of stride 2, 3 -> 4
    w3, w1 = torch.rand(16, 16, 3, 3), torch.rand(16, 16, 2, 2)
    packed = ops.winograd_filters(w3)
    image = torch.rand(1, 16, 6, 6)
    data = [torch.rand(3)]
    on = ops.lattice(torch.rand(5, 2))
    return {
        'upcrop': (x, *up, [4, 4]),
        'upcrop_add': (x, *up, [4, 4], ones(1, 2, 5, 5), [1, 1]),
        'upcrop_backward': (ones(1, 2, 4, 4), *up, [3, 3]),
        'upcrop_argmax': (x, *up, [4, 4], torch.int64, True),
        'upcrop_softmax_loss': (x, label, *up, 1, 255, torch.rand(2), None, True, True),
        'phases': (torch.rand(1, 4, 4, 3), filters, torch.rand(4), [0, 0], [6, 6], torch.float32,
                   False),
        'phases_input': (ones(1, 4, 6, 6), filters, [0, 0], [4, 4], False),
        'phases_filters': (ones(1, 4, 6, 6), torch.rand(1, 4, 4, 3), [0, 0], pair, pair, 1, False),
        'fused_update': (data, [torch.rand(3)], [torch.rand(3)], 'SGD', [0.1], [0.1], [True],
                         False, 1.0, 0.9, 0.9, 1e-8),
        'conv3x3': (image, w3, torch.rand(16), [1, 1]),
        'conv3x3_input': (image, w3, [1, 1]),
        'conv3x3_weight': (image, image, [1, 1]),
        'winograd_filters': (torch.rand(3, 3, 16, 16),),
        'winograd': (image, packed, 16, torch.rand(16), [1, 1]),
        'winograd_blocks': (image, ops.block_filters(torch.rand(16, 16, 5, 4)), 16,
                            torch.rand(16), [5, 4], [2, 1]),
        'pointwise_filters': (torch.rand(5, 2, 1, 1),),
        'pointwise': (x, ops.pointwise_filters(torch.rand(5, 2, 1, 1)), 5, torch.rand(5),
                      ones(1, 5, 3, 3), torch.rand(5), True),
        'conv1x1': (x, torch.rand(16, 2, 1, 1), torch.rand(16)),
        'conv1x1_input': (ones(1, 16, 3, 3), torch.rand(16, 2, 1, 1)),
        'conv1x1_weight': (ones(1, 16, 3, 3), x),
        'prelu_backward': (x, x, torch.rand(2)),
        'conv_gemm': (image, w1, torch.rand(16)),
        'conv_gemm_input': (ones(1, 16, 5, 5), w1),
        'conv_gemm_weight': (ones(1, 16, 5, 5), image),
        'repeat_border': (x, [0, 1, 2], [1, 0, 1]),
        'repeat_border_backward': (ones(1, 2, 7, 5), [0, 1, 2], [1, 0, 1]),
        'max_pool': (x, pair, pair, [1, 1], pair, True),
        'max_pool_backward': (ones(1, 2, 2, 2), torch.zeros(1, 2, 2, 2, dtype=torch.uint8), pair,
                              pair, [1, 1], [3, 3]),
        'unpool': (x, torch.zeros(1, 2, 3, 3), [6, 6]),
        'patches': (x, pair, [1, 1]),
        'patches_input': (ones(1, 4, 4, 8), pair, [1, 1]),
        'relu_backward': (ones(1, 2, 3, 3), x),
        'image_conv_relu': (x, ones(4, 2, 3, 3), None, [1, 1]),
        'lattice': (torch.rand(5, 2),),
        'lattice_filter': (torch.rand(5, 3), *on, False),
        'mean_field': (torch.rand(5, 3), *([each] for each in on), [torch.rand(5)], 2),
        'interp_argmax': (x, [5, 4], torch.int64, True),
        'interp_softmax_loss': (x, label, 1, 255, torch.rand(2), None, True, True),
        'window_filter': (x, torch.rand(1, 3, 3, 3), torch.arange(3.), torch.arange(3.), [3., 10.],
                          [3., float('inf')], [float('inf'), 13.], 1, True),
        'pair_counts': (ones(3, 4, dtype=torch.uint8), ones(3, 4, dtype=torch.uint8),
                        ones(3, 4, dtype=torch.uint8), 5, 3),
        'boundary_bands': (ones(3, 4, dtype=torch.uint8), [1, 2]),
        'constants': (), 'has_avx512_bf16': ()}


def tensors(tensor):
    """Views of a tensor with extreme sizes: memory for one element or none."""
    for shape in shapes(list(tensor.shape)):
        try:
            yield torch.zeros(1, dtype=tensor.dtype).as_strided(shape, [0] * len(shape))
        except RuntimeError:                            # torch itself refuses it
            continue
    yield tensor.to(torch.complex64)
    yield tensor.to('meta')


def shapes(shape):
    """A shape with one size, or two, replaced by extreme ones."""
    yield []
    for axis, size in itertools.product(range(len(shape)), (0, *LARGE)):
        large = [*shape[:axis], size, *shape[axis + 1:]]
        yield large
        for other in range(axis):
            for second in (0, size):
                yield [*large[:other], second, *large[other + 1:]]


def values(value):
    """Extreme values in place of an argument."""
    if isinstance(value, torch.Tensor):
        yield from tensors(value)
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from NUMBERS
    elif isinstance(value, float):
        yield from (float('nan'), float('inf'), -1e308)
    elif isinstance(value, list) and value and isinstance(value[0], int):
        for a, b in itertools.product(NUMBERS, NUMBERS):
            yield [a, b, *value[2:]]
    elif isinstance(value, list):
        yield []
        yield value * 3
        yield from ([each] for each in values(value[0]))
    elif isinstance(value, torch.dtype):
        yield from (torch.uint8, torch.float16, torch.complex64, torch.bool)
    elif isinstance(value, str):
        yield from ('', 'Adam', 'x' * 10**6)


def calls(args):
    """Arguments with one replaced, and with each pair of integer arguments replaced together."""
    for i, arg in enumerate(args):
        for value in values(arg):
            yield [*args[:i], value, *args[i + 1:]]
    pairs = [i for i, arg in enumerate(args) if isinstance(arg, list) and isinstance(arg[0], int)]
    for i, j in itertools.combinations(pairs, 2):
        for a, b in itertools.product(NUMBERS, NUMBERS):
            changed = list(args)
            changed[i], changed[j] = [a, a, *args[i][2:]], [b, b, *args[j][2:]]
            yield changed
    large = [i for i, arg in enumerate(args) if isinstance(arg, torch.Tensor)]
    for i, j in itertools.combinations(large, 2):       # two views that may fit each other
        for a, b in itertools.product(tensors(args[i]), tensors(args[j])):
            changed = list(args)
            changed[i], changed[j] = a, b
            yield changed


def shown(arg):
    return f'{arg.dtype} {list(arg.shape)}' if isinstance(arg, torch.Tensor) else str(arg)[:60]


def limit_memory(most):
    """Have allocations of more than `most` further bytes fail; 0: no limit."""
    with open('/proc/self/statm') as statm:
        there = int(statm.read().split()[0]) * resource.getpagesize()
    if most:
        resource.setrlimit(resource.RLIMIT_AS, (there + most,) * 2)


def call_all(name, args, every):
    """Call one op with extreme arguments, with every so manieth of them."""
    getattr(OP, name)(*args)                            # the sample itself is valid
    refused = 0
    for changed in itertools.islice(calls(args), 0, None, every):
        print(name, *map(shown, changed), sep=' | ', flush=True)
        try:
            getattr(OP, name)(*changed)
        except (ValueError, RuntimeError, MemoryError, TypeError):
            refused += 1
    print(f'{name}: {refused} refused')


def main(every, memory, *names):
    torch.set_num_threads(1)
    limit_memory(int(memory))
    known = samples()
    for name in names or known:
        call_all(name, known[name], int(every))


if __name__ == '__main__':
    main(*sys.argv[1:])
