"""pycaffe's Net, its blobs and layers (python/caffe/pycaffe.py and _caffe.cpp of BVLC Caffe)."""

import warnings
from collections import OrderedDict
from itertools import zip_longest
from pathlib import Path

import numpy as np

from ..errors import FcnError, known_names, nearest
from ..net.placement import pick_device, place
from ..paths import ANYWHERE
from ..sizes import dims
from . import mode
from .arrays import settle
from .blob import Blob, Param
from .layerwise import LayerwiseNet
from .userlayer import UserPython


class UnknownLayer(FcnError, ValueError):
    """A layer name that the net does not have; pycaffe raises ValueError."""


class LayerView:
    """A layer of a net: its type and its parameter blobs. (A Python layer is its own object.)"""

    def __init__(self, type, blobs):
        self.type, self.blobs = type, blobs


class Net:
    """Net(file, phase, level=0, stages=None, weights=None), or Net(file, weights, phase).

    phase: TRAIN or TEST. Every blob can be read and written between any two layers; no pass runs.
    FcnError for files and texts that do not fit, with file, line and layer.
    """

    def __init__(self, network_file, phase, level=0, stages=None, weights=None):
        mode.ensure_log()
        if isinstance(phase, str | Path):           # the old order
            warnings.warn(f'Net(file, weights, phase) is the old form: Net({network_file!r}, '
                          f'{level}, weights={phase!r})', DeprecationWarning, stacklevel=2)
            phase, level, weights = level, 0, phase
        net = LayerwiseNet.read(network_file, phase, level, tuple(stages or ()),
                                seed=mode.seed() or 0, blas=mode.blas(), writes=ANYWHERE,
                                weights=weights, **mode.fork())
        place(net, pick_device(mode.device()), channels_last=False, prepack=False,
              graphs=False)             # caching and replay would miss what is written by arrays
        self._wrap(net)
        if weights is not None:
            self.copy_from(weights)

    @classmethod
    def _of(cls, net):
        self = cls.__new__(cls)
        self._wrap(net)
        return self

    def _wrap(self, net):
        """Describe a LayerwiseNet in pycaffe's words."""
        self._net, graph = net, net.graph
        names = [(node.name, [graph.values[v] for v in node.bottoms],
                  [graph.values[v] for v in node.tops]) for node in graph.nodes]
        self._layer_names = [name for name, _, _ in names]
        self.bottom_names = OrderedDict((name, bottoms) for name, bottoms, _ in names)
        self.top_names = OrderedDict((name, tops) for name, _, tops in names)
        self.inputs, self.outputs = list(graph.inputs), list(graph.outputs)
        memory = net.executor.blobs
        self.blobs = OrderedDict((name, Blob(each, name)) for name, each in memory.items())
        self.blob_loss_weights = OrderedDict((name, each.weight) for name, each in memory.items())
        self.layers = [self._view(node) for node in graph.nodes]
        self.params = OrderedDict((name, layer.blobs) for name, layer in zip(
            self._layer_names, self.layers, strict=True) if layer.blobs)
        self.layer_dict = OrderedDict(zip(self._layer_names, self.layers, strict=True))

    def _view(self, node):
        """The user's own object of a Python layer, as in pycaffe; a LayerView of another."""
        layer = self._net.layer(node)
        if isinstance(layer, UserPython):
            return layer.instance
        return LayerView(node.type, [Param(blob) for blob in
                                     self._net.layer_params.get(node.key, ())])

    # ---- running -----------------------------------------------------------------------------

    def forward(self, blobs=None, start=None, end=None, **kwargs):
        """Run the layers start to end, by name, both included; {name: data} of the outputs (with
        end: of its tops) and of `blobs`.

        kwargs: {input: array}, all inputs or none, of the blobs' shapes. The arrays that come back
        are the blobs' own: the next pass writes over them.
        """
        first = 0 if start is None else self._index(start)
        last = len(self.layers) - 1 if end is None else self._index(end)
        self._fill(kwargs, self.inputs, 'input', 'data')
        self._forward(first, last)
        tops = self.outputs if end is None else self.top_names[end]
        return {name: self._blob(name).data for name in (*tops, *(blobs or []))}

    def backward(self, diffs=None, start=None, end=None, **kwargs):
        """Run backward from layer start down to end, both included; {name: diff} of the inputs
        (with end: of its bottoms) and of `diffs`. Diffs of parameters add up.

        kwargs: {output: its diff}, all outputs or none. Without them, and without a loss, the tops'
        diffs are what was written there.
        """
        first = len(self.layers) - 1 if start is None else self._index(start)
        last = 0 if end is None else self._index(end)
        self._fill(kwargs, self.outputs, 'output', 'diff')
        self._backward(first, last)
        names = [*(self.inputs if end is None else self.bottom_names[end]), *(diffs or [])]
        return {name: self._blob(name).diff for name in names}

    def _forward(self, start, end):
        """Layers start to end by number; the loss."""
        return self._net.executor.run(start, end)

    def _backward(self, start, end):
        self._net.executor.run_back(start, end)

    def _index(self, layer):
        if layer not in self.layer_dict:
            raise UnknownLayer(f"the net has no layer '{layer}'", file=self._net.graph.file,
                               do=nearest(layer, self.layer_dict) or known_names(self.layer_dict))
        return self._layer_names.index(layer)

    def _blob(self, name):
        self._net.graph.first(name)             # an error if there is no such blob
        return self.blobs[name]

    def _fill(self, given, names, what, part):
        """Write what a caller gave into data or diff."""
        if given and set(given) != set(names):
            raise FcnError(f'{what}s given: {", ".join(sorted(given))}; the net has: '
                           f'{", ".join(names) or "none"}', file=self._net.graph.file,
                           do=f'Give all {what}s by name, or none.')
        for name, values in given.items():
            values, shape = np.asarray(values), self.blobs[name].shape
            if values.shape[:1] != shape[:1]:
                raise FcnError(f"{what} '{name}' is given {dims(values.shape)}, the blob is "
                               f'{dims(shape)}: not the same batch', file=self._net.graph.file,
                               do='Reshape the blob first, or use forward_all.')
            getattr(self.blobs[name], part)[...] = values

    def forward_all(self, blobs=None, **kwargs):
        """forward for any number of rows, batch by batch; {name: rows}, as many as given."""
        count = len(next(iter(kwargs.values())))
        parts = [{name: data.copy() for name, data in self.forward(blobs, **batch).items()}
                 for batch in self._batch(kwargs)]
        return joined(parts, count)

    def forward_backward_all(self, blobs=None, diffs=None, **kwargs):
        """forward and backward batch by batch, kwargs for both; ({name: data}, {name: diff})."""
        count = len(next(iter(kwargs.values())))
        rows = [self._batch({name: kwargs[name] for name in names if name in kwargs})
                for names in (self.inputs, self.outputs)]
        outs, backs = [], []
        for inputs, tops in zip_longest(*rows, fillvalue={}):
            outs.append({n: a.copy() for n, a in self.forward(blobs, **inputs).items()})
            backs.append({n: a.copy() for n, a in self.backward(diffs, **tops).items()})
        return joined(outs, count), joined(backs, count)

    def _batch(self, rows):
        """{name: array of any length} in pieces of the net's batch size, the last one padded with
        zeros."""
        size = next(iter(self.blobs.values())).shape[0]
        for k in range(0, len(next(iter(rows.values()), ())), size):
            piece = {name: np.asarray(values[k:k + size]) for name, values in rows.items()}
            yield {name: np.pad(part, [(0, size - len(part))] + [(0, 0)] * (part.ndim - 1))
                   for name, part in piece.items()}

    def set_input_arrays(self, data, labels):
        """The rows that the net's first layer, a MemoryData, gives batch by batch."""
        self._net.set_input_arrays(data, labels)

    def before_forward(self, run):
        """Call run(i) before layer number i runs, in every pass of this net, a solver's too."""
        self._net.executor.callbacks['before_forward'].append(run)

    def after_forward(self, run):
        self._net.executor.callbacks['after_forward'].append(run)

    def before_backward(self, run):
        self._net.executor.callbacks['before_backward'].append(run)

    def after_backward(self, run):
        self._net.executor.callbacks['after_backward'].append(run)

    def reshape(self):
        """Give all blobs the shapes that follow from those of the inputs now."""
        settle()
        self._net.executor.adapt()

    # ---- what pycaffe has under an underscore, by number in place of by name -----------------

    _blobs = property(lambda self: list(self.blobs.values()))
    _blob_names = property(lambda self: list(self.blobs))
    _blob_loss_weights = property(lambda self: list(self.blob_loss_weights.values()))
    _inputs = property(lambda self: self._ids(self.inputs))
    _outputs = property(lambda self: self._ids(self.outputs))

    def _top_ids(self, layer):
        return self._ids(self.top_names[self._layer_names[layer]])

    def _bottom_ids(self, layer):
        return self._ids(self.bottom_names[self._layer_names[layer]])

    def _ids(self, names):
        return [self._blob_names.index(name) for name in names]

    # ---- parameters --------------------------------------------------------------------------

    def copy_from(self, trained):
        """Copy weights by layer name from a caffemodel or an HDF5 file, of any age."""
        settle()
        self._net.copy_from(str(trained))

    load_hdf5 = copy_from

    def share_with(self, other):
        """Use the parameters of `other` from now on, for the layers that both have."""
        settle()
        self._net.share_with(other._net)

    def save(self, path):
        """Write a binary caffemodel, whole or not at all."""
        settle()
        self._net.save(path)

    def save_hdf5(self, path):
        """Write the parameters in Caffe's HDF5 layout."""
        settle()
        self._net.save_hdf5(path)

    def clear_param_diffs(self):
        self._net.clear_param_diffs()


def joined(parts, count):
    """[{name: array}] one after another, the first `count` rows."""
    return {name: np.concatenate([np.atleast_1d(part[name]) for part in parts])[:count]
            for name in parts[0]}
