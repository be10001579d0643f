"""pycaffe's solvers, over fcn_repro.solver."""

import torch

from ..net.placement import pick_device
from ..paths import ANYWHERE
from ..proto.prototxt import read_solver
from ..solver import solver
from ..solver.rates import current_step, learning_rate
from . import mode
from .arrays import settle
from .layerwise import LayerwiseNet
from .net import Net


class LayerwiseSolver(solver.Solver):
    """A Solver whose nets run layer by layer, and which has its test nets in any case.

    rule: the solver type, instead of the file's.
    """

    default_format = 'BINARYPROTO'      # Caffe's

    def __init__(self, path, rule=None):
        self.callbacks = []
        given = read_solver(path, **mode.fork()).message.random_seed
        super().__init__(path, seed=int(given) if given >= 0 else mode.seed(), passes=(),
                         device=pick_device(mode.device()), placed={'channels_last': False},
                         rule=rule, net_class=LayerwiseNet, idle_test_nets=True,
                         blas=mode.blas(), writes=ANYWHERE, **mode.fork())

    def step(self, count):
        """`count` iterations with Caffe's snapshots among them, the loss window started anew."""
        self.losses.clear()
        for _ in range(count):
            self.iterate()
            if self.param.snapshot and self.iter % self.param.snapshot == 0:
                self.snapshot()

    def iterate(self):
        for on_start, _ in self.callbacks:
            on_start()
        super().iterate()

    def update(self):
        for _, on_gradients_ready in self.callbacks:
            on_gradients_ready()
        settle()
        super().update()

    @torch.no_grad()
    def apply_update(self):
        """The update of one iteration from the diffs as they are."""
        self.current_step = current_step(self.param, self.iter, self.current_step)
        self.rate = float(learning_rate(self.param, self.iter, self.current_step))
        settle()
        super().update()
        self.iter += 1


class Solver:
    """Solver(file): net and test_nets are pycaffe Nets. The file's paths start at the
    working directory or, failing that, at its folder. FcnError, with file and line, for settings
    that do not fit."""

    _rule = None            # of a subclass: its type, whatever the file says

    def __init__(self, solver_file):
        mode.ensure_log()
        self._solver = LayerwiseSolver(str(solver_file), self._rule)
        self.net = Net._of(self._solver.net)
        self.test_nets = [Net._of(net) for net in self._solver.test_nets]

    iter = property(lambda self: self._solver.iter)
    param = property(lambda self: self._solver.param)
    lr = property(lambda self: self._solver.rate)

    def step(self, n):
        """n iterations, with tests and snapshots where they fall."""
        settle()
        self._solver.step(n)

    def solve(self, resume=None):
        """Iterate to max_iter, from a .solverstate file if one is given."""
        if resume is not None:
            self.restore(resume)
        settle()
        for _ in self._solver.run():
            pass

    def apply_update(self):
        """Clip, decay and update with the params' diffs as they are; iter goes up by one."""
        self._solver.apply_update()

    def add_callback(self, on_start, on_gradients_ready):
        """Call the first before each iteration, the second before its update; both without
        arguments."""
        self._solver.callbacks.append((on_start, on_gradients_ready))

    def snapshot(self):
        """Write the weights and the state under snapshot_prefix."""
        settle()
        self._solver.snapshot()

    def restore(self, state_file):
        """Resume from a .solverstate file, whatever has changed since; a warning says what."""
        settle()
        self._solver.restore(str(state_file), force=True)

    def share_weights(self, net):
        """Let a net use this solver's parameters."""
        net.share_with(self.net)


class SGDSolver(Solver):
    """Momentum, whatever type the file names; the other classes likewise."""
    _rule = 'SGD'


class NesterovSolver(SGDSolver):
    _rule = 'Nesterov'


class AdaGradSolver(SGDSolver):
    _rule = 'AdaGrad'


class RMSPropSolver(SGDSolver):
    _rule = 'RMSProp'


class AdaDeltaSolver(SGDSolver):
    _rule = 'AdaDelta'


class AdamSolver(SGDSolver):
    _rule = 'Adam'


CLASSES = {cls._rule: cls for cls in (SGDSolver, NesterovSolver, AdaGradSolver, RMSPropSolver,
                                      AdaDeltaSolver, AdamSolver)}


def get_solver(solver_file):
    """The solver of the type that the file names."""
    text = read_solver(solver_file, **mode.fork())
    return CLASSES.get(text.message.type, Solver)(solver_file)
