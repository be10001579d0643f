"""Solver: Caffe's solvers from a solver.prototxt, with snapshots from which a run can resume.

One iteration, in Caffe's order: iter_size forward and backward passes that add up their
gradients, clipping, division by iter_size, weight decay, update (rules.py).
"""

import logging
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from .. import glog
from ..distributed import ALONE, Processes
from ..errors import FcnError, located
from ..formats.weights import assign
from ..net.cost import room
from ..net.net import Net, Pass
from ..net.placement import check_precision, place
from ..passes import DEFAULT
from ..paths import as_folders
from ..proto.dialects import Dialect, added_fields
from ..proto.prototxt import SolverText, read_solver
from ..search import SearchPath
from ..sizes import check_room
from . import snapshots
from .iteration import Iteration, test_passes, total_loss
from .nets import test_nets, test_sources, train_net
from .rates import check_policy, current_step, learning_rate
from .rules import RULES, check_rule
from .update import fused_update, update_ref

log = logging.getLogger(__name__)

# Fields of SolverParameter that are not obeyed here; a solver that sets one is refused by name.
# (layer_wise_reduce may be set: it is about several GPUs, and changes nothing on one device.)
UNSUPPORTED = ('snapshot_diff',)
NETS = 'net_param', 'train_net_param', 'test_net_param'     # fields that hold a net
COUNTS = 'iter_size', 'average_loss'        # fields that count from 1


class Solver:
    """Caffe's solver of a solver.prototxt: the train net, its test nets, and the update.

    path: the solver file, or its SolverText. search: SearchPath.of or SearchPath.beside, which
    makes of a text's file where its relative paths are looked for; for the solver and for its nets.
    prefix: replaces snapshot_prefix, which must otherwise lie in the working directory, in the
    solver's folder or in `writes`. writes: folders in which layers may write too, as in Net. seed:
    replaces random_seed (0 where neither is given, so that every run can be repeated). overrides:
    for the nets' data layers, as in Net. test_overrides: for the test nets' instead. passes: as in
    Net; by default passes.DEFAULT, and none with blas. keep: how many snapshots of the run are
    kept, the newest ones (None: all). provenance: {name: number or text} to store in the snapshots;
    one of another provenance['data'] is not restored. rule: replaces type. net_class: Net, or a
    subclass. idle_test_nets: make the test nets even where no iteration tests. workers: threads
    that read data ahead, as for place. precision: as for place, except fp16. placed: {further
    option of place: value}, without prepack; graphs for the train net alone. blas: multiply
    matrices as Caffe does on the CPU, as in Net. fused: update all parameters in one pass
    (update.py); False: by the rules, with the same bits. dialect, define: as for read_net, for the
    solver and its nets.
    processes: those that compute this run together (distributed.joined), each with a solver of its
    own; then iter_size counts the passes of each, as in Caffe on several GPUs, unless
    iter_size_in_all gives those of an iteration over all processes. N processes at iter_size 1 give
    the weights, losses and snapshots of one at iter_size N (iteration.py). The first process
    writes the snapshots.
    when_full: called with the error (code 'no-room') of a snapshot that a full disk prevents, and
    returns when it is to be tried again; None: the error is raised.
    """

    default_format = 'HDF5'     # of snapshots, where the file names none

    def __init__(self, path: str | PathLike | SolverText, *,
                 search: Callable[[str | PathLike], SearchPath] = SearchPath.of,
                 prefix: str | PathLike | None = None, seed: int | None = None,
                 device: str | torch.device = 'cpu', placed: dict[str, Any] | None = None,
                 overrides: dict | None = None, test_overrides: dict | None = None,
                 passes: Iterable[Pass] | None = None, max_iter: int | None = None,
                 keep: int | None = None, provenance: dict[str, Any] | None = None,
                 rule: str | None = None, net_class: type[Net] = Net,
                 idle_test_nets: bool = False, workers: int | None = None,
                 precision: str = 'fp32', blas: bool = False, fused: bool = True,
                 dialect: Dialect | str | None = None,
                 define: Mapping[str, object] = MappingProxyType({}),
                 writes: Iterable[str | PathLike] = (),
                 processes: Processes = ALONE, iter_size_in_all: int | None = None,
                 when_full: Callable[[FcnError], None] | None = None):
        text = path if isinstance(path, SolverText) else read_solver(path, dialect, define)
        own = type(text.message)()
        own.CopyFrom(text.message)
        self.text = replace(text, message=own)          # a caller's own stays as it is
        self.param = p = self.text.message
        p.type = rule or p.type
        if not p.HasField('snapshot_format'):
            p.snapshot_format = self.default_format
        self.processes = processes
        in_all = iter_size_in_all or p.iter_size * processes.size
        if in_all != p.iter_size:           # the field stays unset where it was
            p.iter_size = in_all
        self._check()
        check_precision(precision, torch.device(device), train=True)
        if max_iter is not None:
            p.max_iter = max_iter
        self.prefix, self.prefix_given = Path(prefix or p.snapshot_prefix), bool(prefix)
        self.writes = as_folders(writes)
        self.seed = seed if seed is not None else max(int(p.random_seed), 0)
        self.keep, self.provenance, self.fused = keep, dict(provenance or {}), fused
        self.when_full = when_full
        snapshots.check_options(self.keep, self.provenance)
        if passes is None:
            passes = () if blas else DEFAULT
        options = {'seed': self.seed, 'passes': tuple(passes), 'blas': blas, 'writes': self.writes}

        def make(text, overrides, **more):
            state = text.message.state
            net = net_class.of(text, state.phase, state.level, search=search(text.file),
                               overrides=overrides, **options)
            return place(net, device, workers=workers, precision=precision,
                         **{**(placed or {}), 'prepack': False, **more})
        self.search = search(self.text.file)
        glog.CAFFE.info('Initializing solver from parameters:\n%s', p,
                        extra=glog.at('solver.cpp', 45))
        train_text, sources = train_net(self.text, self.search), test_sources(self.text)
        self.net, self.net_text = make(train_text, overrides), snapshots.net_text(train_text)
        used = sources and (idle_test_nets or self._ever_tests())
        if test_overrides is None:
            test_overrides = overrides
        self.test_nets = [make(text, test_overrides, graphs=False)
                          for text in test_nets(self.text, self.search)] if used else []
        learned = [blob.parameter.nbytes for blob in self.net.learnable_params
                   if blob.parameter.requires_grad]
        with located(self.text.file):
            check_room(sum(learned) * (2 + RULES[p.type].histories), 'the parameters that learn, '
                       f'their gradients and the histories of {p.type} take',
                       room(self.net.options))
        self.history = [torch.zeros_like(blob.parameter) for _ in range(RULES[p.type].histories)
                        for blob in self.net.learnable_params]      # Caffe's order
        self.iter, self.current_step = 0, 0
        self.iteration = Iteration(self.net, p.iter_size, processes)
        self.speed = glog.Speed()
        self.losses: deque[float] = deque(maxlen=p.average_loss)
        self.pass_losses: list[float] = []      # of the latest iteration, in the order of passes
        self.loss, self.smoothed_loss, self.rate = 0.0, 0.0, 0.0
        self._load_weights()
        for net in self.test_nets:
            net.share_with(self.net)
            net.set_debug_info(p.debug_info)
        glog.CAFFE.info('Solver scaffolding done.', extra=glog.at('solver.cpp', 57))

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

    def _load_weights(self):
        """Copy the files of the field `weights` into the train net and the test nets."""
        nets = [self.net, *(net for net in self.test_nets if net.params)]
        for names in self.param.weights:
            for name in names.split(','):
                for net in nets:
                    glog.CAFFE.info('Finetuning from %s', name.strip(),
                                    extra=glog.at('solver.cpp', 72))
                    net.copy_from(self.search.find(name.strip(), 'file', 'weights'))

    def _ever_tests(self):
        """Whether an iteration tests: the release's solvers name a test net and never use it."""
        p = self.param
        return 0 < p.test_interval <= p.max_iter or (p.test_interval and p.test_initialization)

    # ---- iterations ----------------------------------------------------------------------------

    def run(self, until: int | None = None) -> Iterator['Solver']:
        """Iterate up to `until` (max_iter), snapshots included; yields after each iteration, before
        its snapshot: what a caller writes of an iteration is there when the run resumes after it.

        Ends early, with a snapshot, after request_stop(). FcnError when the loss is not finite, and
        before the first iteration for what snapshots.prepare finds.
        """
        if self.processes.first:
            snapshots.prepare(self)
        texts = snapshots.texts(self)
        self.iteration.check_equal((self.iter, self.net.state.position, self.seed,
                                    texts['train net'], texts['solver']))
        until = self.param.max_iter if until is None else until
        first, every = self.iter, self.param.snapshot
        self.speed = glog.Speed(self.iter)
        log.info('Solving %s', self.net.graph.name, extra=glog.at('solver.cpp', 289))
        log.info('Learning Rate Policy: %s', self.param.lr_policy,
                 extra=glog.at('solver.cpp', 290))
        while self.iter < until and not self.stop_requested:
            self.iterate()
            yield self
            if every and self.iter % every == 0 and self.iter < until:
                self.snapshot()
        if self.iter > first and (self.param.snapshot_after_train or self.stop_requested or
                                  (every and self.iter % every == 0)):
            self.snapshot()
        if self.iter == self.param.max_iter and not self.stop_requested:
            self._final_report()
            glog.CAFFE.info('Optimization Done.', extra=glog.at('solver.cpp', 332))

    def request_stop(self) -> None:
        """Have run() end after the current iteration, with a snapshot; safe in a signal handler. Of
        several processes all end after the iteration in which one of them was asked to."""
        self.iteration.stop = True

    @property
    def stop_requested(self) -> bool:
        """Whether run() ends, or ended, because it was asked to."""
        return self.iteration.stopping

    @torch.no_grad()
    def _final_report(self):
        """Log, as Caffe does at the end of a run, the loss of one more forward pass, and test, if
        the iteration is one to display or test. The state stays that of the snapshot."""
        p = self.param
        if p.display and self.iter % p.display == 0:
            position = self.net.state.position
            self.net.forward()
            self.net.seek(position)
            self.iteration.write_own()
            losses = deque(self.losses, self.losses.maxlen)
            losses.append(total_loss(self.net))
            log.info('Iteration %d, loss = %.6g', self.iter, sum(losses) / len(losses),
                     extra=glog.at('solver.cpp', 327))
        if self.test_nets and self.iter % p.test_interval == 0:
            self.test()

    def step(self, count: int) -> None:
        """Run `count` iterations with a new loss window, as pycaffe's step."""
        self.losses.clear()
        for _ in range(count):
            self.iterate()

    def iterate(self) -> None:
        """Run one iteration; `loss`, `smoothed_loss` and `rate` are then those of this one."""
        p = self.param
        self.net.clear_param_diffs()
        if self.test_nets and self.iter % p.test_interval == 0 and (
                self.iter or p.test_initialization):
            self.test()
        display = bool(p.display) and self.iter % p.display == 0
        self.net.set_debug_info(display and p.debug_info)
        losses, outputs = self.iteration.run(self.net.learnable_params, display)
        self.pass_losses, self.loss = losses, sum(losses) / p.iter_size
        if not math.isfinite(self.loss):
            raise snapshots.diverged(self, f'the loss became {self.loss} at iteration {self.iter}')
        self.losses.append(self.loss)
        self.smoothed_loss = sum(self.losses) / len(self.losses)
        self.current_step = current_step(p, self.iter, self.current_step)
        self.rate = float(learning_rate(p, self.iter, self.current_step))
        if display:
            self._display(outputs)
        self.update()
        self.iter += 1

    def update(self) -> None:
        """Clip, divide by iter_size, add weight decay, and subtract the step of the solver's rule
        (rates in float32)."""
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
        speed = self.speed.until(self.iter, self.param.display)
        log.info('Iteration %d, loss = %.6g', self.iter, self.smoothed_loss, extra=glog.at(
            'solver.cpp', 239,
            f'Iteration {self.iter} ({speed}), loss = {self.smoothed_loss:.6g}'))
        log_outputs('Train', self.net, outputs)
        log.info('Iteration %d, lr = %.6g', self.iter, self.rate,
                 extra=glog.at('sgd_solver.cpp', 112))

    @torch.no_grad()
    def test(self) -> list[dict[str, torch.Tensor]]:
        """Average the outputs of each test net over its test_iter passes;
        [{name: its first values}], [] where none were made (idle_test_nets). FcnError for an output
        whose size changes meanwhile."""
        results: list[dict[str, torch.Tensor]] = []
        pairs = zip(self.test_nets, self.param.test_iter, strict=True) if self.test_nets else ()
        for i, (net, count) in enumerate(pairs):
            log.info('Iteration %d, Testing net (#%d)', self.iter, i,
                     extra=glog.at('solver.cpp', 347))
            sums: dict[str, Any] = {}
            loss = 0.0
            for outputs, of_pass in test_passes(net, count, self.processes):
                for name, values in outputs.items():
                    if name in sums and len(values) != len(sums[name]):
                        raise FcnError(f"output '{name}' has {len(values)} values, and had "
                                       f'{len(sums[name])} in a pass before: no average',
                                       file=net.graph.file, do='Give it to a Silence layer.')
                    sums[name] = sums.get(name, 0) + values
                loss += of_pass
            if self.param.test_compute_loss and count:
                log.info('Test loss: %.6g', loss / count, extra=glog.at('solver.cpp', 401))
            results.append({name: values / count for name, values in sums.items()})
            log_outputs('Test', net, results[-1])
        return results

    # ---- snapshots -----------------------------------------------------------------------------

    def snapshot(self) -> tuple[Path, Path]:
        """Write PREFIX_iter_N.caffemodel.h5 and .solverstate.h5, both without .h5 where
        snapshot_format is BINARYPROTO; returns the paths. Of several processes the first writes.
        FcnError as snapshots.write says, but for a full disk where there is `when_full`."""
        while self.processes.first:
            try:
                return snapshots.write(self)
            except FcnError as error:
                if self.when_full is None or error.code != 'no-room':
                    raise
                self.when_full(error)
        return snapshots.paths(self)

    @torch.no_grad()
    def restore(self, path: str | PathLike, force: bool = False) -> str:
        """Resume from a .solverstate.h5 or .solverstate, ours or Caffe's, and its weights.

        One of ours resumes with the same bits: with its seed, position, loss window and provenance
        (the solver's own wins), and with its number of threads. Since that number holds for the
        whole process, a warning gives both where it changes. Several processes keep the threads
        that they were started with; the first warns. FcnError as snapshots.read says; the
        solver is then unchanged. Returns the differences that `force` overrode, or ''.
        """
        found = snapshots.read(self, path, force)
        state = found.state
        # ours holds every layer in the net's order; of Caffe's, layers of one name count as one
        self.net.copy_from(found.weights, in_order=found.resumable)
        for mine, theirs in zip(self.history, state.history, strict=True):
            assign(mine, theirs)
        self.iter, self.current_step = state.iter, state.current_step
        self.losses.clear()
        if found.resumable:
            self.seed = int(state.extra['seed'])
            self.net.seek(int(state.extra['position']), self.seed)
            self.losses.extend(float(loss) for loss in state.extra['losses'])
            self.provenance = {**found.provenance, **self.provenance}
            set_threads(int(state.extra['threads']), self.processes)
        log.info('Restoring previous solver status from %s', path,
                 extra=glog.at('solver.cpp', 296))
        if found.changed and self.processes.first:
            log.warning('%s was written with other settings: %s', path,
                        snapshots.summary(found.changed))
        return found.changed


def set_threads(count: int, processes: Processes) -> None:
    """Set torch's threads to those of the run that wrote a snapshot, with a warning where this
    changes them; of several processes, which share a machine's cores, warn alone."""
    before = torch.get_num_threads()
    if count == before:
        return
    if processes.size > 1:
        if processes.first:
            log.warning('each process computes with %d threads, and with %d in the run that wrote '
                        'the snapshot: sums of another number have other bits; OMP_NUM_THREADS '
                        'sets it', before, count)
    else:
        log.warning('this process computes with %d threads from now on, as the run that wrote the '
                    'snapshot did, instead of %d: sums of another number have other bits', count,
                    before)
        torch.set_num_threads(count)


def log_outputs(kind: str, net: Net, outputs: dict[str, torch.Tensor]) -> None:
    """Log each value of a net's outputs, {name: values}, with what it adds to the loss."""
    weights = {net.graph.values[v]: weight for node in net.graph.nodes
               for v, weight in zip(node.tops, net.layer(node).loss_weights, strict=True)}
    lines = [(name, value + 0.0)        # no -0, which Caffe's sums never are
             for name, values in outputs.items() for value in values.tolist()]
    for i, (name, value) in enumerate(lines):
        weight = weights[name]
        counts = f' (* {weight:.6g} = {weight * value:.6g} loss)' if weight else ''
        log.info('    %s net output #%d: %s = %.6g%s', kind, i, name, value, counts,
                 extra=glog.at('solver.cpp', 258 if kind == 'Train' else 414))
