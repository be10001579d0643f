"""Which fork a text is of: by its words, by the weights, by name; what is refused."""

import numpy as np
import pytest
from texts import FILE, conv, image, inputs, layer
from wire_format import blob, v1

from fcn_repro.errors import FcnError
from fcn_repro.formats.weights import read_weights
from fcn_repro.net import Net
from fcn_repro.predict.labels import read_deploy
from fcn_repro.proto import BVLC, dialect_of, dialects, find_dialect
from fcn_repro.proto.prototxt import parse_net, parse_solver
from fcn_repro.proto.union import has, union

X = inputs(data=(1, 3, 8, 8))
INTERP = layer('Interp', 'i', 'data', 'i', 'interp_param { zoom_factor: 2 }')
BN = layer('BN', 'b', 'data', 'b', '%s')
FORKS = [dialect for dialect in dialects.dialects().values() if dialect.detected]


def found(text, **options):
    return dialect_of(parse_net(text, FILE, **options).message).name


def refused(function, *args, **options):
    with pytest.raises(FcnError) as caught:
        function(*args, **options)
    return caught.value


# ---- the union -------------------------------------------------------------------------------

@pytest.mark.parametrize('fork', FORKS, ids=lambda fork: fork.name)
def test_the_union_has_every_field_of_a_fork(fork):
    """union() itself raises for a name with two types."""
    for name, message in fork.schema.items():
        known = union()[name].DESCRIPTOR
        for field in message.DESCRIPTOR.fields:
            ours = known.fields_by_name[field.name]
            assert (ours.type, ours.is_repeated) == (field.type, field.is_repeated)
            if field.enum_type:
                assert set(field.enum_type.values_by_name) <= set(ours.enum_type.values_by_name)


def test_a_fork_keeps_what_its_numbers_displace():
    """143 is interp_param in PSPNet and input_param in BVLC: a text can set both."""
    message = parse_net(X + INTERP, FILE, 'pspnet').message
    fields = type(message.layer[0]).DESCRIPTOR.fields_by_name
    assert (fields['interp_param'].number, fields['input_param'].number) == (143, 60143)
    assert message.layer[0].input_param.shape[0].dim == [1, 3, 8, 8]


# ---- found -----------------------------------------------------------------------------------

@pytest.mark.parametrize('text, name', [
    (X + conv('c', 'data'), 'bvlc'),
    (X + INTERP, 'deeplab-v2'),
    (X + layer('Interp', 'i', 'data', 'i'), 'deeplab-v2'),
    (X + BN % 'bn_param { frozen: true }', 'pspnet'),
    (X + BN % '' + INTERP, 'pspnet'),
    (X + BN % 'bn_param { bn_mode: INFERENCE }', 'segnet'),
    (X + BN % 'bn_param { decay: 0.9 }', 'parsenet'),
    (X + layer('MultiStageMeanfield', 'm', 'data data data', 'm', 'multi_stage_meanfield_param { '
               'theta_alpha: 1 theta_beta: 1 theta_gamma: 1 num_iterations: 1 '
               'spatial_filter_weight: 3 }'), 'crfasrnn-master'),
    ('layers { name: "c" type: CONVOLUTION bottom: "x" top: "c" convolution_param { '
     'kernel_size: 3 num_output: 2 hole: 12 } }', 'deeplab-v1'),
    ('layers { name: "c" type: CROP bottom: "x" bottom: "y" top: "c" }', 'future'),
    ('layers { name: "u" type: UNPOOLING bottom: "x" bottom: "m" top: "u" unpooling_param { '
     'unpool: MAX unpool_size: 14 } }', 'deconvnet'),
])
def test_a_dialect_is_found_by_its_words(text, name):
    assert found(text) == name


def test_weights_tell_which_bn():
    text = X + BN % ''
    assert found(text, blobs=lambda: {'b': 4}) == 'pspnet'
    assert 'segnet, enet, parsenet' in refused(found, text, blobs=lambda: {'b': 2}).what
    error = refused(found, text)
    assert (error.line, error.layer, error.type) == (2, 'b', 'BN')
    assert 'pspnet, segnet, enet, parsenet' in error.what and error.code == 'which-dialect'


def test_a_deploy_net_asks_its_weights(tmp_path):
    text = X + BN % 'param { lr_mult: 2 }'
    Net.of(parse_net(text, FILE, 'pspnet'), 'TEST').save(tmp_path / 'w.caffemodel')
    (tmp_path / 'n.prototxt').write_text(text)
    net = read_deploy(tmp_path / 'n.prototxt', weights=tmp_path / 'w.caffemodel')
    assert net.graph.dialect.name == 'pspnet'
    assert refused(read_deploy, tmp_path / 'n.prototxt').code == 'which-dialect'


def test_words_of_several_forks():
    """One meaning each: the union; a type with several: an error that says whose each is."""
    pool = layer('Convolution', 'c', 'data', 'c', 'convolution_param { num_output: 1 '
                 'kernel_size: 1 filter_stride: 2 }')
    assert found(X + INTERP + pool) == 'union'
    error = refused(found, X + layer('BN', 'b', 'data', 'b', 'bn_param { bn_mode: LEARN }')
                    + INTERP)
    assert 'Interp: deeplab-v2, pspnet' in str(error) and 'layer.bn_param.bn_mode: segnet, enet' \
        in str(error)


def test_a_named_dialect_is_taken_at_its_word():
    error = refused(found, X + INTERP, dialect='segnet')
    assert error.line == 2 and "'interp_param'" in error.what and "'deeplab-v2'" in error.do
    assert find_dialect('PSPNet').name == 'pspnet' and find_dialect('caffe-enet').name == 'enet'


def test_a_type_that_is_not_computed():
    text = X + layer('ParseOutput', 'u', 'data', 'u')
    error = refused(lambda: Net.of(parse_net(text, FILE), 'TEST'))
    assert "'ParseOutput' of the dialect 'parsenet' is not supported" in str(error)
    assert error.line == 2 and error.do


def test_a_solver_whose_net_is_a_forks(tmp_path):
    solver = parse_solver(f'net_param {{ {X} {INTERP} }}', FILE)
    assert dialect_of(solver.message).name == 'deeplab-v2'
    typed = parse_solver(f'net_param {{ {X} layer {{ name: "i" type: "Interp" }} }}', FILE)
    assert dialect_of(typed.message).name == 'deeplab-v2'
    assert "'nope'" in str(refused(parse_solver, 'net_param { nope: 1 }', FILE))


# ---- crops -----------------------------------------------------------------------------------

CROP = X + conv('c', 'data', kernel=3, field='pad: 6') + layer('Crop', 'y', 'c data', 'y')


def offset(dialect):
    net = Net.of(parse_net(CROP, FILE, dialect), 'TEST')
    node = net.graph.nodes[-1]
    return [at for _, at, _ in net.layer(node).window((1, 3, 18, 18), (1, 3, 8, 8))][-2:]


def test_a_bare_crop_is_never_silently_the_wrong_one():
    assert offset('bvlc') == [0, 0] and offset('hed') == offset('crfasrnn-master') == [5, 5]
    error = refused(lambda: Net.of(parse_net(CROP, FILE), 'TEST'))
    assert error.layer == 'y' and error.line == 3 and 'offset 5, 5' in error.what
    given = CROP.replace('top: "y" ', 'top: "y" crop_param { offset: 0 }')
    assert Net.of(parse_net(given, FILE), 'TEST').graph.dialect is BVLC
    same = CROP.replace('pad: 6', 'pad: 1')
    assert Net.of(parse_net(same, FILE), 'TEST').graph.dialect is BVLC


@pytest.mark.parametrize('between, what', [
    (conv('c', 'data', kernel=3, field='stride: 2'), 'different scales: 2, 2'),
    (conv('c', 'data', kernel=3), 'would be negative: -1, -1'),
    (conv('c', 'data', kernel=4, field='pad: 3'), 'would not be whole: 1.5'),
    (layer('InnerProduct', 'c', 'data', 'c', 'inner_product_param { num_output: 4 }'),
     "no coordinate map of layer 'c'"),
    (inputs(c=(1, 3, 20, 20)), 'do not come from a common blob'),
])
def test_bottoms_that_cannot_be_aligned(between, what):
    text = X + between + layer('Crop', 'y', 'c data', 'y')
    error = refused(lambda: Net.of(parse_net(text, FILE, 'hed'), 'TEST'))
    assert error.layer == 'y' and what in str(error) and error.do


def test_an_aligned_crop_of_different_paddings():
    """Rows and columns have offsets of their own."""
    text = X + conv('c', 'data', kernel=3, field='pad: 6').replace(
        'kernel_size: 3 pad: 6', 'kernel_size: 3 pad: 6 pad: 2') + layer('Crop', 'y', 'c data', 'y')
    net = Net.of(parse_net(text, FILE, 'hed'), 'TEST')
    assert list(net.graph.nodes[-1].param.crop_param.offset) == [5, 1]


# ---- old numbers -----------------------------------------------------------------------------

@pytest.mark.parametrize('number, dialect, type', [
    (39, 'bvlc', 'Deconvolution'), (39, 'deeplab-v1', 'ImageSegData'),
    (40, 'deeplab-v1', 'SegAccuracy'), (40, 'hed', 'Crop'), (41, 'deeplab-v1', 'Interp'),
    (41, 'parsenet', 'ParseOutput'), (41, 'deconvnet', 'EltwiseAccuracy'),
    (43, 'deconvnet', 'BN'), (42, 'deeplab-v1', 'Padding')])
def test_old_types_by_number(tmp_path, number, dialect, type):
    path = tmp_path / 'm.caffemodel'
    path.write_bytes(v1('b', number, blob(np.float32([7]))))
    assert read_weights(path, dialect).types == {'b': type}


def test_hole_is_dilation():
    text = 'input: "x" input_dim: 1 input_dim: 1 input_dim: 30 input_dim: 30\nlayers { name: "c" ' \
           'type: CONVOLUTION bottom: "x" top: "c" strict_dim: false convolution_param { ' \
           'num_output: 2 kernel_size: 3 %s } }'
    for holes, dilation in (('hole: 4', [4]), ('hole_h: 2 hole_w: 3', [2, 3]),
                            ('hole_w: 5', [1, 5])):
        layers = parse_net(text % holes, FILE).message.layer
        assert list(layers[1].convolution_param.dilation) == dilation
        assert not layers[0].HasField('convolution_param')
        Net.of(parse_net(text % holes, FILE), 'TEST')
    error = refused(parse_net, text % 'hole: 2 hole_h: 3', FILE)
    assert 'both hole and hole_h' in error.what and error.line == 2


def test_labels_of_deeplabs_first_loss():
    text = 'layers { name: "l" type: SOFTMAX_LOSS bottom: "x" bottom: "y" top: "l" ' \
           'softmaxloss_param { %s } }'
    message = parse_net(text % 'ignore_label: 255', FILE).message
    assert message.layer[0].loss_param.ignore_label == 255
    for more, what in (('ignore_label: 1 ignore_label: 2', '2 values'),
                       ('weight_source: "w"', 'weight_source is not supported')):
        assert what in refused(parse_net, text % more, FILE).what


def test_paths_of_fields():
    pspnet = find_dialect('pspnet')
    assert has(pspnet, 'layer.bn_param.frozen') and not has(pspnet, 'layer.bn_param.bn_mode')
    assert has(pspnet, 'layer.image_data_param.label_type.PIXEL')
    assert not has(pspnet, 'layer.nope.frozen') and not has(pspnet, 'layer.name.x.y')


# ---- placeholders ----------------------------------------------------------------------------

def test_placeholders_are_replaced_in_names_and_numbers():
    text = X + '# ${UNUSED}\n' + conv('fc1_${EXP}', 'data').replace('num_output: 3',
                                                                 'num_output: ${NUM_LABELS}')
    net = parse_net(text, FILE, define={'EXP': 'voc12', 'NUM_LABELS': 21}).message
    assert net.layer[1].name == net.layer[1].top[0] == 'fc1_voc12'
    assert net.layer[1].convolution_param.num_output == 21
    error = refused(parse_net, text, FILE, define={'EXP': 'voc12'})
    assert error.line == 3 and error.code == 'undefined' and '${NUM_LABELS} (line 3)' in str(error)
    error = refused(parse_net, text, FILE)
    assert '2 names' in error.what and '${EXP}' in str(error) and 'UNUSED' not in str(error)
    for bad in ('a"b', 'a\nb', 'a }', '#a'):
        assert "value of 'EXP'" in refused(parse_net, text, FILE, define={'EXP': bad}).what


# ---- losses that look like BVLC's --------------------------------------------------------------

EDGES = ''.join(f'input: "{name}" input_shape {{ dim: 1 dim: {channels} dim: 8 dim: 8 }}\n'
                for name, channels in (('data', 3), ('label', 1))) \
    + conv('c', 'data').replace('num_output: 3', 'num_output: %d') \
    + layer('SigmoidCrossEntropyLoss', 'l', 'c label', 'l')


def loss_of(text, dialect=None):
    return Net.of(parse_net(text, FILE, dialect), 'TRAIN')


def test_a_loss_of_edges_is_never_silently_the_wrong_one():
    error = refused(loss_of, EDGES % 1)
    assert (error.layer, error.line, error.code) == ('l', 4, 'which-dialect')
    assert error.facts['dialects'] == 'bvlc, hed' and 'edges and the rest by their shares in hed' \
        in error.what
    scores, label = image(1, 3, 8, 8), image(1, 1, 8, 8, seed=1).sign().clamp(min=0)
    losses = {name: loss_of(EDGES % 1, name).forward(data=scores, label=label)['l'].item()
              for name in ('bvlc', 'hed', 'future')}
    assert losses['bvlc'] == losses['future'] != losses['hed']


@pytest.mark.parametrize('text', [
    EDGES.replace('dim: 1 dim: 1 dim: 8', 'dim: 1 dim: 2 dim: 8') % 2,      # several maps
    EDGES % 1 + inputs(x=(1, 2)),                                           # HED's has no Input
    EDGES % 1 + layer('BatchNorm', 'n', 'c', 'n'),                          # HED's Caffe has none
    EDGES.replace('top: "l" ', 'top: "l" loss_param { normalization: FULL } ') % 1,
    EDGES.replace('num_output: %d', 'num_output: 1 dilation: 2'),
    X + inputs(label=(1, 5)) + layer('InnerProduct', 'c', 'data', 'c', 'inner_product_param { '
                                     'num_output: 5 }')
    + layer('SigmoidCrossEntropyLoss', 'l', 'c label', 'l'),
])
def test_what_hed_cannot_have_written_is_bvlcs(text):
    assert loss_of(text).graph.dialect is BVLC


def test_a_fork_found_by_another_word_decides_the_loss():
    labels = layer('ImageLabelmapData', 'd', '', 'x y', 'image_data_param { source: "s" }')
    net = parse_net(labels + EDGES % 1, FILE)
    assert dialect_of(net.message).name == 'hed' and 'ImageLabelmapData' in net.found


# ---- what is said ------------------------------------------------------------------------------

def test_what_a_dialect_was_found_by():
    assert parse_net(X, FILE).found == parse_net(X + INTERP, FILE, 'pspnet').found == ''
    assert parse_net(X + INTERP, FILE).found == 'by Interp'
    assert parse_net(X + BN % '', FILE, blobs=lambda: {'b': 4}).found == \
        'by BN and the blobs of its weights'


def test_weights_that_no_fork_has():
    error = refused(found, X + BN % '', blobs=lambda: {'b': 3})
    assert error.layer == 'b' and '3 blobs' in error.what and '4 in pspnet' in error.what


def test_weights_of_another_bn(tmp_path):
    text = X + BN % 'bn_param { slope_filler { value: 1 } }'
    (tmp_path / 'w.caffemodel').write_bytes(v1('b', 4, blob(np.float32([1])),
                                               blob(np.float32([1]))))
    error = refused(Net.of(parse_net(text, FILE), 'TEST').copy_from, tmp_path / 'w.caffemodel')
    assert (error.layer, error.type) == ('b', 'BN')
    assert '2 blobs in the file, 4 in the net, and a BN of parsenet, segnet, enet' in error.what
    assert 'the dialect of these weights' in error.do


def test_a_word_that_no_fork_has_is_said_before_those_that_some_have():
    text = X + INTERP + '\nlayer { name: "z" type: "ReLU" nope_param { a: 1 } }'
    error = refused(parse_net, text, FILE)
    assert 'nope_param' in error.what and error.line == 4


def test_a_word_of_another_fork_names_it():
    error = refused(parse_net, X + INTERP, FILE, 'bvlc')
    assert error.code == 'which-dialect' and "in the dialect 'bvlc'" in error.what
    assert error.facts['dialects'] == 'deeplab-v2, deeplab-public, deeplab-v1, pspnet'
    error = refused(parse_net, 'layers { name: "u" type: INTERP }', FILE, 'hed')
    assert "'INTERP'" in error.what and error.facts['dialects'] == 'deeplab-v1'
    error = refused(lambda: Net.of(parse_net(X + layer('Interp', 'i', 'data', 'i'), FILE, 'hed'),
                                   'TEST'))
    assert "the dialect 'hed' has no layer type 'Interp'" in error.what and error.line == 2
    assert 'pspnet' in error.facts['dialects']


# ---- types that all have and mean otherwise ------------------------------------------------------

OLD_INPUT = 'input: "x" input_dim: 1 input_dim: 4 input_dim: 3 input_dim: 2\n'
OLD_ARGMAX = OLD_INPUT + 'layers { name: "a" type: ARGMAX bottom: "x" top: "a" argmax_param { ' \
    'out_max_val: %s top_k: 2 } }'


def test_the_first_deeplabs_argmax_is_of_channels():
    x = image(1, 4, 3, 2)
    net = Net.of(parse_net(OLD_ARGMAX % 'false', FILE, 'deeplab-v1'), 'TEST')
    assert (net.forward(x=x)['a'] == x.argsort(1, descending=True)[:, :2]).all()
    assert Net.of(parse_net(OLD_ARGMAX % 'false', FILE), 'TEST').forward(x=x)['a'].shape == \
        (1, 1, 2, 1)
    error = refused(lambda: Net.of(parse_net(OLD_ARGMAX % 'true', FILE, 'deeplab-v1'), 'TEST'))
    assert error.layer == 'a' and 'out_max_val' in error.what


def test_what_bvlc_changed_since_is_refused_in_forks():
    text = X + inputs(y=(1, 1), h=(1, 1, 3, 3)) + conv('c', 'data', kernel=8) \
        + layer('InfogainLoss', 'l', 'c y h', 'l')
    for name in ('bvlc', 'crfasrnn'):
        Net.of(parse_net(text, FILE, name), 'TRAIN')
    error = refused(lambda: Net.of(parse_net(text, FILE, 'hed'), 'TRAIN'))
    assert error.layer == 'l' and 'takes probabilities there' in error.what and error.line == 5
    mvn = X + layer('MVN', 'm', 'data', 'm')
    assert 'its eps' in str(refused(lambda: Net.of(parse_net(mvn, FILE, 'parsenet'), 'TEST')))
    Net.of(parse_net(mvn, FILE, 'pspnet'), 'TEST')
