"""The nets that a solver names, or holds itself (Solver::InitTrainNet, InitTestNets of Caffe)."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from .. import glog
from ..errors import FcnError
from ..proto import TEST, TRAIN
from ..proto.prototxt import NetText, SolverText, read_net
from ..search import SearchPath

TRAIN_NETS = ('net', 'net_param', 'train_net', 'train_net_param')
LINES = {'train_net_param': 88, 'train_net': 92, 'net_param': 97, 'net': 102}   # of solver.cpp


def train_net(solver: SolverText, search: SearchPath) -> NetText:
    """The train net of a SolverText: a NetText, its state that of the net and of train_state.
    FcnError where there is none, or more than one."""
    p = solver.message
    given = [name for name in TRAIN_NETS if p.HasField(name)]
    if len(given) != 1:
        raise FcnError(f'{len(given)} train nets: {", ".join(given)}' if given else
                       'no train_net and no net', file=solver.file,
                       line=max((solver.lines[name] for name in given), default=None),
                       do=f'Name the net file, or give one of {", ".join(TRAIN_NETS)}.')
    field = given[0]
    named = f'specified in {field}.' if field.endswith('_param') else \
        f'from {field} file: {getattr(p, field)}'
    glog.CAFFE.info('Creating training net %s', named, extra=glog.at('solver.cpp', LINES[field]))
    return with_state(read(solver, search, field), TRAIN, p.train_state)


def test_sources(solver: SolverText) -> list[tuple[str, int]]:
    """[(field, index)] of the test nets in Caffe's order: test_net_param, test_net, then `net` or
    net_param for each remaining test_iter. FcnError for counts that do not fit."""
    p = solver.message
    sources = [(name, i) for name in ('test_net_param', 'test_net')
               for i in range(len(getattr(p, name)))]
    left = len(p.test_iter) - len(sources)
    general = [name for name in ('net', 'net_param') if p.HasField(name)]
    sources += [(name, 0) for name in general] * left

    def fail(name, what, do):
        raise FcnError(what, file=solver.file, line=solver.lines.get(name), do=do)
    if len(sources) != len(p.test_iter):
        fail('test_iter', f'{len(p.test_iter)} test_iter for {len(sources)} test nets',
             'Give one test_iter for each test net.')
    if p.test_state and len(p.test_state) != len(sources):
        fail('test_state', f'{len(p.test_state)} test_state for {len(sources)} test nets',
             'Give one for each test net, or none.')
    if sources and p.test_interval < 1:
        fail('test_interval', f'test_interval is {p.test_interval}, but there are test nets',
             'Give test_interval, or remove test_iter.')
    return sources


def source_name(solver: SolverText, field: str, i: int) -> str:
    """Caffe's words for a test net's source."""
    if field.endswith('_param'):
        return field
    given = getattr(solver.message, field)
    return f"{'net' if field == 'net' else field} file: {given if field == 'net' else given[i]}"


def test_nets(solver: SolverText, search: SearchPath) -> Iterator[NetText]:
    """The test nets of a SolverText, one NetText for each of test_sources, each logged when it is
    asked for."""
    states = list(solver.message.test_state)
    for i, source in enumerate(test_sources(solver)):
        glog.CAFFE.info('Creating test net (#%d) specified by %s', i, source_name(solver, *source),
                        extra=glog.at('solver.cpp', 190))
        yield with_state(read(solver, search, *source), TEST, states[i] if states else None)


def read(solver: SolverText, search: SearchPath, field: str, i: int = 0) -> NetText:
    """The NetText of a field of the solver, which names a file or is the net."""
    if not field.endswith('_param'):
        names = getattr(solver.message, field)
        try:
            path = search.find(names if isinstance(names, str) else names[i], 'net', field)
        except FcnError as error:
            raise error.at(file=solver.file, line=solver.lines.get(field)) from None
        return read_net(path, solver.dialect, solver.define)
    net = solver.inline_nets(field)[i]
    old = [name for name in ('layers', 'input') if len(getattr(net.message, name))]
    if old:
        raise FcnError(f"{field} has '{old[0]}': Caffe upgrades no old net inside a solver",
                       file=solver.file, line=solver.lines[field],
                       do='Put the net into a file of its own, or write it with layer.')
    return net


def with_state(net: NetText, phase: int, state: Any) -> NetText:
    """The net with the NetState of Caffe's order: `phase`, then the net's own, then `state` (a
    NetState or None)."""
    message = type(net.message)()
    message.CopyFrom(net.message)
    message.state.phase = phase
    message.state.MergeFrom(net.message.state)
    if state is not None:                   # of the solver's dialect, which may be another one
        message.state.MergeFromString(state.SerializeToString())
    return replace(net, message=message)
