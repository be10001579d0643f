"""Readers to fuzz: weights, states, means, goldens and data in HDF5."""

import io
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from fuzz_target import DATA, files, folder_with

CRF = """
layer { name: "u" type: "Input" top: "u" top: "q" input_param { shape { dim: [1, 3, 4, 4] } } }
layer { name: "i" type: "Input" top: "i" input_param { shape { dim: [1, 3, 4, 4] } } }
layer { name: "crf" type: "MultiStageMeanfield" bottom: "u" bottom: "q" bottom: "i" top: "p"
  multi_stage_meanfield_param { num_iterations: 2 theta_alpha: 8 theta_beta: 8 theta_gamma: 2 } }
"""


def read_weights(path):
    from fcn_repro.formats.weights import kind_of, read_extra, read_weights
    weights = read_weights(path)
    sums = [float(np.asarray(blob, np.float64).sum()) for blobs in weights.values()
            for blob in blobs if blob is not None]
    return kind_of(path), read_extra(path), sums


def convert_weights(path):
    """To HDF5 and back, as the command `convert` does."""
    from fcn_repro.formats.weights import modern, read_weights, write_hdf5
    with folder_with(path, 'in') as folder:
        write_hdf5(folder / 'out.h5', modern(read_weights(folder / 'in')))
        read_weights(folder / 'out.h5')


def copy_weights(path):
    from fcn_repro.net import Net
    return Net.read(DATA / 'weights/load/net.prototxt', 'TEST').copy_from(path)


def read_layers(path):
    from fcn_repro.formats.wire import read_layer_params
    from fcn_repro.proto.dialects import dialects
    return read_layer_params(path, dialects()['enet'])


def read_crf_weights(path):
    """The numbers that CRF as RNN's layer begins with."""
    from fcn_repro.net import Net
    with folder_with(path, 'spatial.par') as folder:
        os.link(path, folder / 'bilateral.par')
        (folder / 'net.prototxt').write_text(CRF)
        return Net.read(folder / 'net.prototxt', 'TEST', dialect='crfasrnn-master')


def read_state(path):
    from fcn_repro.formats.weights import read_solverstate
    state = read_solverstate(path)
    return [float(np.asarray(blob, np.float64).sum()) for blob in state.history]


def read_mean(path):
    from fcn_repro.formats.weights import read_binaryproto
    return read_binaryproto(path)


def state_seeds():
    """Caffe's binary state, and one with this project's own fields."""
    from fcn_repro.formats.solverstate import write_binary
    with tempfile.TemporaryDirectory() as folder:
        write_binary(f'{folder}/s', 7, 'a_iter_7.caffemodel', 2, [np.ones((2, 3), 'f4')],
                     {'seed': 1, 'losses': [1.0, 2.0], 'stage': 'x'}, {'net': 'name: "a"'})
        own = Path(folder, 's').read_bytes()
    return [*files('weights/*.solverstate')(), own]


def hdf5_seeds(kind: str) -> Callable[[], list[bytes]]:
    """Caffe's own file, and one that this project writes now."""
    def seeds():
        from fcn_repro.formats.weights import write_hdf5, write_solverstate
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, 'a.h5')
            if kind == 'caffemodel':
                write_hdf5(path, {'conv': [np.ones((2, 3, 3, 3), 'f4'), np.ones(2, 'f4')],
                                  'a/b': [np.ones(3, 'f4')]}, {'stage': 'x', 'seed': 1})
            else:
                write_solverstate(path, 7, 'a_iter_7.caffemodel.h5', 2, [np.ones((2, 3), 'f4')],
                                  {'seed': 1, 'stage': 'x'}, {'net': 'name: "a"'})
            own = path.read_bytes()
        return [*files(f'weights/*.{kind}.h5')(), own]
    return seeds


def read_golden(path):
    from fcn_repro.parity.golden import read_golden

    def walk(group):
        for item in group.values():
            if isinstance(item, dict):
                walk(item)
    return walk(read_golden(path))


def check_goldens(path):
    """A folder of goldens: what Caffe made of a text is the input."""
    from fcn_repro.parity.fixtures import KINDS as own
    from fcn_repro.parity.folder import KINDS, check_folder
    with folder_with(path, 'v1_net.upgraded.prototxt') as folder:
        shutil.copy(DATA / 'formats/v1_net.prototxt', folder)
        os.link(path, folder / 'golden.h5')
        os.link(path, folder / 'random_stats.json')
        return list(check_folder(folder, kinds=(*KINDS, *own)))


def golden_seeds():
    return [*files('formats/v1_net.upgraded.prototxt', 'fillers/random_stats.json')(),
            *files('layers/a*.h5')()[:3]]


def read_hdf5_data(path):
    """As HDF5Data reads what its list names."""
    from fcn_repro.layers.common.rows import listed_files, read_files
    with folder_with(path, 'd.h5') as folder:
        (folder / 'list').write_text('d.h5\n')
        return read_files([folder / name for name in listed_files(folder / 'list')],
                          ['data', 'label'])


def hdf5_data_seeds():
    made = []
    for options in ({}, {'chunks': True}, {'compression': 'gzip'}, {'dtype': 'f8'}):
        with h5py.File(io.BytesIO(), 'w') as file:
            file.create_dataset('data', data=np.ones((4, 3, 2, 2), 'f4'), **options)
            file.create_dataset('label', data=np.arange(4), **(
                options if 'dtype' not in options else {}))
            file.flush()
            made.append(file.id.get_file_image())
    return made


def read_hdf5_list(path):
    from fcn_repro.layers.common.rows import listed_files
    return listed_files(path)


def read_state_dict(path):
    from fcn_repro.formats.torchnets import form_of, read_net, unwrapped
    from fcn_repro.formats.torchvision import is_state_dict, load, read_vgg16
    from fcn_repro.recipe.models.converted import net_of
    if is_state_dict(path):
        state = unwrapped(load(path))
        if form_of(state) is None:
            read_vgg16(path, state)
        else:
            net_of(read_net(state, path))


def state_dict_seeds():
    """The narrowest VGG16s that there are, in both formats of torch.save; a narrow RefineNet as
    safetensors, and a narrow DeepLab v3+ as a checkpoint."""
    import torch
    from safetensors.torch import save
    from torch_twins import Jfzhang95, Refinenet
    narrow = {'classes': 2, 'width': 1, 'stem': 1, 'widths': (1,) * 4, 'blocks': (1, 1, 1, 3)}
    found = [save(Refinenet(**narrow).filled((33, 33)).state())]
    file = io.BytesIO()
    torch.save({'state_dict': Jfzhang95(**narrow, low=1).filled((33, 33)).state()}, file)
    found.append(file.getvalue())
    for normalised, zipped in (True, True), (False, True), (False, False):
        state, index, channels = {}, 0, 3
        for count in (2, 2, 3, 3, 3):
            for _ in range(count):
                state[f'features.{index}.weight'] = torch.ones(1, channels, 3, 3)
                state[f'features.{index}.bias'] = torch.ones(1)
                channels, index = 1, index + 1
                for name in ('weight', 'bias', 'running_mean', 'running_var') * normalised:
                    state[f'features.{index}.{name}'] = torch.ones(1)
                index += 1 + normalised
            index += 1
        file = io.BytesIO()
        torch.save(state, file, _use_new_zipfile_serialization=zipped)
        found.append(file.getvalue())
    return found
