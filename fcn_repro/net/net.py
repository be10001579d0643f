"""Net: the definition of a Caffe net and its public face; an executor runs it (executor.py)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from os import PathLike
from types import MappingProxyType
from typing import Any, ClassVar, cast

import torch
from torch import nn

from ..errors import FcnError, located
from ..formats import weights
from ..formats.caffemodel import layer_of, write_caffemodel
from ..formats.weights import counter
from ..layers import (
    TYPES,
    ExecutionOptions,
    Layer,
    RunState,
    auto_tops,
    types_of,
    unknown_type,
)
from ..layers.common.fields import check_fields
from ..memory import collector_paused
from ..paths import as_folders
from ..proto import dialect_of
from ..proto.dialects import Dialect
from ..proto.prototxt import NetText, read_net
from ..search import SearchPath, as_search_path
from ..sizes import check_memory, check_shapes, dims
from .blob import ParamBlob
from .crops import align_crops
from .executor import PlannedExecutor
from .graph import Graph, Node, build
from .lookalikes import check_lookalikes
from .params import Params, check_unchanged, make_params, own_shapes, share_data
from .setup_log import log_ignored, log_parameters, log_setup
from .train_graphs import OnHost

log = logging.getLogger(__name__)

Shape = tuple[int, ...]
Pass = Callable[[Graph, Collection[str]], Graph]


class Net(nn.Module):
    """A Caffe net for one phase.

    graph: from `graph.build`; `Net.read(path, phase)` does both.
    seed: of the fillers and the dropout masks. passes: functions (graph, keep) -> graph, applied
    to each plan with the blobs it must deliver: asking for a blob makes a pass step aside there.
    search: where the relative paths of the text are looked for, a SearchPath or a folder (of `read`
    and `of`: the working directory, then the text's folder). overrides: {class of a Python data
    layer: keys of its param_str to replace} (another folder, another split). blas: multiply
    matrices as Caffe does on the CPU (ops/blas.py); for its bits, give no passes. executor: makes
    what runs this net, from the net; the class's `executor_type` by default. writes: folders in
    which its layers may write files (HDF5Output), by default none; paths.ANYWHERE for Caffe's way.

    shapes: {value: shape}, those of the latest pass. made_for: those of the inputs as the text has
    them. params: {layer name: its ParamBlobs}, as
    pycaffe has it: of several layers of one name the last; layer_params: {Node.key: ParamBlobs},
    all of them.

    Raises FcnError, with file, line and layer, for everything that does not fit.
    """

    own_types: ClassVar[dict[str, Any]] = {}    # {type name: class} in place of the dialect's
    found = ''          # by what the dialect was found, in words, where none was named
    executor_type: ClassVar[Callable[[Net], Any]] = PlannedExecutor

    @collector_paused()
    def __init__(self, graph: Graph, seed: int = 0, passes: Iterable[Pass] = (),
                 search: SearchPath | str | PathLike = '.', overrides: dict | None = None,
                 blas: bool = False, executor: Callable[[Net], Any] | None = None,
                 writes: Iterable[str | PathLike] = ()):
        super().__init__()
        self.graph, self.passes = graph, tuple(passes)
        self.state = RunState(graph.phase, seed, 0, as_search_path(search), overrides or {},
                              as_folders(writes), ExecutionOptions(blas=blas))
        self.types = self.types_for(graph.dialect)
        self._check_fields()
        self.debug_info = graph.debug_info
        self._layers: dict[int, tuple[Layer, Node]] = {}        # by id of the node
        self.graph = graph = align_crops(graph, self.types, self.layer)
        self.shapes, self.declared = self.infer_shapes()
        with located(graph.file):
            check_memory(own_shapes(graph, self.declared),
                         [self.shapes[graph.first(name)] for name in graph.inputs])
            self.made_for = {graph.first(name): self.shapes[graph.first(name)]
                             for name in graph.inputs}
            self.layer_params: Params = make_params(graph, self.declared, seed)
            self.params = {name: blobs for (name, _), blobs in self.layer_params.items()}
            self._register_parameters()
            self.executor = (executor or type(self).executor_type)(self)

    @classmethod
    def read(cls, path: str | PathLike, phase: int | str, level: int = 0,
             stages: Sequence[str] = (), dialect: Dialect | str | None = None,
             define: Mapping[str, object] = MappingProxyType({}),
             weights: str | PathLike | None = None, **options) -> Net:
        """The net of a prototxt file, for a phase; dialect and define as for read_net, options as
        for Net. weights: the file that it will get, which tells the dialect where the text does
        not."""
        text = read_net(path, dialect, define, counter(weights))
        return cls.of(text, phase, level, stages, **options)

    @classmethod
    @collector_paused()
    def of(cls, text: NetText, phase: int | str, level: int = 0, stages: Sequence[str] = (),
           **options) -> Net:
        """The net of a NetText, for a phase; options as for Net."""
        types = cls.types_for(dialect_of(text.message))
        log_parameters(text, phase, level, stages)
        graph = build(text, phase, level, stages, auto_tops(types))
        net = cls(graph, **{'search': SearchPath.of(text.file), **options})
        net.found = text.found
        check_lookalikes(net, text)
        log_setup(net)
        return net

    @classmethod
    def types_for(cls, dialect: Dialect) -> dict[str, Any]:
        """{type name: class} of the layers of a net in a dialect."""
        return types_of(dialect) | cls.own_types

    # ---- layers and shapes -------------------------------------------------------------------

    def _check_fields(self):
        """Raise FcnError for a set field that its layer does not read, and for an unknown type."""
        with located(self.graph.file) as place:
            for node in self.graph.nodes:
                place.node = node
                if node.type not in self.types:
                    raise unknown_type(node, self.types)
                check_fields(node, self.types, self.graph.file)

    def has_replaced_types(self) -> bool:
        """Whether a node's type is one of BVLC's that the dialect replaces: passes, which know
        BVLC's meaning, then leave the net alone."""
        replaced = TYPES.keys() & self.graph.dialect.types.keys()
        return any(node.type in replaced for node in self.graph.nodes)

    def layer(self, node: Node) -> Layer:
        """The layer of a node of this net's graph, or of one that a pass made; made once."""
        made = self._layers.get(id(node))
        if made is None:
            made = self._layers[id(node)] = self.types[node.type](node, self.state), node
        return made[0]

    def infer_shapes(self, known: Mapping[int, Shape] | None = None) \
            -> tuple[dict[int, Shape], dict[tuple[str, int], list]]:
        """({value: shape}, {Node.key: [(shape, filler) of each parameter]}) from the shapes of the
        sources: those in `known`, else the layers' own."""
        shapes, declared = dict(known or {}), {}
        with located(self.graph.file) as place:
            for node in self.graph.nodes:
                place.node = node
                wanted = self._infer_shapes(node, shapes)
                if wanted:
                    declared[node.key] = wanted
        return shapes, declared

    def _infer_shapes(self, node, shapes):
        """Add the shapes of a node's tops to {value: shape}; its parameters, [(shape, filler)]."""
        layer, bottoms = self.layer(node), [shapes[v] for v in node.bottoms]
        wanted = layer.parameters(bottoms)
        if wanted:
            check_shapes([tuple(shape) for shape, _ in wanted], 'parameter {}'.format)
        if not all(map(shapes.__contains__, node.tops)):
            tops = [tuple(shape) for shape in layer.shape(bottoms)]
            check_shapes(tops, lambda i: f"top '{self.graph.values[node.tops[i]]}'")
            shapes.update(zip(node.tops, tops, strict=True))
        return wanted

    def check_layer(self, node: Node, bottoms: list[Shape]) -> None:
        """FcnError where a layer cannot take bottoms of these shapes, or its parameters no longer
        fit."""
        layer = self.layer(node)
        wanted = layer.parameters(bottoms)
        check_unchanged({node.key: self.declared.get(node.key, [])}, {node.key: wanted})
        layer.shape(bottoms)

    def reshape(self, fed: Mapping[int, Shape], whole: bool = False) -> None:
        """Infer all shapes anew where those of fed values, {value: shape}, have changed, or in any
        case (whole). FcnError where the parameters no longer fit."""
        if not whole and fed.items() <= self.shapes.items():
            return
        try:
            shapes, declared = self.infer_shapes(fed)
            with located(self.graph.file):
                check_unchanged(self.declared, declared)
        except FcnError as error:
            own = self.own_size(fed)
            raise (error.with_remedy(f'{error.do} T{own[1:]}.'.strip()) if own else error) from None
        self.shapes = shapes
        self.executor.reshaped()

    def own_size(self, fed: Mapping[int, Shape]) -> str:
        """In words the size of images that the text gives its inputs, where those fed, {value:
        shape}, have another: some nets take no other. '' else."""
        other = [self.made_for[v][2:] for v, shape in fed.items() if len(shape) == 4
                 and len(self.made_for.get(v, ())) == 4 and shape[2:] != self.made_for[v][2:]]
        return f"the net's text is made for images of {dims(other[0])} (height x width)" \
            if other else ''

    # ---- execution ---------------------------------------------------------------------------

    @property
    def options(self) -> ExecutionOptions:
        return self.state.options

    def place(self, options: ExecutionOptions) -> Net:
        """Move the parameters to a device and memory format, and compute with these options from
        now on. `placement.place` checks them first."""
        self.to(options.device)
        if options.channels_last:
            for parameter in self.parameters():
                if parameter.dim() == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self.state.options = options
        self.executor.placed()
        return self

    def run_as(self, whole: Mapping[tuple[str, int], Shape]) -> None:
        """Choose algorithms as for bottoms of these shapes, {Node.key: shape}, from now on: those
        of an image of which parts will be run (cost.bottoms_of_plan); {} for each one's own."""
        self.state.whole = dict(whole)

    def seek(self, position: int, seed: int | None = None) -> None:
        """Make the next forward pass number `position`, from 0, of a net of this seed (None: its
        own): data layers and Dropout are functions of both."""
        self.state.position = position
        if seed is not None:
            self.state.seed = seed

    def set_debug_info(self, enabled: bool) -> None:
        """Whether passes log Caffe's debug_info lines; no graph pass is applied meanwhile.
        Initially the prototxt's setting."""
        self.debug_info = enabled

    def forward(self, blobs: str | Collection[str] = (), stop_after: str | None = None,
                labels_of: str | None = None, **inputs) -> dict[str, torch.Tensor]:
        """Run once; returns {name: tensor} of the outputs and of `blobs`.

        blobs: name or names to keep as well, data and (after backward) diff, or 'all'.
        stop_after: the layer to stop at; its tops replace the outputs. labels_of: a blob of
        scores (N, C, H, W) to stop at; its label map (N, H, W) is the one output, graph.LABELS.
        inputs: data of Input layers, at any shape the net can take; else their blobs' data.
        `total_loss` is afterwards the sum of loss weight times top, 0-d, or None.
        """
        return self.executor.forward(blobs, stop_after, labels_of, inputs)

    def backward(self, **diffs) -> None:
        """Add the gradients of `total_loss`, or those that follow from the top diffs given by
        blob name, to the diffs of params and of the blobs that were asked for. Once after each
        forward pass: it frees the activations."""
        self.executor.backward(diffs)

    def forward_backward(self) -> tuple[dict[str, torch.Tensor], float]:
        """forward() and backward(), as two CUDA graphs where the net was placed on a GPU with them:
        ({name: output}, total loss). The diffs of params may then be overwritten by the next call;
        on a GPU the host waits for the forward pass alone."""
        trained = self.executor.train()
        if trained is not None:
            return trained
        outputs = self.forward()
        loss = None if self.total_loss is None else OnHost(self.total_loss)
        self.backward()
        return outputs, loss.item() if loss else 0.0

    def write(self, postponed: Iterable[tuple[int, tuple[str, int], tuple]]) -> None:
        """Write what forward passes postponed (RunState.postponed), in the order of positions."""
        nodes = {node.key: node for node in self.graph.nodes} if postponed else {}
        for _, key, values in sorted(postponed, key=lambda item: item[0]):
            params = [blob.data for owner in nodes[key].owners
                      for blob in self.layer_params[owner]]
            self.layer(nodes[key]).write(params, tuple(v.to(params[0].device) for v in values))

    def clear_param_diffs(self) -> None:
        """Set the diffs of all parameters to zero."""
        self.executor.clear_param_diffs()

    @property
    def blobs(self) -> dict[str, Any]:
        """{name: blob}, each with data, diff and shape."""
        return self.executor.blobs

    @property
    def total_loss(self) -> torch.Tensor | None:
        return self.executor.total_loss

    def set_input_arrays(self, data, labels) -> None:
        """Set the rows that the net's first layer, a MemoryData, gives batch by batch."""
        first = self.graph.nodes[0]
        if first.type != 'MemoryData':
            raise FcnError('the first layer takes no arrays', file=self.graph.file, type=first.type,
                           layer=first.name, do='Make it a MemoryData layer.')
        with located(self.graph.file):
            cast(Any, self.layer(first)).reset(data, labels)

    # ---- parameters --------------------------------------------------------------------------

    @property
    def learnable_params(self) -> list[ParamBlob]:
        """The parameter blobs that are not shared from another, in net order."""
        return [blob for blobs in self.layer_params.values() for blob in blobs
                if blob.owner is None]

    def params_of(self, node: Node, dtype: torch.dtype | None = None) -> list[torch.Tensor]:
        """The parameter tensors that a node's layer takes, in a 16-bit type if one is given."""
        return [blob.tensor if dtype is None else blob.cast(dtype)
                for owner in node.owners for blob in self.layer_params.get(owner, ())]

    def learns(self, node: Node) -> bool:
        """Whether a parameter of a node's layer gets a gradient."""
        return any(blob.parameter.requires_grad
                   for owner in node.owners for blob in self.layer_params.get(owner, ()))

    def copy_from(self, source: str | PathLike | weights.Weights,
                  in_order: bool = False) -> list[weights.LayerCopy]:
        """Copy weights by layer name from a caffemodel, an HDF5 file or Weights. Returns what
        happened to each layer (weights.format_rows makes a table of it). in_order: layers of one
        name get the file's in turn, as for a file that this net wrote; else as in Caffe."""
        if not isinstance(source, weights.Weights):
            source = weights.read_weights(source, self.graph.dialect)
        layers = [weights.LayerBlobs(node.name, [blob.data for blob in
                                                 self.layer_params.get(node.key, ())], node.type)
                  for node in self.graph.nodes]
        with torch.no_grad():
            report = weights.copy_weights(layers, source, in_order)
        log_ignored(self, source)
        return report

    def share_with(self, other: Net) -> None:
        """Use the data of `other`'s parameters from now on, for the layers that both have; diffs
        stay each net's own (Net::ShareTrainedLayersWith). Moving one of the nets to another device
        or memory format ends the sharing.

        Of several layers of one name here the first gets those of the last there, as in Caffe; a
        warning names them. FcnError for another number of parameters or another shape."""
        with located(self.graph.file):
            share_data(self.graph, self.layer_params, other.graph, other.layer_params)
        self._register_parameters()
        for name in self.repeated_names():
            if name in other.params:
                log.warning("%s: several layers are named '%s', and only the first shares its "
                            'weights, as in Caffe', self.graph.file, name)

    def _register_parameters(self):
        for i, blob in enumerate(self.learnable_params):
            self.register_parameter(f'p{i}', blob.parameter)

    def repeated_names(self) -> list[str]:
        """Names of layers that several layers with parameters have."""
        counts = Counter(name for name, _ in self.layer_params)
        return [name for name, count in counts.items() if count > 1]

    def save(self, path: str | PathLike, extra: dict | None = None) -> None:
        """Write a binary caffemodel, whole or not at all: each layer with all its parameters.
        extra: {name: value} for a further field that Caffe ignores."""
        layers = [(layer_of(node, self.graph, self.layer(node).loss),
                   [blob.data for blob in self.layer_params.get(node.key, ())])
                  for node in self.graph.nodes]
        write_caffemodel(path, self.graph.name, layers, extra)

    def check_saves_hdf5(self) -> None:
        """FcnError for a net with parameters in several layers of one name: HDF5 has one group a
        name, and Caffe fails there too."""
        for name in self.repeated_names():
            raise FcnError('several layers of this name have parameters, and HDF5 has one group a '
                           'name', file=self.graph.file, layer=name,
                           do='Rename all but one, or write a binary caffemodel '
                              '(snapshot_format: BINARYPROTO).')

    def save_hdf5(self, path: str | PathLike, extra: dict | None = None) -> None:
        """Write the parameters in Caffe's HDF5 layout: a shared one under its owner alone.
        extra: {name: value} for a further group that Caffe ignores; the layers that normalise by
        the statistics of their batch in TEST too are named there, as the format holds no messages.
        FcnError as check_saves_hdf5 says."""
        self.check_saves_hdf5()
        named = '\n'.join(node.name for node in self.graph.nodes
                          if self.layer(node).batch_statistics)
        if named:
            extra = {**(extra or {}), weights.BATCH_STATISTICS: named}
        owned: dict[str, list] = {node.name: [] for node in self.graph.nodes}
        for (name, _), blobs in self.layer_params.items():
            owned[name] = [blob.data if blob.owner is None else None for blob in blobs]
        weights.write_hdf5(path, owned, extra)
