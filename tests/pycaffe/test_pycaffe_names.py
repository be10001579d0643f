"""Every name of pycaffe 1.0, module by module, with the arguments that it takes."""

import importlib
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image
from texts import conv, inputs, layer

import fcn_repro.pycaffe as caffe
from fcn_repro.errors import FcnError

SMALL = inputs(data=(2, 3, 8, 8)) + conv('c', 'data') \
    + layer('Reduction', 'sum', 'c', 'sum', 'reduction_param { axis: 1 }')
SOLVER = 'base_lr: 0.1 lr_policy: "fixed" max_iter: 3 net: "net.prototxt" snapshot_prefix: "s"'

# module: names, as python/caffe of BVLC has them; name(arguments), * for what the compiled module
# does not name, - for a value. ! before a name: an AttributeError that says what to use instead.
MODULES = {
    '': '''Net SGDSolver NesterovSolver AdaGradSolver RMSPropSolver AdaDeltaSolver AdamSolver NCCL
        Timer init_log(*) log(*) set_mode_cpu() set_mode_gpu() set_device(*) Layer get_solver(*)
        layer_type_list() set_random_seed(*) solver_count() set_solver_count(*) solver_rank()
        set_solver_rank(*) set_multiprocess(*) has_nccl() __version__- TRAIN- TEST- Classifier
        Detector io- layers- params- NetSpec() to_proto(*tops) pycaffe- _caffe- proto- classifier-
        detector- net_spec-''',
    'pycaffe': '''Net SGDSolver NesterovSolver AdaGradSolver RMSPropSolver AdaDeltaSolver AdamSolver
        NCCL Timer''',
    '_caffe': '''__version__- init_log(*) log(*) has_nccl() set_mode_cpu() set_mode_gpu()
        set_random_seed(*) set_device(*) solver_count() set_solver_count(*) solver_rank()
        set_solver_rank(*) set_multiprocess(*) layer_type_list() Net Blob Layer SolverParameter
        LayerParameter Solver SGDSolver NesterovSolver AdaGradSolver RMSPropSolver AdaDeltaSolver
        AdamSolver get_solver(*) BlobVec NCCL Timer !RawBlobVec !LayerVec !StringVec !IntVec
        !DtypeVec !NetVec !BoolVec !CaffeNet !CaffeLayer !CaffeBlob !PyNet !nonsense''',
    'classifier': '''Classifier(model_file, pretrained_file, image_dims, mean, input_scale,
        raw_scale, channel_swap)''',
    'detector': '''Detector(model_file, pretrained_file, mean, input_scale, raw_scale, channel_swap,
        context_pad)''',
    'io': '''blobproto_to_array(blob, return_diff) array_to_blobproto(arr, diff)
        arraylist_to_blobprotovector_str(arraylist) blobprotovector_str_to_arraylist(str)
        array_to_datum(arr, label) datum_to_array(datum) Transformer(inputs)
        load_image(filename, color) resize_image(im, new_dims, interp_order)
        oversample(images, crop_dims) caffe_pb2- !resize !zoom !skimage !nonsense''',
    'net_spec': '''param_name_dict() to_proto(*tops) assign_proto(proto, name, val) Top(fn, n)
        Function(type_name, inputs, params) NetSpec() Layers() Parameters() layers- params-
        caffe_pb2-''',
    'coord_map': '''PASS_THROUGH_LAYERS- conv_params(fn) crop_params(fn) UndefinedMapException
        coord_map(fn) AxisMismatchException compose(base_map, next_map) inverse(coord_map)
        coord_map_from_to(top_from, top_to) crop(top_from, top_to) L-''',
    'draw': '''LAYER_STYLE_DEFAULT- NEURON_LAYER_STYLE- BLOB_STYLE- get_pooling_types_dict()
        get_edge_label(layer) get_layer_lr_mult(layer)
        get_layer_label(layer, rankdir, display_lrm) choose_color_by_layertype(layertype)
        get_pydot_graph(caffe_net, rankdir, label_edges, phase, display_lrm)
        draw_net(caffe_net, rankdir, ext, phase, display_lrm)
        draw_net_to_file(caffe_net, filename, rankdir, phase, display_lrm) caffe_pb2-''',
    'proto.caffe_pb2': '''NetParameter LayerParameter SolverParameter BlobProto BlobProtoVector
        BlobShape Datum SolverState NetState NetStateRule ParamSpec FillerParameter
        TransformationParameter V1LayerParameter V0LayerParameter Phase- TRAIN- TEST-
        DESCRIPTOR-''',
}

# What objects have. An attribute is written like a value, a method like a function.
MEMBERS = {
    'Net': '''forward(blobs, start, end, **kwargs) backward(diffs, start, end, **kwargs)
        forward_all(blobs, **kwargs) forward_backward_all(blobs, diffs, **kwargs)
        set_input_arrays(data, labels) reshape() clear_param_diffs() copy_from(*) share_with(*)
        save(*) save_hdf5(*) load_hdf5(*) before_forward(*) after_forward(*) before_backward(*)
        after_backward(*) blobs- blob_loss_weights- layer_dict- params- inputs- outputs- top_names-
        bottom_names- layers- _forward(*,*) _backward(*,*) _blob_loss_weights- _bottom_ids(*)
        _top_ids(*) _blobs- _blob_names- _layer_names- _inputs- _outputs- _batch(*)''',
    'Blob': '''shape- num- channels- height- width- count- reshape(**) data- diff- !_gpu_data_ptr
        !_gpu_diff_ptr''',
    'LayerView': 'blobs- type-',
    'Layer': 'blobs- type- param_str- phase- setup(bottom, top)',
    'Solver': '''net- test_nets- iter- add_callback(*,*) solve(*) step(*) restore(*) snapshot()
        share_weights(*) apply_update() param- lr-''',
    'SolverParameter': 'max_iter- display- layer_wise_reduce- base_lr-',
    'Classifier': 'predict(inputs, oversample) transformer- crop_dims- image_dims-',
    'Detector': '''detect_windows(images_windows) detect_selective_search(image_fnames)
        crop(im, window) configure_crop(context_pad) transformer- crop_dims- context_pad-''',
    'Timer': 'start() stop() ms-',
    'NCCL': 'new_uid() bcast()',
    'Transformer': '''preprocess(in_, data) deprocess(in_, data) set_transpose(in_, order)
        set_channel_swap(in_, order) set_raw_scale(in_, scale) set_mean(in_, mean)
        set_input_scale(in_, scale) inputs- transpose- channel_swap- raw_scale- mean-
        input_scale-''',
    'NetSpec': 'to_proto() tops-',
    'Top': 'to_proto() fn- n-',
    'Function': 'type_name- inputs- params- ntop- in_place- tops-',
}
ITEM = re.compile(r'(!?)(\w+)(?:(-)|\(([^)]*)\))?')


@pytest.fixture
def objects(tmp_path, monkeypatch):
    """{name in MEMBERS: an object of that kind}"""
    monkeypatch.chdir(tmp_path)
    Path('net.prototxt').write_text(SMALL)
    Path('solver.prototxt').write_text(SOLVER)
    net = caffe.Net('net.prototxt', caffe.TEST)
    net.save('w.caffemodel')
    solver, spec = caffe.SGDSolver('solver.prototxt'), caffe.NetSpec()
    spec.data = caffe.layers.Input(shape={'dim': [1, 3]})
    return {'Net': net, 'Blob': net.blobs['c'], 'LayerView': net.layers[0], 'Layer': caffe.Layer(),
            'Solver': solver, 'SolverParameter': solver.param,
            'Classifier': caffe.Classifier('net.prototxt', 'w.caffemodel'),
            'Detector': caffe.Detector('net.prototxt', 'w.caffemodel'), 'Timer': caffe.Timer(),
            'NCCL': caffe.NCCL, 'Transformer': caffe.io.Transformer({'data': (1, 3, 2, 2)}),
            'NetSpec': spec, 'Top': spec.data, 'Function': spec.data.fn}


def check(owner, table):
    """Compare what `owner` has with a line of the tables above; the number of names."""
    items = ITEM.findall(table)
    for refused, name, value, wanted in items:
        if refused:
            with pytest.raises(AttributeError, match='Use ' if name != 'nonsense' else 'no attr'):
                getattr(owner, name)
            continue
        found = getattr(owner, name)
        if value or not (wanted or f'{name}(' in table):
            continue
        assert callable(found), name
        given = list(inspect.signature(found).parameters.values())
        if '*' in wanted and 'tops' not in wanted and 'kwargs' not in wanted:   # unnamed arguments
            inspect.signature(found).bind(*range(wanted.replace('**', '*').count('*')))
            continue
        names = [word.strip('*\n ') for word in wanted.split(',') if word.strip()]
        needed = [param.name for param in given[len(names):]
                  if param.default is param.empty and param.kind is not param.VAR_KEYWORD]
        assert [param.name for param in given][:len(names)] == names and not needed, name
    return len(items)


@pytest.mark.parametrize('module', MODULES)
def test_modules_have_pycaffes_names(module):
    assert check(importlib.import_module(f'fcn_repro.pycaffe.{module}'.rstrip('.')),
                 MODULES[module]) > 0


def test_objects_have_pycaffes_names(objects):
    assert set(objects) == set(MEMBERS)
    for name, members in MEMBERS.items():
        assert check(objects[name], members) > 0


def test_a_missing_name_is_found_out():
    """The check above can fail: on a missing name, on other arguments, on one too many."""
    for table in ('none', 'load_image(file)', 'load_image(filename, color, more)',
                  'oversample(images)'):
        with pytest.raises((AttributeError, AssertionError)):
            check(caffe.io, table)


def test_a_solvers_rate_may_be_changed(objects):
    solver = objects['Solver']
    solver.param.base_lr = 0.25
    solver.step(1)
    assert solver.lr == 0.25


def test_names_of_net_spec():
    names = caffe.net_spec.param_name_dict()
    assert names['InnerProduct'] == 'inner_product' and names['LRN'] == 'lrn'
    message = caffe.io.caffe_pb2.LayerParameter()
    caffe.net_spec.assign_proto(message, 'convolution_param', {'kernel_size': 3, 'pad': [1, 2]})
    caffe.net_spec.assign_proto(message, 'param', [{'lr_mult': 2}, {'lr_mult': 0}])
    assert list(message.convolution_param.kernel_size) == [3]
    assert [param.lr_mult for param in message.param] == [2, 0]
    assert caffe.net_spec.Parameters().Pooling.AVE == caffe.params.Pooling.AVE == 1


def test_names_of_coord_map():
    maps, L = caffe.coord_map, caffe.layers
    data = L.Input(shape={'dim': [1, 3, 9, 9]})
    axis, stride, kernel, pad = maps.conv_params(
        L.Convolution(data, kernel_size=3, stride=2, dilation=2, num_output=1).fn)
    assert (axis, stride[0], kernel[0], pad[0]) == (1, 2, 5, 0)
    axis, offset = maps.crop_params(L.Crop(data, data, axis=2, offset=[3, 4]).fn)
    assert axis == 2 and list(offset) == [3, 4]
    assert 'ReLU' in maps.PASS_THROUGH_LAYERS and 'Concat' not in maps.PASS_THROUGH_LAYERS
    with pytest.raises(maps.UndefinedMapException):
        maps.coord_map(L.InnerProduct(data, num_output=1).fn)
    with pytest.raises(maps.AxisMismatchException):
        maps.compose((1, 2, 0), (2, 1, 0))
    axis, scale, shift = maps.compose((None, 2, 1), (1, 0.5, 3))
    assert (axis, scale, shift) == (1, 1, 7)


def test_messages_and_enums():
    from fcn_repro.pycaffe.proto import caffe_pb2
    net = text_format.Merge(SMALL, caffe_pb2.NetParameter())
    assert net.layer[0].type == 'Input' and 'type: "Input"' in text_format.MessageToString(net)
    assert caffe_pb2.PoolingParameter.PoolMethod.Name(1) == 'AVE'
    assert caffe_pb2.V1LayerParameter.LayerType.Value('CONVOLUTION') == 4
    assert caffe_pb2.Phase.Name(caffe.TEST) == 'TEST'
    assert 'NetParameter' in caffe_pb2.DESCRIPTOR.message_types_by_name


# ---- Detector ------------------------------------------------------------------------------------

@pytest.fixture
def detect(tmp_path, monkeypatch):
    """detect(**options): a Detector whose net gives its input's values back, and x.png."""
    monkeypatch.chdir(tmp_path)
    Path('net.prototxt').write_text(inputs(data=(2, 3, 8, 8)) + layer(
        'Scale', 'p', 'data', 'out', 'scale_param { filler { value: 1 } }'))
    caffe.Net('net.prototxt', caffe.TEST).save('w.caffemodel')
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save('x.png')
    return lambda **options: caffe.Detector('net.prototxt', 'w.caffemodel', **options)


def test_windows_are_cut_out_and_classified(detect):
    detector = detect(mean=np.array([1., 2, 3]), raw_scale=255, channel_swap=(2, 1, 0))
    windows = [(2, 3, 10, 11), (0, 0, 20, 30), (12, 22, 20, 30)]
    found = detector.detect_windows([('x.png', windows[:2]), ('x.png', windows[2:])])
    assert [each['window'] for each in found] == windows
    assert {each['filename'] for each in found} == {'x.png'}
    pixels = np.asarray(Image.open('x.png'), np.float32)
    for each in found[::2]:             # of the input's size: as they are, but for order and mean
        y, x, bottom, right = each['window']
        wanted = pixels[y:bottom, x:right, ::-1].transpose(2, 0, 1)
        np.testing.assert_allclose(each['prediction'], wanted - np.array(
            [1, 2, 3])[:, None, None], atol=1e-3)
    with pytest.raises(FcnError, match='no windows'):
        detector.detect_windows([])


def test_context_around_a_window(detect):
    """A window of 4x4 in an input of 8x8 with 2 of context: the box grows to 9x9, which the input
    shows at 8/10; outside the image is the mean."""
    detector = detect(mean=np.array([10., 20, 30]), raw_scale=255, channel_swap=(2, 1, 0),
                      context_pad=2)
    image = np.full((20, 30, 3), 0.5, np.float32)
    inside = detector.crop(image, np.array([8, 10, 11, 13]))
    assert inside.shape == (8, 8, 3) and (inside == 0.5).all()
    corner = detector.crop(image, (0, 0, 3, 3))
    mean = np.array([30, 20, 10]) / 255
    np.testing.assert_allclose(corner[:1], np.broadcast_to(mean, (1, 8, 3)), 1e-6)
    np.testing.assert_allclose(corner[:, :1], np.broadcast_to(mean, (8, 1, 3)), 1e-6)
    assert (corner[3:6, 3:6] == 0.5).all()
    assert detector.transformer.preprocess('data', corner)[:, 0, 0] == pytest.approx(0, abs=1e-4)
    with pytest.raises(FcnError, match='not in the image'):
        detector.crop(image, (100, 100, 103, 103))
    with pytest.raises(FcnError, match='context_pad is 4'):
        detector.configure_crop(4)


def test_selective_search_needs_its_package(detect):
    with pytest.raises(FcnError, match='selective_search_ijcv_with_python'):
        detect().detect_selective_search(['x.png'])
