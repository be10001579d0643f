"""The schema: field numbers, types, defaults and enums of Caffe's messages, and overlays."""

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from hypothesis import given
from hypothesis import strategies as st

from fcn_repro import proto
from fcn_repro.errors import FcnError
from fcn_repro.proto import BVLC, TEST, TRAIN
from fcn_repro.proto.scan import scan
from fcn_repro.proto.schema import Schema
from fcn_repro.proto.table import CAFFE_PROTO

# a sample from src/caffe/proto/caffe.proto: message, field, number, type, default
FIELDS = [
    ('BlobProto', 'data', 5, 'FLOAT', None),
    ('BlobProto', 'shape', 7, 'MESSAGE', None),
    ('NetParameter', 'layers', 2, 'MESSAGE', None),
    ('NetParameter', 'layer', 100, 'MESSAGE', None),
    ('LayerParameter', 'blobs', 7, 'MESSAGE', None),
    ('LayerParameter', 'phase', 10, 'ENUM', TRAIN),
    ('LayerParameter', 'convolution_param', 106, 'MESSAGE', None),
    ('LayerParameter', 'python_param', 130, 'MESSAGE', None),
    ('LayerParameter', 'crop_param', 144, 'MESSAGE', None),
    ('LayerParameter', 'clip_param', 148, 'MESSAGE', None),
    ('ConvolutionParameter', 'dilation', 18, 'UINT32', None),
    ('ConvolutionParameter', 'bias_term', 2, 'BOOL', True),
    ('PoolingParameter', 'round_mode', 13, 'ENUM', 0),
    ('LossParameter', 'normalization', 3, 'ENUM', 1),
    ('CropParameter', 'axis', 1, 'INT32', 2),
    ('DropoutParameter', 'dropout_ratio', 1, 'FLOAT', 0.5),
    ('FillerParameter', 'type', 1, 'STRING', 'constant'),
    ('ParamSpec', 'lr_mult', 3, 'FLOAT', 1),
    ('NetState', 'phase', 1, 'ENUM', TEST),
    ('SolverParameter', 'solver_mode', 17, 'ENUM', 1),
    ('SolverParameter', 'momentum2', 39, 'FLOAT', 0.999),
    ('SolverParameter', 'random_seed', 20, 'INT64', -1),
    ('SolverState', 'history', 3, 'MESSAGE', None),
    ('Datum', 'data', 4, 'BYTES', b''),
    ('V1LayerParameter', 'blob_share_mode', 1002, 'ENUM', None),
    ('V0LayerParameter', 'hdf5_output_param', 1001, 'MESSAGE', None),
    ('WindowDataParameter', 'crop_mode', 11, 'STRING', 'warp'),
    ('LayerParameter', 'fcn_repro_param', 51411, 'MESSAGE', None),
]


@pytest.mark.parametrize('message, name, number, type, default', FIELDS)
def test_field(message, name, number, type, default):
    field = BVLC[message].DESCRIPTOR.fields_by_name[name]
    assert field.number == number
    assert field.type == getattr(field, f'TYPE_{type}')
    if default is not None:
        assert getattr(BVLC[message](), name) == pytest.approx(default)


def test_enums():
    assert (TRAIN, TEST) == (0, 1)
    assert BVLC['PoolingParameter'].AVE == 1
    assert BVLC['HingeLossParameter'].L2 == 2
    assert BVLC['ReductionParameter'].MEAN == 4
    assert BVLC['SolverParameter'].SnapshotFormat.Name(1) == 'BINARYPROTO'
    assert BVLC['V1LayerParameter'].LayerType.Value('THRESHOLD') == 31
    assert BVLC['V1LayerParameter'].LayerType.Value('INNER_PRODUCT') == 14


def test_every_message_is_an_attribute():
    assert len(BVLC.schema) == 63 + 2           # Caffe's, and ours: FcnReproParameter, LocalKernel
    for name, message in BVLC.schema.items():
        assert getattr(proto, name) is message


def test_required_and_packed():
    assert not BVLC['ClipParameter'](min=1).IsInitialized()
    shape = BVLC['BlobShape'](dim=[1, 2, 300])
    assert shape.SerializeToString() == b'\x0a\x04\x01\x02\xac\x02'             # one packed field
    assert BVLC['CropParameter'](offset=[5, 6]).SerializeToString() == b'\x10\x05\x10\x06'


def test_binary_net_round_trip():
    net = proto.NetParameter(name='n')
    layer = net.layer.add(name='c', type='Convolution')
    layer.blobs.add(data=[1.5, -2]).shape.dim.extend([2])
    assert proto.NetParameter.FromString(net.SerializeToString()) == net


def test_pool_is_private():
    """A real caffe_pb2, with the same names, fits beside it."""
    file = descriptor_pb2.FileDescriptorProto(name='caffe/proto/caffe.proto', package='caffe')
    file.message_type.add(name='NetParameter').field.add(name='other', number=1, type=5, label=1)
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    found = descriptor_pool.Default().FindMessageTypeByName('caffe.NetParameter')
    assert 'layer' not in found.fields_by_name
    assert 'layer' in proto.NetParameter.DESCRIPTOR.fields_by_name


def test_overlay():
    """A dialect: another message under a number, whose own moves, a field gone, a new one."""
    dialect = Schema(CAFFE_PROTO, '''
LayerParameter
  146 interp_param InterpParameter, -clip_param
InterpParameter
  enum Mode NEAREST LINEAR=4 CUBIC
  1 height int32=0, 2 mode Mode=LINEAR
''')
    fields = dialect['LayerParameter'].DESCRIPTOR.fields_by_name
    assert fields['interp_param'].number == 146
    assert 'clip_param' not in fields and fields['recurrent_param'].number == 60146
    assert dialect['InterpParameter']().mode == 4
    assert dialect['InterpParameter'].CUBIC == 5
    assert 'recurrent_param' in BVLC['LayerParameter'].DESCRIPTOR.fields_by_name


names = st.text(max_size=12)
layers = st.builds(
    lambda name, bottoms, pads, lr, pool: BVLC['LayerParameter'](
        name=name, bottom=bottoms, param=[BVLC['ParamSpec'](lr_mult=lr)],
        convolution_param={'pad': pads}, pooling_param={'pool': pool}),
    names, st.lists(names, max_size=3), st.lists(st.integers(0, 2**32 - 1), max_size=3),
    st.floats(width=32, allow_nan=False), st.integers(0, 2))


@given(st.lists(layers, max_size=4))
def test_scan_finds_every_layer_of_any_text(layers):
    net = proto.NetParameter(layer=layers)
    for one_line in (False, True):
        text = text_format.MessageToString(net, as_one_line=one_line)
        found = [f for f in scan(text, 'x') if f.path == ('layer',)]
        assert len(found) == len(layers)
        if not one_line:
            starts = [i for i, t in enumerate(text.split('\n'), 1) if t == 'layer {']
            assert [f.line for f in found] == starts


@pytest.mark.parametrize('overlay, quoted', [
    ('  1 a int32', '1 a int32'),                           # before any message
    ('LayerParameter\n  -no_such_field', 'no_such_field'),
    ('LayerParameter\n  1 name', '1 name'),                 # without a type
])
def test_an_overlay_that_is_no_table(overlay, quoted):
    with pytest.raises(FcnError) as error:
        Schema(CAFFE_PROTO, overlay)
    assert quoted in error.value.what
