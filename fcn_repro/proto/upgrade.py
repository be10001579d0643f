"""Upgrade old nets and solvers, as Caffe does on reading (src/caffe/util/upgrade_proto.cpp).

V0 wraps each layer's settings in `layers { layer { type: "conv" ... } }`, V1 has
`layers { type: CONVOLUTION ... }`, V2 `layer { type: "Convolution" ... }`. What Caffe only logs and
then drops (a V0 field that its layer type does not have) is an error here. Every message made here
is of the dialect of the one that is upgraded, and the dialect's own rules come last.
"""

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any

from ..errors import FcnError
from .dialects import BVLC, Dialect, dialect_of, dialects

# V1 enum = V2 type, and the V0 spelling where there is one
TYPES = [row.split() for row in '''
    ABSVAL AbsVal
    ACCURACY Accuracy accuracy
    ARGMAX ArgMax
    BNLL BNLL bnll
    CONCAT Concat concat
    CONTRASTIVE_LOSS ContrastiveLoss
    CONVOLUTION Convolution conv
    DATA Data data
    DECONVOLUTION Deconvolution
    DROPOUT Dropout dropout
    DUMMY_DATA DummyData
    ELTWISE Eltwise
    EUCLIDEAN_LOSS EuclideanLoss euclidean_loss
    EXP Exp
    FLATTEN Flatten flatten
    HDF5_DATA HDF5Data hdf5_data
    HDF5_OUTPUT HDF5Output hdf5_output
    HINGE_LOSS HingeLoss
    IM2COL Im2col im2col
    IMAGE_DATA ImageData images
    INFOGAIN_LOSS InfogainLoss infogain_loss
    INNER_PRODUCT InnerProduct innerproduct
    LRN LRN lrn
    MEMORY_DATA MemoryData
    MULTINOMIAL_LOGISTIC_LOSS MultinomialLogisticLoss multinomial_logistic_loss
    MVN MVN
    POOLING Pooling pool
    POWER Power
    RELU ReLU relu
    SIGMOID Sigmoid sigmoid
    SIGMOID_CROSS_ENTROPY_LOSS SigmoidCrossEntropyLoss
    SILENCE Silence
    SLICE Slice
    SOFTMAX Softmax softmax
    SOFTMAX_LOSS SoftmaxWithLoss softmax_loss
    SPLIT Split split
    TANH TanH tanh
    THRESHOLD Threshold
    WINDOW_DATA WindowData window_data'''.strip().split('\n')]
V1_WITH_BLOBS = 'Convolution', 'Deconvolution', 'InnerProduct'     # V1 has no other in BVLC's Caffe
V0_TO_V1 = {row[2]: row[0] for row in TYPES if len(row) == 3}
V0_TO_V2 = {row[2]: row[1] for row in TYPES if len(row) == 3}

# V0 field = its name in the message of each V0 type that has it ('' for any type)
V0_FIELDS = {name: dict(place.split('=') for place in places.split()) for name, places in {
    'num_output': 'conv=convolution_param.num_output innerproduct=inner_product_param.num_output',
    'biasterm': 'conv=convolution_param.bias_term innerproduct=inner_product_param.bias_term',
    'weight_filler': 'conv=convolution_param.weight_filler '
                     'innerproduct=inner_product_param.weight_filler',
    'bias_filler': 'conv=convolution_param.bias_filler '
                   'innerproduct=inner_product_param.bias_filler',
    'pad': 'conv=convolution_param.pad pool=pooling_param.pad',
    'kernelsize': 'conv=convolution_param.kernel_size pool=pooling_param.kernel_size',
    'group': 'conv=convolution_param.group',
    'stride': 'conv=convolution_param.stride pool=pooling_param.stride',
    'pool': 'pool=pooling_param.pool',
    'dropout_ratio': 'dropout=dropout_param.dropout_ratio',
    'local_size': 'lrn=lrn_param.local_size',
    'alpha': 'lrn=lrn_param.alpha',
    'beta': 'lrn=lrn_param.beta',
    'k': 'lrn=lrn_param.k',
    'source': 'data=data_param.source hdf5_data=hdf5_data_param.source '
              'images=image_data_param.source window_data=window_data_param.source '
              'infogain_loss=infogain_loss_param.source',
    'batchsize': 'data=data_param.batch_size hdf5_data=hdf5_data_param.batch_size '
                 'images=image_data_param.batch_size window_data=window_data_param.batch_size',
    'scale': '=transform_param.scale',
    'meanfile': '=transform_param.mean_file',
    'cropsize': '=transform_param.crop_size',
    'mirror': '=transform_param.mirror',
    'rand_skip': 'data=data_param.rand_skip images=image_data_param.rand_skip',
    'shuffle_images': 'images=image_data_param.shuffle',
    'new_height': 'images=image_data_param.new_height',
    'new_width': 'images=image_data_param.new_width',
    'concat_dim': 'concat=concat_param.concat_dim',
    'det_fg_threshold': 'window_data=window_data_param.fg_threshold',
    'det_bg_threshold': 'window_data=window_data_param.bg_threshold',
    'det_fg_fraction': 'window_data=window_data_param.fg_fraction',
    'det_context_pad': 'window_data=window_data_param.context_pad',
    'det_crop_mode': 'window_data=window_data_param.crop_mode',
    'hdf5_output_param': 'hdf5_output=hdf5_output_param',
}.items()}


@lru_cache
def v1_types(dialect: Dialect) -> dict[int, str]:
    """{number of V1LayerParameter.LayerType: current type name} of a dialect; '' for NONE."""
    names = {'NONE': ''} | {row[0]: row[1] for row in TYPES} | dict(dialect.v1_types)
    return {number: names[name] for name, number in
            dialect['V1LayerParameter'].LayerType.items() if name in names}


def dialects_of_v1(numbers: Collection[int], full: Collection[int]) -> list[Dialect]:
    """The dialects that may have written a V1 file whose layer types have these numbers; full:
    those of layers with blobs. BVLC's alone if it has all of them."""
    def wrote(dialect: Dialect) -> bool:
        types = v1_types(dialect)
        return all(number in types and (number not in full or types[number] in
                                        {*V1_WITH_BLOBS, *dialect.blobs}) and
                   (number in full or types[number] not in ('Deconvolution', *dialect.blobs)
                    or not full)
                   for number in numbers)
    found = [dialect for dialect in dialects().values() if wrote(dialect)]
    return [BVLC] if BVLC in found else found


def upgrade_net(net: Any, lines: Sequence[int | None],
                input_line: int | None = None) -> tuple[Any, tuple[int | None, ...]]:
    """(net, lines): the NetParameter as V2 and the line of each of its layers.

    lines: the line of each block of net.layer or net.layers; input_line: the first `input`'s.
    The given net is not changed. Raises FcnError with a line, without a file.
    """
    net, lines = _copy(net), list(lines)
    if net.layers and net.layer:
        raise FcnError("the net has both 'layer' (current) and 'layers' (old) blocks",
                       do="Write every layer as layer { type: \"ReLU\" ... }.", line=lines[0])
    if any(layer.HasField('layer') for layer in net.layers):
        net, lines = _v0_padding(net, lines)
        net = _v0_net(net, lines)
    if net.layers:
        _v1_data_transforms(net)
        for layer, line in zip(net.layers, lines, strict=True):
            _v1_layer(layer, net.layer.add(), line)
        del net.layers[:]
    if net.input:
        lines = [input_line, *lines]
        _inputs(net, input_line)
    for layer in net.layer:                  # BatchNorm with three params, the older definition
        if layer.type == 'BatchNorm' and len(layer.param) == 3:
            for param in layer.param:
                param.lr_mult = param.decay_mult = 0
    apply_rules(net, lines)
    return net, tuple(lines)


def apply_rules(net: Any, lines: Sequence[int | None]) -> None:
    """Apply the upgrade rules of the net's dialect to its layers, in place. An FcnError of a rule
    gets the layer's line, name and type."""
    rules = dialect_of(net).upgrades
    for layer, line in zip(net.layer if rules else (), lines if rules else (), strict=True):
        for rule in rules:
            try:
                rule(layer)
            except FcnError as error:
                raise error.at(line=line, layer=layer.name, type=layer.type) from None


def _copy(message):
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _v0_padding(net, lines):
    """Fold each padding layer into the convolution or pooling that reads it."""
    padding, layers, layer_lines = {}, [], []       # padding: {blob: the layer that pads it}
    for layer, line in zip(net.layers, lines, strict=True):
        kind = layer.layer.type
        folded = _copy(layer)
        for i, bottom in enumerate(layer.bottom):
            source = padding.get(bottom)
            if source is None:
                continue
            if kind not in ('conv', 'pool') or len(layer.bottom) != 1:
                raise FcnError(
                    f"bottom '{bottom}' comes from a padding layer, which only a conv or pool "
                    f'layer with one bottom can read ({len(layer.bottom)} here)', line=line,
                    layer=layer.layer.name, type=kind, do="Put 'pad' into the layer that pads.")
            folded.layer.pad = source.layer.pad
            folded.bottom[i] = source.bottom[0]
        if kind == 'padding' and (len(layer.bottom), len(layer.top)) != (1, 1):
            raise FcnError(
                f'a padding layer has 1 bottom and 1 top, not {len(layer.bottom)} and '
                f'{len(layer.top)}', line=line, layer=layer.layer.name, type=kind)
        for top in layer.top:
            padding[top] = layer if kind == 'padding' else None
        if kind != 'padding':
            layers.append(folded)
            layer_lines.append(line)
    net = _copy(net)
    del net.layers[:]
    net.layers.extend(layers)
    return net, layer_lines


def _v0_net(net, lines):
    """The net in V1. As in Caffe, of the net's fields only name, input, input_dim and
    force_backward are kept."""
    new = type(net)(input=net.input, input_dim=net.input_dim)
    for name in ('name', 'force_backward'):
        if net.HasField(name):
            setattr(new, name, getattr(net, name))
    for layer, line in zip(net.layers, lines, strict=True):
        if not layer.HasField('layer'):
            raise FcnError('this layer has no inner layer { } block, but others of the net do',
                           line=line, layer=layer.name, do='Write all layers in one style.')
        new.layers.append(_v0_layer(layer, line))
    return new


def _v0_layer(outer, line):
    inner = outer.layer
    for field, _ in outer.ListFields():
        if field.name not in ('layer', 'bottom', 'top'):
            raise FcnError(f"'{field.name}' next to layer {{ }} has no effect in a net of the "
                           'oldest (V0) format', line=line, layer=inner.name, do='Remove it.')
    new = type(outer)(bottom=outer.bottom, top=outer.top, blobs=inner.blobs,
                      blobs_lr=inner.blobs_lr, weight_decay=inner.weight_decay)
    if inner.HasField('type') and inner.type not in V0_TO_V1:
        raise FcnError(f"unknown layer type '{inner.type}' of the oldest (V0) format", line=line,
                       layer=inner.name, do=f"Known: {', '.join(V0_TO_V1)}.")
    if inner.HasField('name'):
        new.name = inner.name
    if inner.HasField('type'):
        new.type = new.LayerType.Value(V0_TO_V1[inner.type])
    for field, value in inner.ListFields():
        if field.name in ('name', 'type', 'blobs', 'blobs_lr', 'weight_decay'):
            continue
        places = V0_FIELDS.get(field.name, {})
        place = places.get(inner.type, places.get(''))
        if place is None:
            raise FcnError(f"'{field.name}' means nothing to a layer of type '{inner.type}'",
                           line=line, layer=inner.name, type=inner.type, do='Remove it.')
        *message, name = place.split('.')
        _set(getattr(new, message[0]) if message else new, name, value)
    return new


def _set(message, name, value):
    old = getattr(message, name)
    if hasattr(old, 'CopyFrom'):
        old.CopyFrom(value)
    elif hasattr(old, 'append'):
        old.append(value)
    else:
        setattr(message, name, value)


def _v1_data_transforms(net):
    """Move scale, mean_file, crop_size and mirror of the data layers to transform_param."""
    names = ('scale', 'mean_file', 'crop_size', 'mirror')
    places = {'Data': 'data_param', 'ImageData': 'image_data_param',
              'WindowData': 'window_data_param'}
    types = v1_types(dialect_of(net))
    layers = [(layer, getattr(layer, places[types[layer.type]])) for layer in net.layers
              if types.get(layer.type) in places]
    if not any(data.HasField(name) for _, data in layers for name in names):
        return
    for layer, data in layers:
        data.SetInParent()
        layer.transform_param.SetInParent()
        for name in names:
            if data.HasField(name):
                setattr(layer.transform_param, name, getattr(data, name))
                data.ClearField(name)


def _v1_layer(old, new, line):
    """Write a V1LayerParameter into an empty LayerParameter."""
    lists = {'param': 'name', 'blob_share_mode': 'share_mode', 'blobs_lr': 'lr_mult',
             'weight_decay': 'decay_mult'}
    for field, value in old.ListFields():
        if field.name == 'type':
            new.type = _v1_type(old, line)
        elif field.name in lists:
            for i, item in enumerate(value):
                while len(new.param) <= i:
                    new.param.add()
                setattr(new.param[i], lists[field.name], item)
        elif field.name in new.DESCRIPTOR.fields_by_name:
            new.MergeFrom(type(new)(**{field.name: value}))
        else:
            raise FcnError(f"'{field.name}' of a layer in the old (V1) format has no current form",
                           line=line, layer=old.name, do='Remove it.')


def _v1_type(old, line):
    types = v1_types(dialect_of(old))
    if old.type not in types:
        raise FcnError(f'{old.LayerType.Name(old.type)} of the old (V1) format has no current type '
                       f"in the dialect '{dialect_of(old).name}'", line=line, layer=old.name,
                       do='Write the layer as layer { type: "..." ... }.')
    return types[old.type]


def _inputs(net, line):
    """Turn input with input_shape or input_dim (four numbers each) into a first Input layer."""
    names, shapes, dims = net.input, list(net.input_shape), list(net.input_dim)
    if not shapes:
        if len(dims) != 4 * len(names):
            raise FcnError(
                f'{len(names)} input with {len(dims)} input_dim; each input takes 4, '
                f'{4 * len(names)} in all', line=line,
                do='Give number, channels, height and width, or an input_shape { dim: ... }.')
        shapes = [dialect_of(net)['BlobShape'](dim=dims[i:i + 4])
                  for i in range(0, len(dims), 4)]
    if len(shapes) != len(names):
        raise FcnError(f'{len(names)} input but {len(shapes)} input_shape', line=line,
                       do='Give one input_shape per input.')
    layer = dialect_of(net)['LayerParameter'](name='input', type='Input', top=names)
    layer.input_param.shape.extend(shapes)
    net.layer.insert(0, layer)
    for field in ('input', 'input_shape', 'input_dim'):
        net.ClearField(field)


SOLVER_TYPES = {'SGD': 'SGD', 'NESTEROV': 'Nesterov', 'ADAGRAD': 'AdaGrad', 'RMSPROP': 'RMSProp',
                'ADADELTA': 'AdaDelta', 'ADAM': 'Adam'}


def upgrade_solver(solver: Any, line: int | None = None) -> Any:
    """A copy of a SolverParameter with solver_type (an enum) turned into type (a name).

    line: that of solver_type, for the FcnError where both are given.
    """
    solver = _copy(solver)
    if solver.HasField('solver_type'):
        if solver.HasField('type'):
            raise FcnError("both 'type' and the old 'solver_type' are given", line=line,
                           do="Keep 'type'.")
        solver.type = SOLVER_TYPES[type(solver).SolverType.Name(solver.solver_type)]
        solver.ClearField('solver_type')
    return solver
