"""A layer reads each field of its messages that it does not list as ignored or unsupported.

The statement is held against the code: a proxy records what a layer asks of its message while it
is built and runs, over random cases of every type.
"""

from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from google.protobuf.message import Message
from hypothesis import given, settings
from layer_case import Case, make_node
from layer_cases import CASES
from packages import required
from PIL import Image

from fcn_repro.formats.database import Writer
from fcn_repro.formats.datum import encode
from fcn_repro.layers import TYPES, RunState
from fcn_repro.layers.common.fields import OWN, messages_of
from fcn_repro.proto import BVLC, TEST, TRAIN, BlobProto, LayerParameter
from fcn_repro.search import as_search_path


class Recorder:
    """A message whose reads go into a set of dotted paths, down to the fields of its messages."""

    def __new__(cls, message=None, reads=None, path='', **fields):
        if message is None:                     # type(node.param)(…) in a layer: a message
            return LayerParameter(**fields)
        return super().__new__(cls)

    def __init__(self, message, reads, path=''):
        self.message, self.reads, self.path = message, reads, path

    def __getattr__(self, name):
        value = getattr(self.message, name)
        if isinstance(value, Message) and not self.path:
            return Recorder(value, self.reads, f'{name}.')
        if name in self.message.DESCRIPTOR.fields_by_name:
            self.reads.add(f'{self.path}{name}')
        return value

    def HasField(self, name):
        self.reads.add(f'{self.path}{name}')
        return self.message.HasField(name)


def run(case, reads, folder='.'):
    """Build the layer of a case and run it, in both phases."""
    for phase in (TRAIN, TEST):
        node = make_node(case.type, len(case.bottoms), case.tops, case.settings)
        layer = TYPES[case.type](replace(node, param=Recorder(node.param, reads)),
                                 RunState(phase, search=as_search_path(folder)))
        layer.shape(case.shapes())
        if case.type not in ('Input', 'MemoryData'):    # whose data is the caller's
            layer.forward(case.bottoms, case.weights(layer))


def declared(cls):
    """The dotted paths that a class says it reads."""
    for message in messages_of(cls):
        fields = BVLC['LayerParameter'].DESCRIPTOR.fields_by_name[message].message_type.fields
        for name in (field.name for field in fields):
            path = f'{message}.{name}'
            left = (message == cls.fields and name in (*cls.ignored, *cls.unsupported)) \
                or (message == OWN and name not in cls.own_fields)
            if not left and path not in cls.ignored:
                yield path


def refused_whole(cls, reads):
    """Paths of messages that a class only asks for, to refuse them."""
    return {path for path in declared(cls) if path.partition('.')[0] in reads}


def check(type, reads):
    cls = TYPES[type]
    found = {path for path in reads if path.partition('.')[0] in messages_of(cls)} - \
        set(messages_of(cls)) - {f'{cls.fields}.{name}' for name in cls.unsupported}
    assert found | refused_whole(cls, reads) == set(declared(cls))
    assert {path.partition('.')[0] for path in reads if '.' in path} <= set(messages_of(cls))


LOGITS, LABELS = torch.rand(2, 3), torch.zeros(2)
OLD = {'loss_param': {'normalize': True}}       # the old form of normalization
RARE = {'SoftmaxWithLoss': [Case('SoftmaxWithLoss', [LOGITS, LABELS], OLD)],
        'SigmoidCrossEntropyLoss': [Case('SigmoidCrossEntropyLoss', [LOGITS, LOGITS], OLD)]}


@pytest.mark.parametrize('type', sorted(type for type in CASES.keys() - {'InfogainLoss'}
                                        if messages_of(TYPES[type])))
def test_a_type_reads_what_it_declares(type):
    reads = set()

    @settings(max_examples=60, derandomize=True, database=None)
    @given(CASES[type])
    def gather(case):
        run(case, reads)

    gather()
    for case in RARE.get(type, ()):
        run(case, reads)
    check(type, reads)


@pytest.fixture
def files(tmp_path):
    required('lmdb')
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / 'a.png')
    (tmp_path / 'list.txt').write_text('a.png 0\n')
    (tmp_path / 'rows.txt').write_text('rows.h5\n')
    (tmp_path / 'h.binaryproto').write_bytes(BlobProto(
        shape={'dim': [1, 1]}, data=[1]).SerializeToString())
    with Writer(tmp_path / 'db') as writer:
        writer.put(b'a', encode(np.zeros((1, 4, 5), np.uint8), 0))
    with h5py.File(tmp_path / 'rows.h5', 'w') as file:
        file['t0'] = np.zeros((2, 3), np.float32)
    return tmp_path


SOURCES = [
    Case('Data', [], {'data_param': {'source': 'db', 'backend': 'LMDB', 'batch_size': 1}}, 2),
    Case('HDF5Data', [], {'hdf5_data_param': {'source': 'rows.txt', 'batch_size': 1}}),
    Case('ImageData', [], {'image_data_param': {'source': 'list.txt'}}, 2),
    Case('InfogainLoss', [torch.rand(1, 1), torch.zeros(1)],
         {'infogain_loss_param': {'source': 'h.binaryproto', 'axis': 1}}),
    Case('MemoryData', [], {'memory_data_param': {
        'batch_size': 1, 'channels': 1, 'height': 1, 'width': 1}}, 2),
    Case('Python', [], {'python_param': {
        'module': 'digit_layers', 'layer': 'DigitDataLayer', 'param_str': "{'split': 'train'}"}},
        2),
]


@pytest.mark.parametrize('case', SOURCES, ids=lambda case: case.type)
def test_a_source_reads_what_it_declares(case, files):
    reads = set()
    run(case, reads, files)
    check(case.type, reads)


def test_a_sink_reads_what_it_declares(tmp_path):
    reads, bottoms = set(), [torch.zeros(1, 1), torch.zeros(1, 1)]
    for name in 'ab':                           # one pass a file: one layer a phase
        node = make_node('HDF5Output', 2, 0, {'hdf5_output_param': {'file_name': name}})
        layer = TYPES['HDF5Output'](replace(node, param=Recorder(node.param, reads)),
                                    RunState(TEST, search=as_search_path(tmp_path),
                                             writes=(tmp_path,)))
        layer.forward(bottoms, [])
    check('HDF5Output', reads)


def test_no_type_is_left_out():
    found = {type for type in CASES if messages_of(TYPES[type])} | {c.type for c in SOURCES}
    assert found == {type for type, cls in TYPES.items() if messages_of(cls)} - {'HDF5Output'}
