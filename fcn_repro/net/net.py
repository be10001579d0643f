"""Net: a graph that runs. One small layer for each node; blobs and params in pycaffe's words."""

from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from ..errors import FcnError, located
from ..formats import weights
from ..formats.caffemodel import layer_of, write_caffemodel
from ..layers import TYPES, RunState, types_of, unknown_type
from ..layers.common.fields import check_fields
from ..proto import BVLC, dialect_of
from ..proto.prototxt import read_net
from ..sizes import check_memory, check_shapes
from .blob import Blob, InputBlob
from .debug_info import Trace
from .graph import AUTOMATIC, Graph, build
from .params import check_unchanged, make_params, share_data
from .plan import bottoms_of, make_plan, widened

ALL = 'all'


class Net(nn.Module):
    """A Caffe net for one phase.

    graph: from `graph.build`; `Net.read(path, phase)` does both.
    seed: of the fillers and the dropout masks. passes: functions (graph, keep) -> graph, applied
    to each plan with the blobs it must deliver: asking for a blob makes a pass step aside there.
    debug_info, of the text, may be set: Caffe's log lines for every pass, with no pass applied.
    folder: where relative paths in the text start. overrides: {class of a Python data layer: keys
    of its param_str to replace} (another folder, another split). blas: multiply matrices as Caffe
    does on the CPU (ops/blas.py); for its bits, give no passes.

    Raises FcnError, with file, line and layer, for everything that does not fit.
    """

    # runtime.place sets: the memory format of what is fed; the 16-bit type of the products, where
    # there is one (plan.py); what runs a plan in the place of `run` (cuda_graphs.py)
    channels_last, dtype, replay = False, None, None
    own_types: ClassVar[dict] = {}      # {type name: class} in place of the dialect's

    def __init__(self, graph: Graph, seed=0, passes=(), folder='.', overrides=None, blas=False):
        super().__init__()
        self.graph, self.passes = graph, tuple(passes)
        self.state = RunState(graph.phase, seed, 0, str(folder), overrides or {}, blas)
        self.types = self.types_for(graph.dialect)
        self.check_fields()
        self.layers, self.plans, self.total_loss, self.spent = {}, {}, None, False
        self.debug_info, self.trace = graph.debug_info, None
        self.shapes, self.declared = self.infer()
        with located(self.graph.file):
            check_memory(self.declared, [self.shapes[graph.first(name)] for name in graph.inputs])
            self.blobs = {graph.values[v]: (InputBlob if graph.values[v] in graph.inputs else Blob)
                          (graph.values[v], shape) for v, shape in self.shapes.items()
                          if graph.values[v] != AUTOMATIC}
            self.params = make_params(graph, self.declared, seed)
        for i, blob in enumerate(self.learnable_params):
            self.register_parameter(f'p{i}', blob.parameter)

    @classmethod
    def read(cls, path, phase, level=0, stages=(), dialect=BVLC, **options):
        """The net of a prototxt file in a dialect, for a phase; options as for Net."""
        return cls.of(read_net(path, dialect), phase, level, stages, **options)

    @classmethod
    def of(cls, text, phase, level=0, stages=(), **options):
        """The net of a NetText, for a phase; options as for Net."""
        types = cls.types_for(dialect_of(text.message))
        auto_tops = {name: 1 for name, layer in types.items() if layer.loss}
        graph = build(text, phase, level, stages, auto_tops)
        return cls(graph, **{'folder': Path(text.file).parent, **options})

    @classmethod
    def types_for(cls, dialect):
        """{type name: class} of the layers of a net in a dialect."""
        return types_of(dialect) | cls.own_types

    # ---- before anything runs ----------------------------------------------------------------

    def check_fields(self):
        """Raise FcnError for a set field that its layer does not read, and for an unknown type."""
        for node in self.graph.nodes:
            with located(self.graph.file, node):
                if node.type not in self.types:
                    raise unknown_type(node, self.types)
                check_fields(node, self.types, self.graph.file)

    def infer(self, known=None):
        """({value: shape}, {layer: its parameters' shapes and fillers}) from the shapes of the
        sources: those in `known`, else the layers' own."""
        shapes, declared = dict(known or {}), {}
        for node in self.graph.nodes:
            with located(self.graph.file, node):
                layer, bottoms = self.layer(node), [shapes[v] for v in node.bottoms]
                wanted = layer.parameters(bottoms)
                check_shapes({f'parameter {i}': shape for i, (shape, _) in enumerate(wanted)})
                if wanted:
                    if node.name in declared:
                        raise layer.error('another layer of this name has parameters too',
                                          'Rename one: weights go by the name.')
                    declared[node.name] = wanted
                if not all(v in shapes for v in node.tops):
                    tops = dict(zip(node.tops, map(tuple, layer.shape(bottoms)), strict=True))
                    check_shapes({f"top '{self.graph.values[v]}'": s for v, s in tops.items()})
                    shapes.update(tops)
        return shapes, declared

    def layer(self, node):
        """The layer of a node, made once."""
        if id(node) not in self.layers:
            self.layers[id(node)] = self.types[node.type](node, self.state), node
        return self.layers[id(node)][0]

    # ---- running -----------------------------------------------------------------------------

    def forward(self, blobs=(), stop_after=None, labels_of=None, **inputs):
        """Run once; returns {name: tensor} of the outputs and of `blobs`.

        blobs: name or names to keep as well, data and (after backward) diff, or 'all'.
        stop_after: the layer to stop at; its tops take the outputs' place. labels_of: a blob of
        scores (N, C, H, W) to stop at; its label map (N, H, W) is the one output, graph.LABELS.
        inputs: data of Input layers, at any shape the net can take; else their blobs' data.
        `total_loss` is afterwards the sum of loss weight times top, 0-d, or None.
        """
        blobs = (blobs,) if isinstance(blobs, str) and blobs != ALL else blobs
        blobs = frozenset(self.graph.values if blobs == ALL else blobs)
        plan = self.plan(blobs, stop_after, labels_of)
        values = self.feed(inputs)
        self.reshape({v: tuple(t.shape) for v, t in values.items()})
        losses = (self.replay or self.run)(plan, values)
        self.state.position += 1
        self.total_loss, self.spent = sum(losses) if losses else None, False
        return self.deliver(plan, values)

    def run(self, plan, values):
        """A plan over {value: tensor}, where only what is delivered stays; the weighted losses."""
        losses = []
        for step in plan.steps:
            with located(self.graph.file, step.node):
                params = self.params_of(step.node, step.dtype)
                tops = step.layer.forward(bottoms_of(step, values), params)
            values.update(zip(step.node.tops, tops, strict=True))
            losses += [weight * values[v].sum() for v, weight in step.losses]
            self.observe(step.node.tops, values, plan)
            for v in step.release:
                del values[v]
        return losses

    def plan(self, blobs, stop_after=None, labels_of=None):
        """What runs for these wanted blobs; made once."""
        key = blobs, stop_after, labels_of, self.debug_info, self.dtype
        if key not in self.plans:
            passes = () if self.debug_info or self.has_other_types() else self.passes
            self.plans[key] = make_plan(self.graph, self.layer, passes, *key)
        return self.plans[key]

    def has_other_types(self):
        """Whether a node's type is one of BVLC's that the dialect replaces: passes, which know
        BVLC's meaning, then leave the net alone."""
        replaced = TYPES.keys() & self.graph.dialect.types.keys()
        return any(node.type in replaced for node in self.graph.nodes)

    def feed(self, inputs):
        """{value: tensor} of the layers without bottoms: given, kept in a blob, or read."""
        self.trace = Trace(self) if self.debug_info else None
        unknown = sorted(set(inputs) - set(self.graph.inputs))
        if unknown:
            raise FcnError(f"'{unknown[0]}' is no input of this net", file=self.graph.file,
                           do=f'Its inputs: {", ".join(self.graph.inputs) or "none"}.')
        for name, data in inputs.items():
            self.blobs[name].keep(torch.as_tensor(data), None)
        values = {}
        for node in self.graph.nodes:
            if node.type == 'Input':
                tops = [self.blobs[self.graph.values[v]].data for v in node.tops]
            elif not node.bottoms:
                with located(self.graph.file, node):
                    tops = self.layer(node).forward([], self.params_of(node))
            else:
                continue
            if node.name not in self.params:        # what Parameter gives is learned
                tops = map(self.place, tops)
            values.update(zip(node.tops, tops, strict=True))
        return values

    def set_input_arrays(self, data, labels):
        """pycaffe's: the rows that the net's first layer, a MemoryData, gives batch by batch."""
        first = self.graph.nodes[0]
        if first.type != 'MemoryData':
            raise FcnError('the first layer takes no arrays', file=self.graph.file, type=first.type,
                           layer=first.name, do='Make it a MemoryData layer.')
        with located(self.graph.file):
            self.layer(first).reset(data, labels)

    def place(self, tensor):
        """A fed tensor where and as the parameters are."""
        like = next(self.parameters(), tensor)
        tensor = tensor.detach().to(like.device, like.dtype)
        if self.channels_last and tensor.dim() == 4:
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        return tensor.requires_grad_() if self.graph.force_backward else tensor

    def reshape(self, fed):
        """Infer all shapes anew where the fed ones changed; the parameters must still fit."""
        if fed.items() <= self.shapes.items():
            return
        shapes, declared = self.infer(fed)
        with located(self.graph.file):
            check_unchanged(self.declared, declared)
        self.shapes = shapes
        for v, shape in shapes.items():
            if self.graph.values[v] != AUTOMATIC:
                self.blobs[self.graph.values[v]].shape = shape

    def params_of(self, node, dtype=None):
        params = [blob.tensor if dtype is None else blob.cast(dtype)
                  for owner in node.owners for blob in self.params.get(owner, ())]
        return self.trace.used(node, params) if self.trace else params

    def observe(self, tops, values, plan):
        """Have autograd keep the gradients of values that somebody wants to see."""
        for v in tops:
            if v in plan.observed and values[v].requires_grad:
                values[v].retain_grad()

    def deliver(self, plan, values):
        """Put what was wanted into the blobs, and return it by name."""
        if self.trace:
            self.trace.forward(values)
        for name, blob in self.blobs.items():
            if name in plan.deliver:
                first, last = plan.deliver[name]
                blob.keep(widened(values[last]), values[first])
            elif name not in self.graph.inputs:
                blob.keep(None, None)
        return {name: widened(values[last]) for name, (_, last) in plan.deliver.items()}

    def backward(self, **diffs):
        """Add the gradients of `total_loss`, or those that follow from the top diffs given by
        blob name, to the diffs of params and of the blobs that were asked for. Once after each
        forward pass: it frees what it needed."""
        if self.spent:
            raise FcnError('backward ran already after this forward pass', file=self.graph.file,
                           do='Run forward before each backward; diffs of params add up.')
        if self.trace:
            self.trace.start_backward()
        if diffs:
            tops = [self.start(name, torch.as_tensor(diff)) for name, diff in diffs.items()]
            tops = [(top, diff) for top, diff in tops if top.requires_grad]
            if tops:
                torch.autograd.backward(*map(list, zip(*tops)))
        elif self.total_loss is None:
            raise FcnError('there is no loss to start backward from', file=self.graph.file,
                           do='Give the diffs of outputs, or use a net with a loss layer.')
        elif self.total_loss.requires_grad:
            self.total_loss.backward()
        self.spent = True
        if self.trace:
            self.trace.backward()

    def start(self, name, diff):
        """A kept top and its given diff, to start backward from."""
        self.graph.first(name)                  # an error if there is no such blob
        return self.blobs[name].start(diff, self.graph.file)

    def clear_param_diffs(self):
        for parameter in self.parameters():
            parameter.grad = None

    # ---- parameters --------------------------------------------------------------------------

    @property
    def learnable_params(self):
        """The parameter blobs that are not shared from another, in net order."""
        return [blob for blobs in self.params.values() for blob in blobs if blob.owner is None]

    def copy_from(self, source):
        """Copy weights by layer name from a caffemodel, an HDF5 file or Weights. Returns what
        happened to each layer (weights.format_rows makes a table of it)."""
        if not isinstance(source, weights.Weights):
            source = weights.read_weights(source, self.graph.dialect)
        layers = [weights.LayerBlobs(node.name, [blob.data for blob in
                                                 self.params.get(node.name, ())], node.type)
                  for node in self.graph.nodes]
        with torch.no_grad():
            return weights.copy_weights(layers, source)

    def share_with(self, other):
        """Use the data of `other`'s parameters from now on, for the layers that both have; diffs
        stay each net's own (Net::ShareTrainedLayersWith). What later moves one of the nets to
        another device or memory format ends the sharing."""
        with located(self.graph.file):
            share_data(self.params, other.params)
        for i, blob in enumerate(self.learnable_params):
            self.register_parameter(f'p{i}', blob.parameter)

    def save(self, path, extra=None):
        """Write a binary caffemodel, whole or not at all: each layer with all its parameters.
        extra: {name: value} for a further field that Caffe ignores."""
        layers = [(layer_of(node, self.graph, self.layer(node).loss),
                   [blob.data for blob in self.params.get(node.name, ())])
                  for node in self.graph.nodes]
        write_caffemodel(path, self.graph.name, layers, extra)

    def save_hdf5(self, path, extra=None):
        """Write the parameters in Caffe's HDF5 layout: a shared one under its owner alone.
        extra: {name: value} for a further group that Caffe ignores."""
        owned = [(node.name, [blob.data if blob.owner is None else None
                              for blob in self.params.get(node.name, ())])
                 for node in self.graph.nodes]
        weights.write_hdf5(path, owned, extra)
