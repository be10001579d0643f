"""Train or finetune a model: Caffe's `caffe train`."""

import argparse
import logging
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from ...errors import FcnError
from ...glog import at
from ...lock import locked
from ...memory import keep_freed_memory
from ...paths import ANYWHERE
from ...proto.prototxt import read_solver
from ...pycaffe.mode import set_user_code
from ...pycaffe.userlayer import UserNet, search_here
from ...solver.solver import Solver
from . import device
from .gflags import MAX_PIXELS, Flag

log = logging.getLogger(__name__)

USAGE = '--solver=FILE [FLAGS]'
FLAGS = (Flag('solver', '', 'the solver, a prototxt'),
         Flag('snapshot', '', 'a solver state to resume from'),
         device.WEIGHTS, device.GPU, device.LEVEL, device.STAGE, device.USER_CODE, *device.DIALECT,
         Flag('sigint_effect', 'stop', 'what Ctrl-C does: snapshot, stop or none'),
         Flag('sighup_effect', 'snapshot', 'what SIGHUP does: snapshot, stop or none'),
         MAX_PIXELS)
EFFECTS = 'snapshot', 'stop', 'none'


def run(flags: argparse.Namespace, args: list[str]) -> None:
    """FcnError for files and settings that do not fit, and where the loss is no longer finite:
    Caffe would go on with NaN."""
    keep_freed_memory()
    search_here()
    set_user_code(flags.user_code)
    device.need(flags, 'solver', 'a solver definition to train.')
    if flags.snapshot and flags.weights:
        raise FcnError('both a snapshot to resume from and weights to finetune',
                       do='Give one of them.')
    for name in 'sigint_effect', 'sighup_effect':
        if getattr(flags, name) not in EFFECTS:
            raise FcnError(f"{name} is '{getattr(flags, name)}'",
                           do=f'Use {", ".join(EFFECTS)}.')
    solver = make_solver(flags)
    with lock_of(solver):
        train(solver, flags)


def train(solver: Solver, flags: argparse.Namespace) -> None:
    """Run the solver, from a snapshot where one is given."""
    if flags.snapshot:
        log.info('Resuming from %s', flags.snapshot, extra=at('caffe.cpp', 243))
        solver.restore(flags.snapshot, force=True)
    log.info('Starting Optimization', extra=at('caffe.cpp', 247))
    with signals(solver, flags) as requests:
        for _ in solver.run():
            if requests:
                requests.clear()
                solver.snapshot()
    if solver.stop_requested:
        log.info('Optimization stopped early.', extra=at('solver.cpp', 311))
    log.info('Optimization Done.', extra=at('caffe.cpp', 258))


def lock_of(solver: Solver) -> AbstractContextManager:
    """The lock of the solver's snapshots, whose files another run would mix with its own; none for
    a solver that writes none."""
    if not (solver.param.snapshot or solver.param.snapshot_after_train):
        return nullcontext()
    start = Path(f'{solver.prefix}_')
    return locked(start.parent, start.name[:-1])


def make_solver(flags: argparse.Namespace) -> Solver:
    """The solver of the flags: with their level and stages, and their weights in the place of those
    that its text names."""
    text = read_solver(flags.solver, **device.fork(flags))
    p = text.message
    p.train_state.level = flags.level
    p.train_state.stage.extend(device.stages(flags))
    if flags.snapshot or flags.weights:
        del p.weights[:]
    if flags.weights:
        p.weights.append(flags.weights)
    if not p.HasField('snapshot_format'):
        p.snapshot_format = p.BINARYPROTO           # Caffe's default
    wanted = p.HasField('solver_mode') and p.solver_mode == p.GPU
    number = p.device_id if p.HasField('device_id') else 0
    return Solver(text, device=device.pick(flags.gpu, wanted, number), net_class=UserNet,
                  writes=ANYWHERE)


@contextmanager
def signals(solver: Solver, flags: argparse.Namespace) -> Iterator[list[str]]:
    """Obey the flags on SIGINT and SIGHUP: stop the solver after its iteration, or put a word into
    the list that is yielded, for a snapshot."""
    requests: list[str] = []

    def handle(effect):
        if effect == 'stop':
            solver.request_stop()
        elif effect == 'snapshot':
            requests.append('snapshot')
    before = {number: signal.signal(number, lambda *_, effect=effect: handle(effect))
              for number, effect in ((signal.SIGINT, flags.sigint_effect),
                                     (signal.SIGHUP, flags.sighup_effect))}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
