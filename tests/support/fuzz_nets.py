"""Readers to fuzz: nets, solvers and the settings of Python layers."""

import math
from contextlib import suppress
from pathlib import Path

from fuzz_data_sets import voc_folder
from fuzz_target import FcnErrors

MOST_NUMBERS = 1 << 19                  # of a net that is run
MOST_IMAGES = 100                       # of a batch that is drawn, at 1 to 5 ms each


def phase_of(path: Path) -> str:
    return ('TEST', 'TRAIN')[path.stat().st_size % 2]


def read_net(path):
    from fcn_repro.net import Net
    return Net.read(path, phase_of(path))


def run_net(path):
    """Forward with passes and without, which must agree, and backward from the loss, of nets that
    are small enough."""
    import torch

    from fcn_repro.net import Net
    from fcn_repro.passes import PASSES
    phase = phase_of(path)
    net = Net.read(path, phase)
    shapes = [*net.shapes.values(), *(shape for each in net.declared.values() for shape, _ in each)]
    if sum(math.prod(shape) for shape in shapes) > MOST_NUMBERS:
        return
    draws = torch.Generator().manual_seed(0)
    inputs = {name: torch.rand(net.shapes[net.graph.first(name)], generator=draws)
              for name in net.graph.inputs}
    plain = net.forward(**inputs)
    fast = Net.read(path, phase, passes=PASSES.values()).forward(**inputs)
    for name, expected in plain.items():
        torch.testing.assert_close(fast[name], expected, rtol=1e-3, atol=1e-4, equal_nan=True,
                                   msg=lambda text, name=name: f'passes change {name}: {text}')
    if net.total_loss is not None and net.total_loss.requires_grad:
        net.backward()


def read_solver(path):
    from fcn_repro.proto.prototxt import read_solver
    from fcn_repro.solver.nets import train_net
    solver = read_solver(path)
    from fcn_repro.search import SearchPath
    return train_net(solver, SearchPath.of(solver.file))


def draw_net(path):
    from fcn_repro.proto.prototxt import read_net
    from fcn_repro.pycaffe.draw import get_pydot_graph
    return get_pydot_graph(read_net(path).message, 'LR').to_string()


def view_net(path):
    from fcn_repro import viewer
    drawn = viewer.drawn(path, size=(64, 48))
    return viewer.page_of(drawn), viewer.svg_of(drawn), viewer.text_of(drawn)


def read_params(path):
    from fcn_repro.data import parse_params, python_layers
    from fcn_repro.proto.dialects import dialects
    from fcn_repro.proto.dialects.segnet import SPATIAL, spatial_dropout
    text = path.read_bytes().decode('utf-8', 'replace')
    dropout = dialects()['enet']['LayerParameter'](type='Python')
    module, layer = SPATIAL
    dropout.python_param.MergeFrom(type(dropout.python_param)(
        module=module, layer=layer, param_str=text))
    with suppress(FcnErrors()):
        spatial_dropout(dropout)
    params = parse_params(text)
    for name in ('VOCSegDataLayer', 'NYUDSegDataLayer', 'PASCALContextSegDataLayer',
                 'M2nistDataLayer', 'DigitDataLayer'):
        layer, = (cls for (_, each), cls in python_layers.items() if each == name)
        try:
            made = layer(params)
        except FcnErrors():
            continue
        if len(made) and params.get('batch_size', 1) <= MOST_IMAGES:
            made.batch(0)


def params_seeds():
    voc = voc_folder()
    mean = '(104.00699, 116.66877, 122.67892)'
    return [text.encode() for text in (
        f"{{'voc_dir': '{voc}', 'seed': 1337, 'split': 'train', 'mean': {mean}}}",
        f"{{'voc_dir': '{voc}', 'seed': 1, 'split': 'val', 'mean': {mean}, 'randomize': False}}",
        "{'split': 'train', 'batch_size': 2, 'seed': 3, 'order_seed': 4}",
        "{'split': 'val', 'batch_size': 2}", "{'phase': 'TRAIN', 'p': '0.1'}")]
