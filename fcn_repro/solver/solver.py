"""Solver: Caffe's solvers from a solver.prototxt, with snapshots that a run can go on from.

One iteration, in Caffe's order: iter_size forward and backward passes that add up their
gradients, clipping, division by iter_size, weight decay, update (rules.py).
"""

import logging
import math
from collections import deque
from pathlib import Path

import torch

from ..errors import FcnError
from ..net.net import Net
from ..net.placement import check_precision, place
from ..passes import DEFAULT
from ..proto import BVLC
from ..proto.dialects import added_fields
from ..proto.prototxt import read_solver
from . import snapshots
from .nets import beside, test_nets, test_sources, train_net
from .rates import check_policy, current_step, learning_rate
from .rules import RULES, check_rule
from .update import fused_update, update_ref

log = logging.getLogger(__name__)

# Fields of SolverParameter that are not obeyed here; a solver that sets one is refused by name.
# (layer_wise_reduce may be set: it is about several GPUs, and changes nothing on one device.)
UNSUPPORTED = ('snapshot_diff',)
NETS = 'net_param', 'train_net_param', 'test_net_param'     # fields that hold a net
COUNTS = 'iter_size', 'average_loss'        # fields that count from 1
SHOWN = 100                                 # values of an output in the log


class Solver:
    """path: a solver.prototxt. Its nets' paths start at its folder, or else where we are.

    prefix: replaces snapshot_prefix. seed: replaces random_seed (0 where neither is given, so that
    every run can be repeated). overrides: for the nets' data layers, as in Net. keep: how many
    snapshots of the run stay, the newest ones (None: all). provenance: {name: number or text} that
    the snapshots say of themselves; one of another provenance['data'] is not restored. rule:
    replaces type. net_class: Net, or a subclass. idle_test_nets: make the test nets even where no
    iteration tests. workers: threads that read data ahead, as for place. precision: as for place,
    but for fp16. placed: {option of place: value} besides, without prepack and graphs. dialect: of
    caffe.proto, for the solver and its nets.
    """

    default_format = 'HDF5'     # of snapshots, where the file names none

    fused = True        # update in one pass (update.py); False: by the rules, to the same bits

    def __init__(self, path, *, prefix=None, seed=None, device='cpu', placed=None,
                 overrides=None, passes=DEFAULT, max_iter=None, keep=None, provenance=None,
                 rule=None, net_class=Net, idle_test_nets=False, workers=None, precision='fp32',
                 dialect=BVLC):
        self.text = read_solver(path, dialect)
        self.param = p = self.text.message
        p.type = rule or p.type
        if not p.HasField('snapshot_format'):
            p.snapshot_format = self.default_format
        self._check()
        check_precision(precision, torch.device(device), train=True)
        if max_iter is not None:
            p.max_iter = max_iter
        self.prefix = Path(prefix or p.snapshot_prefix)
        self.seed = seed if seed is not None else max(int(p.random_seed), 0)
        options = {'seed': self.seed, 'passes': passes, 'overrides': overrides}
        self.keep, self.provenance = keep, dict(provenance or {})
        snapshots.check_options(self)

        def make(text):
            state = text.message.state
            net = net_class.of(text, state.phase, state.level, **options)
            return place(net, device, workers=workers, precision=precision,
                         **{**(placed or {}), 'prepack': False, 'graphs': False})
        text, sources = train_net(self.text), test_sources(self.text)
        self.net, self.net_text = make(text), snapshots.net_text(text)
        used = sources and (idle_test_nets or self._ever_tests())
        self.test_nets = [make(text) for text in test_nets(self.text)] if used else []
        self.history = [torch.zeros_like(blob.parameter) for _ in range(RULES[p.type].histories)
                        for blob in self.net.learnable_params]      # Caffe's order
        self.iter, self.current_step, self.stop = 0, 0, False
        self.losses, self.smoothed_loss, self.rate = deque(maxlen=p.average_loss), 0.0, 0.0
        for file in p.weights:
            for name in file.split(','):
                for net in (self.net, *(net for net in self.test_nets if net.params)):
                    net.copy_from(beside(self.text.file, name.strip()))
        for net in self.test_nets:
            net.share_with(self.net)
            net.debug_info = p.debug_info

    # ---- reading the solver --------------------------------------------------------------------

    def _check(self):
        p = self.param
        try:
            for name in UNSUPPORTED:
                if getattr(p, name):
                    raise FcnError(f'{name} is not supported', line=self.text.lines.get(name),
                                   do='Remove it.')
            for path in added_fields(p):
                field, _, inner = path.partition('.')
                if not (inner and field in NETS):       # a net's own fields are the net's affair
                    raise FcnError(f"'{path}' is set, but no solver reads it", do='Remove it.',
                                   line=self.text.lines.get(field))
            for name in COUNTS:
                if getattr(p, name) < 1:
                    raise FcnError(f'{name} is {getattr(p, name)}', do='Give 1 or more.',
                                   line=self.text.lines.get(name))
            check_rule(p, self.text.lines)
            check_policy(p)
            if p.regularization_type not in ('L1', 'L2'):
                raise FcnError(f"regularization_type '{p.regularization_type}'",
                               do='Use "L1" or "L2".')
        except FcnError as error:
            raise error.at(file=self.text.file) from None

    def _ever_tests(self):
        """Whether an iteration tests: the release's solvers name a test net and never use it."""
        p = self.param
        return 0 < p.test_interval <= p.max_iter or (p.test_interval and p.test_initialization)

    # ---- iterations ----------------------------------------------------------------------------

    def run(self, until=None):
        """Iterate up to `until` (max_iter), snapshots included; yields after each iteration.

        Ends early, with a snapshot, when `stop` is set. FcnError when the loss is no number, and at
        once where the disk has no room for a snapshot.
        """
        snapshots.prepare(self)
        until = self.param.max_iter if until is None else until
        first, every = self.iter, self.param.snapshot
        log.info('Solving %s', self.net.graph.name)
        log.info('Learning Rate Policy: %s', self.param.lr_policy)
        while self.iter < until and not self.stop:
            self.iterate()
            if every and self.iter % every == 0 and self.iter < until:
                self.snapshot()
            yield self
        if self.iter > first and (self.param.snapshot_after_train or self.stop or
                                  (every and self.iter % every == 0)):
            self.snapshot()
        if self.iter == self.param.max_iter and not self.stop:
            self._last_look()

    @torch.no_grad()
    def _last_look(self):
        """As Caffe ends a run: the loss of one more forward pass, and a test, where it is time.
        The state stays as the snapshot has it."""
        p = self.param
        if p.display and self.iter % p.display == 0:
            self.net.forward()
            self.net.state.position -= 1
            losses = deque(self.losses, self.losses.maxlen)
            losses.append(0.0 if self.net.total_loss is None else self.net.total_loss.item())
            log.info('Iteration %d, loss = %.6g', self.iter, sum(losses) / len(losses))
        if self.test_nets and self.iter % p.test_interval == 0:
            self.test()

    def step(self, count):
        """pycaffe's step: `count` iterations, the loss window started anew."""
        self.losses.clear()
        for _ in range(count):
            self.iterate()

    def iterate(self):
        """One iteration; afterwards `loss`, `smoothed_loss`, `rate` are those of this one."""
        p = self.param
        self.net.clear_param_diffs()
        if self.test_nets and self.iter % p.test_interval == 0 and (
                self.iter or p.test_initialization):
            self.test()
        display = p.display and self.iter % p.display == 0
        self.net.debug_info = bool(display and p.debug_info)
        loss, outputs = 0.0, {}
        for _ in range(p.iter_size):
            outputs = self.net.forward()
            self.net.backward()
            loss += 0.0 if self.net.total_loss is None else self.net.total_loss.item()
        self.loss = loss / p.iter_size
        if not math.isfinite(self.loss):
            raise FcnError(f'the loss became {self.loss} at iteration {self.iter}',
                           file=self.text.file, do=self.remedy())
        self.losses.append(self.loss)
        self.smoothed_loss = sum(self.losses) / len(self.losses)
        self.current_step = current_step(p, self.iter, self.current_step)
        self.rate = float(learning_rate(p, self.iter, self.current_step))
        if display:
            self._display(outputs)
        self.update()
        self.iter += 1

    def remedy(self):
        """What to do about a loss or weights that are no numbers."""
        return (f'Lower base_lr ({self.param.base_lr:g}; --restore with another needs --force), '
                'or check the data and the weights; the latest snapshot is untouched.')

    def update(self):
        """Clip, divide by iter_size, add weight decay, and subtract what the solver's rule says
        (rates in float32). One pass over the parameters, or with `fused` False the rules."""
        run = fused_update if self.fused else update_ref
        run(self.param, self.net.learnable_params, self.history, self.rate, self.iter + 1,
            self._clip_factor() / self.param.iter_size)

    def _clip_factor(self):
        limit = self.param.clip_gradients
        if limit < 0:
            return 1.0
        norm = math.sqrt(sum(float(blob.diff.square().sum()) for blob in
                             self.net.learnable_params))
        return limit / norm if norm > limit else 1.0

    def _display(self, outputs):
        """The lines that parsers of Caffe's logs look for."""
        log.info('Iteration %d, loss = %.6g', self.iter, self.smoothed_loss)
        say_outputs('Train', self.net, {name: shown(top) for name, top in outputs.items()})
        log.info('Iteration %d, lr = %.6g', self.iter, self.rate)

    @torch.no_grad()
    def test(self):
        """Average the outputs of each test net over its test_iter passes;
        [{name: its first values}]. FcnError for an output whose size changes meanwhile."""
        results = []
        for i, (net, count) in enumerate(zip(self.test_nets, self.param.test_iter)):
            log.info('Iteration %d, Testing net (#%d)', self.iter, i)
            sums, loss = {}, 0.0
            for _ in range(count):
                for name, top in net.forward().items():
                    values = shown(top)
                    if name in sums and len(values) != len(sums[name]):
                        raise FcnError(f"output '{name}' has {len(values)} values, and had "
                                       f'{len(sums[name])} in a pass before: no average',
                                       file=net.graph.file, do='Give it to a Silence layer.')
                    sums[name] = sums.get(name, 0) + values
                loss += 0.0 if net.total_loss is None else net.total_loss.item()
            if self.param.test_compute_loss and count:
                log.info('Test loss: %.6g', loss / count)
            results.append({name: values / count for name, values in sums.items()})
            say_outputs('Test', net, results[-1])
        return results

    # ---- snapshots -----------------------------------------------------------------------------

    def snapshot(self):
        """Write PREFIX_iter_N.caffemodel.h5 and .solverstate.h5, both without .h5 where
        snapshot_format is BINARYPROTO; returns the paths. FcnError as snapshots.write says."""
        return snapshots.write(self)

    def restore(self, path, force=False):
        """Go on from a .solverstate.h5 or a .solverstate; see snapshots.restore. After an FcnError
        the solver is as it was."""
        return snapshots.restore(self, path, force)


def shown(top):
    """The first values of an output, on the host."""
    return top.detach().flatten()[:SHOWN].float().cpu()


def say_outputs(kind, net, outputs):
    """A log line for each value of a net's outputs, {name: values}, with what it adds to the
    loss."""
    weights = {net.graph.values[v]: weight for node in net.graph.nodes
               for v, weight in zip(node.tops, net.layer(node).loss_weights())}
    lines = [(name, value) for name, values in outputs.items() for value in values.tolist()]
    for i, (name, value) in enumerate(lines):
        weight = weights[name]
        counts = f' (* {weight:.6g} = {weight * value:.6g} loss)' if weight else ''
        log.info('    %s net output #%d: %s = %.6g%s', kind, i, name, value, counts)
