"""A net that runs layer by layer over memory that anyone may write into between any two layers.

Caffe's ForwardFromTo and BackwardFromTo: each layer reads its bottoms' data from their blobs and
leaves its tops' there; backward reads the tops' diffs, leaves those of the bottoms, and adds to
those of the parameters. The layers, shapes and parameters are those of fcn_repro.net.
"""

import copy
from typing import ClassVar

import torch

from ..errors import located
from ..net.debug_info import backward_flags, say_all_params, say_backward, say_forward
from ..net.graph import AUTOMATIC
from ..net.net import Net
from ..net.placement import pick_device, place
from . import mode
from .arrays import Memory, settle
from .blob import diff_of
from .userlayer import Chosen, UserPython


class Layerwise(Net):
    """Made of a Net by `over`, or of a text. `memory[v]` is the Memory of value v: one for each
    blob name. Python layers may be users' own."""

    own_types: ClassVar[dict] = {'Python': Chosen}

    @classmethod
    def of(cls, text, phase, level=0, stages=(), **options):
        """As Net.of, on the device of the mode."""
        net = super().of(text, phase, level, stages, **options)
        return cls.over(place(net, pick_device(mode.device()), channels_last=False,
                              prepack=False, graphs=False))       # arrays write behind torch's back

    @classmethod
    def over(cls, net):
        """A net with the graph, layers and parameters of `net`, in its state."""
        mine = copy.copy(net)
        mine.__class__ = cls
        mine.device = next(net.parameters(), torch.zeros(())).device
        mine.records, mine.memory = {}, mine.make_memory()
        mine.needed = mine.find_needed()
        mine.constants = mine.fill_constants()
        mine.callbacks = {'before_forward': [], 'after_forward': [],
                          'before_backward': [], 'after_backward': []}
        mine.connect()
        return mine

    # ---- before anything runs ----------------------------------------------------------------

    def make_memory(self):
        """One Memory for each blob name; a Split's tops have their bottom's data, unless the blob
        is written again after the Split."""
        memory, homes = {}, {}
        for node in self.graph.nodes:
            for v, weight in zip(node.tops, self.layer(node).loss_weights(), strict=True):
                name, source = self.graph.values[v], None
                if self.layer(node).shares_data and \
                        self.graph.last(self.graph.values[node.bottoms[0]]) == node.bottoms[0]:
                    source = memory[node.bottoms[0]]
                new = Memory(self.device, source, weight)
                memory[v] = new if name == AUTOMATIC else homes.setdefault(name, new)
                memory[v].reshape(self.shapes[v])
        return memory

    def connect(self):
        """Let users' layers work on this net's blobs."""
        for node in self.graph.nodes:
            if isinstance(self.layer(node), UserPython):
                self.layer(node).connect([self.memory[v] for v in node.bottoms],
                                         [self.memory[v] for v in node.tops],
                                         self.params.get(node.name, []))

    def find_needed(self):
        """The values that get a diff in backward: those above a parameter that is learned, all
        of them with force_backward, and what propagate_down asks for."""
        needed = set(range(len(self.graph.values))) if self.graph.force_backward else set()
        for node in self.graph.nodes:
            learned = any(p.requires_grad for p in self.params_of(node))
            if learned or any(self.wanted(node, needed)):
                needed.update(node.tops)
        return needed

    def wanted(self, node, needed):
        """For each bottom of a node: does its diff come from this node?"""
        down = list(node.param.propagate_down) or [v in needed for v in node.bottoms]
        return [bool(wanted) for wanted in down]

    def fill_constants(self):
        """Fill the tops that are constant (DummyData) once: a caller may write there."""
        found = set()
        for node in self.graph.nodes:
            for i, top in self.layer(node).constant_tops().items():
                self.memory[node.tops[i]].data.copy_(top)
                found.add(node.tops[i])
        return found

    # ---- running -----------------------------------------------------------------------------

    def run(self, first, last):
        """Forward through the layers first to last, both included; their loss, a float."""
        settle()
        nodes, loss = self.graph.nodes, 0.0
        tops = {i: self.tops(i) for i in range(first, last + 1) if not nodes[i].bottoms}
        self.adapt(tops)
        for i in range(first, last + 1):
            made = tops[i] if i in tops else self.tops(i)
            self.write(nodes[i], made)
            if self.debug_info:
                say_forward(self, nodes[i], [self.memory[v].data for v in nodes[i].tops])
            for top, weight in zip(made, self.layer(nodes[i]).loss_weights(), strict=True):
                loss += weight * float(top.detach().sum()) if weight else 0.0
            self.call('after_forward', i)
        self.state.position += first == 0       # a pass from within takes no new sample
        return loss

    def call(self, when, i):
        """Call the user's functions of this place with the layer's number."""
        for function in self.callbacks[when]:
            function(i)
            settle()

    def tops(self, i):
        """The top tensors of layer i, from what its bottoms' memory holds. What backward needs is
        kept, but where a second run of the layer gives it just as well."""
        self.call('before_forward', i)
        node = self.graph.nodes[i]
        if node.type == 'Input':
            return [self.memory[v].data for v in node.tops]
        layer, in_place = self.layer(node), self.in_place(node)
        if isinstance(layer, UserPython):
            return layer.run()
        keep = layer.train or in_place or layer.stateful
        self.records.pop(i, None)
        with located(self.graph.file), torch.set_grad_enabled(keep):
            record = self.compute(node, layer, in_place)
        if keep:
            self.records[i] = record
        return record[2]

    def compute(self, node, layer, in_place):
        """(bottoms, parameters, tops) of one layer: leaves of autograd, and what follows."""
        bottoms = []
        for v, wanted in zip(node.bottoms, self.wanted(node, self.needed), strict=True):
            data = self.memory[v].data.data
            bottoms.append((data.clone() if in_place else data).requires_grad_(wanted))
        params = [p.data.requires_grad_(p.requires_grad) for p in self.params_of(node)]
        return bottoms, params, layer.forward(bottoms, params)

    def in_place(self, node):
        """Does the layer write over one of its bottoms?"""
        return any(self.memory[v] is self.memory[w] for v in node.bottoms for w in node.tops)

    def adapt(self, tops):
        """Infer the shapes anew where sources changed theirs; what no longer fits is an error."""
        shapes = {v: tuple(top.shape) for i, made in tops.items()
                  for v, top in zip(self.graph.nodes[i].tops, made, strict=True)}
        fed = {v: shapes.get(v, self.memory[v].shape) for node in self.graph.nodes
               if not node.bottoms for v in node.tops}
        if not fed.items() <= self.shapes.items():
            self.resize(fed)

    def resize(self, fed):
        """Give every blob the shape that follows from the sources' shapes."""
        self.reshape(fed)
        for v, shape in self.shapes.items():
            self.memory[v].reshape(shape)

    @torch.no_grad()
    def write(self, node, tops):
        """Leave a layer's tops in their memory."""
        for v, top in zip(node.tops, tops, strict=True):
            memory, top = self.memory[v], top.detach()
            if v in self.constants:
                continue
            memory.reshape(tuple(top.shape))
            if top.data_ptr() != memory.data.data_ptr():
                memory.data.copy_(top)

    def run_back(self, first, last):
        """Backward through the layers first down to last, both included, from their tops' diffs."""
        settle()
        flags = backward_flags(self) if self.debug_info else {}
        for i in range(first, last - 1, -1):
            self.call('before_backward', i)
            node, layer = self.graph.nodes[i], self.layer(self.graph.nodes[i])
            if not isinstance(layer, UserPython):
                self.layer_back(i, node, layer)
            elif self.needed.intersection(node.tops):
                layer.run_back(self.wanted(node, self.needed))
            if flags.get(id(node)) is not None:
                diffs = {v: self.memory[v].diff for v, wanted in zip(
                    node.bottoms, flags[id(node)], strict=True) if wanted}
                say_backward(self, node, diffs, [b.diff for b in self.params.get(node.name, ())])
            self.call('after_backward', i)

    def layer_back(self, i, node, layer):
        """Backward through one layer of the engine."""
        if node.type == 'Input':
            return
        with located(self.graph.file), torch.enable_grad():
            bottoms, params, tops = self.records.get(i) or self.compute(node, layer, False)
        starts = [(top, self.memory[v].diff.reshape(top.shape))
                  for v, top in zip(node.tops, tops) if top.requires_grad]
        leaves = [x for x in (*bottoms, *params) if x.requires_grad]
        if starts and leaves:
            tops, diffs = zip(*starts)
            grads = torch.autograd.grad(tops, leaves, diffs, retain_graph=True, allow_unused=True)
            self.leave(node, bottoms, params, dict(zip(map(id, leaves), grads, strict=True)))

    @torch.no_grad()
    def leave(self, node, bottoms, params, grads):
        """Put gradients, {id of a leaf: gradient}, where they belong."""
        for v, bottom in zip(node.bottoms, bottoms, strict=True):
            if grads.get(id(bottom)) is not None:
                self.memory[v].diff.copy_(grads[id(bottom)])
        blobs = [blob for owner in node.owners for blob in self.params.get(owner, ())]
        for blob, param in zip(blobs, params, strict=True):
            if grads.get(id(param)) is not None:
                diff_of(blob.parameter).add_(grads[id(param)].reshape(blob.parameter.shape))

    # ---- what a Solver calls -----------------------------------------------------------------

    def forward(self, blobs=(), stop_after=None):
        """As Net.forward, on what the inputs' memory holds."""
        last = len(self.graph.upto(stop_after)) if stop_after else len(self.graph.nodes)
        self.total_loss = torch.tensor(self.run(0, last - 1))
        return {name: self.memory[self.graph.last(name)].data
                for name in (*self.graph.outputs, *blobs)}

    def backward(self):
        """As Net.backward, from the tops' diffs as they are: of a loss, its weight."""
        self.run_back(len(self.graph.nodes) - 1, 0)
        if self.debug_info:
            say_all_params(self)

    def clear_param_diffs(self):
        """Zeros in all parameters' diffs; arrays of them stay theirs."""
        settle()
        for parameter in self.parameters():
            if parameter.grad is not None:
                parameter.grad.zero_()

