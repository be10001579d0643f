"""How layers that only change a shape are exported (exporting.py): Flatten, InnerProduct, Reshape.

A new shape is (start, wanted, end): the axes before `start` stay, `wanted` replaces those up to
`end`, as Caffe's Reshape writes it (0: the axis at this place, -1: inferred), those from `end` on
stay.
"""

from .exporting import OnnxNodes, TorchCode, sizes_text


def reshape_code(code: TorchCode, start: int, wanted: list[int], end: int) -> str:
    """The expression that gives the first bottom the new shape."""
    x, dims = code.bottoms[0], code.dims[0]
    middle = [str(size) if size else sizes_text(x, dims, start + i, start + i + 1)[0]
              for i, size in enumerate(wanted)]
    texts = [*sizes_text(x, dims, 0, start), *middle, *sizes_text(x, dims, end, len(dims))]
    return f'{x}.reshape({", ".join(texts) or "()"})'


def reshape_node(nodes: OnnxNodes, start: int, wanted: list[int], end: int) -> str:
    """The node that gives the first bottom the new shape."""
    dims = nodes.dims[0]
    shift = len(wanted) - (end - start)
    after = [0 if shift == 0 and size is None else size for size in dims[end:]]
    target = [*(0 if size is None else size for size in dims[:start]), *wanted]
    if None not in after:
        return nodes.op('Reshape', nodes.bottoms[0], nodes.ints([*target, *after]))
    shape = nodes.op('Concat', nodes.ints(target), nodes.extents(0, end, len(dims)), axis=0) \
        if target else nodes.extents(0, end, len(dims))
    return nodes.op('Reshape', nodes.bottoms[0], shape)
