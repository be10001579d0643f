"""The program that tests of several processes start: train a small stage, or score its val net.

    python train_several.py FOLDER TASK [ARGUMENT ...]
"""

import logging
import os
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from small_runs import NET, SOLVER, run, write_stage

from fcn_repro.distributed import ALONE, joined
from fcn_repro.errors import FcnError
from fcn_repro.net import Net
from fcn_repro.predict.evaluation import evaluate_and_report
from fcn_repro.proto import TEST
from fcn_repro.recipe.iterating import stopped_by_signals
from fcn_repro.solver import Solver, gradients
from fcn_repro.solver.snapshot_files import list_snapshots

LONG = (('max_iter: 6', 'max_iter: 50'), ('stepsize: 2', 'stepsize: 20'),
        ('snapshot: 3', 'snapshot: 25'))
BATCHNORM = ('layer { name: "relu1"', 'layer { name: "bn" type: "BatchNorm" bottom: "conv1" '
             'top: "conv1" }\nlayer { name: "relu1"')
TESTED = ('train_net: "train.prototxt"', 'train_net: "train.prototxt"\ntest_net: "val.prototxt"\n'
          'test_iter: 5\ntest_interval: 20')
# {name: changes of the texts}, each trained for 50 iterations
CASES = {
    'plain': LONG,
    'clipped': (*LONG, ('momentum: 0.9', 'momentum: 0.9\nclip_gradients: 0.5')),
    'batchnorm': (*LONG, BATCHNORM),
    'tested': (*LONG, TESTED),
    'adam': (*LONG, ('momentum: 0.9', 'momentum: 0.9\nmomentum2: 0.999\ntype: "Adam"'),
             ('base_lr: 0.01', 'base_lr: 0.001')),
}


def make(folder, changes, processes=ALONE, **options):
    """A solver of the small stage with (old, new) in its texts replaced, at iter_size 1 for each
    process of the group."""
    net, solver = NET, SOLVER.replace('iter_size: 2', 'iter_size: 1')
    for old, new in changes:
        assert old in net + solver, old
        net, solver = net.replace(old, new), solver.replace(old, new)
    text = processes.by_first(lambda: write_stage(folder / 'net', folder / 'voc', net, solver))
    options = {'prefix': folder / 'run' / 'train', 'device': 'cpu', **options}
    return Solver(text, processes=processes, **options)


def result(solver):
    """{name: array} of all that a run gives."""
    found = {f'{name[0]} {i}': blob.data.numpy() for name, blobs in solver.net.layer_params.items()
             for i, blob in enumerate(blobs)}
    found |= {f'history {i}': h.numpy() for i, h in enumerate(solver.history)}
    found['losses'] = np.array([*solver.losses, solver.loss, solver.smoothed_loss])
    if solver.test_nets:
        found |= {f'test {name}': values.numpy() for name, values in solver.test()[0].items()}
    return found


def train(folder, processes, *names):
    for name in names:
        (folder / name).mkdir(exist_ok=True)
        link = folder / name / 'voc'
        processes.by_first(lambda link=link: link.exists() or link.symlink_to(folder / 'voc'))
        solver = run(make(folder / name, CASES[name], processes))
        found = result(solver)
        if processes.first:
            np.savez(folder / f'{name}-{processes.size}.npz', **found)


CROPS = '''layer { name: "data" type: "Python" top: "data" top: "label" python_param {
  module: "own_layers" layer: "OwnDataLayer" param_str: "{'voc_dir': '%s', 'split': 'train', "
    "'seed': 7, 'mean': (104.0, 116.7, 122.7), 'crop': (16, 20), 'scale': (0.9, 1.1), "
    "'mirror': True, 'batch_size': %d}" } }
'''
OWN = ' fcn_repro_param { synchronised: true }'
NORMED = '''layer { name: "%(n)s" type: "Convolution" bottom: "%(b)s" top: "%(n)s"
  convolution_param { num_output: 5 kernel_size: 3 pad: 1 stride: 2 bias_term: false
    weight_filler { type: "msra" } } }
layer { name: "%(n)s_bn" type: "BatchNorm" bottom: "%(n)s" top: "%(n)s"
  batch_norm_param { moving_average_fraction: 0.9 } %(own)s }
layer { name: "%(n)s_scale" type: "Scale" bottom: "%(n)s" top: "%(n)s"
  scale_param { bias_term: true } }
layer { name: "%(n)s_relu" type: "ReLU" bottom: "%(n)s" top: "%(n)s" }
'''
SCORES = '''layer { name: "score_fr" type: "Convolution" bottom: "b" top: "score_fr"
  convolution_param { num_output: 3 kernel_size: 1 weight_filler { type: "msra" } } }
layer { name: "score" type: "Interp" bottom: "score_fr" bottom: "data" top: "score" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss"
  loss_param { ignore_label: 255 normalization: FULL } }
'''


def synchronised(folder, processes, batch, passes='0', own=OWN, iterations='12'):
    """Train with batch statistics: of `batch` images a pass; `passes` in all, 0 for one each."""
    net = CROPS % (folder / 'voc', int(batch)) + NORMED % {'n': 'a', 'b': 'data', 'own': own} \
        + NORMED % {'n': 'b', 'b': 'a', 'own': own} + SCORES
    where = folder / f'normed-{processes.size}-{batch}'
    text = processes.by_first(lambda: write_net(where, net, iterations))
    more = {'iter_size_in_all': int(passes)} if int(passes) else {}
    solver = run(Solver(text, prefix=where / 'train', device='cpu', processes=processes, **more))
    if processes.first:
        np.savez(where.with_suffix('.npz'), **result(solver))


def write_net(where, net, iterations):
    """The solver's file of a net, in a folder of its own."""
    where.mkdir()
    (where / 'train.prototxt').write_text(net)
    text = where / 'solver.prototxt'
    text.write_text(f'train_net: "train.prototxt" base_lr: 0.05 lr_policy: "fixed" momentum: 0.9 '
                    f'max_iter: {iterations} random_seed: 5 weight_decay: 0.001')
    return text


def long(folder, processes, state=None, until='100000'):
    """Train until a signal ends it; prints each iteration."""
    solver = make(folder, (('max_iter: 6', f'max_iter: {until}'), ('snapshot: 3', 'snapshot: 10')),
                  processes, iter_size_in_all=4)
    if state:
        solver.restore(state)
    with stopped_by_signals(solver):
        for _ in solver.run():
            print(solver.iter, solver.loss, flush=True)
    print('ended', solver.iter, solver.stop_requested, flush=True)


def elastic(folder, processes, until, snapshots='5'):
    """Train to the end from the newest snapshot, if there is one; an iteration takes 10 ms more."""
    die_in_reductions(folder / 'killed.txt')
    solver = make(folder, (('max_iter: 6', f'max_iter: {until}'),
                           ('snapshot: 3', f'snapshot: {snapshots}')), processes, keep=2)
    states = list_snapshots(folder / 'run', 'solverstate')
    if states:
        solver.restore(states[-1])
    for _ in solver.run():
        (folder / f'pid{processes.rank}').write_text(str(os.getpid()))
        time.sleep(0.01)


def leave(folder, processes):
    """The first process ends with an error while its gradients wait for those of the others."""
    def finish(self):
        time.sleep(0.5)
        raise FcnError('this one leaves')
    if processes.first:
        gradients.GradientSum.finish = finish
    else:
        gradients.to_all = lambda *_, **__: time.sleep(4)
    run(make(folder, (), processes))


def die_in_reductions(record):
    """With the environment's REDUCTION_KILLS, kill this process now and then before, between or
    after the two exchanges of a sum, so many times in all processes' lives."""
    most, rng = int(os.environ.get('REDUCTION_KILLS', '0')), random.Random(os.getpid())
    exchanges = {name: getattr(gradients, name) for name in ('to_all', 'gather_into')}

    def dying(name, *arguments, **options):
        if rng.random() < 0.008 and len(record.read_text()) < most:
            with record.open('a') as file:
                file.write('x')
            os.kill(os.getpid(), signal.SIGKILL)
        return exchanges[name](*arguments, **options)
    if most:
        record.touch()
        for name in exchanges:
            setattr(gradients, name, partial(dying, name))


def score(folder, processes, out):
    net = Net.read(folder / 'net/val.prototxt', TEST)
    evaluate_and_report(net, folder / out, pictures=3, processes=processes)


TASKS = {'train': train, 'synchronised': synchronised, 'long': long, 'elastic': elastic,
         'leave': leave, 'score': score}


def main():
    folder, task, *arguments = sys.argv[1:]
    torch.set_num_threads(1)
    logging.getLogger('fcn_repro').setLevel(logging.ERROR)
    try:
        with joined() as processes:
            TASKS[task](Path(folder), processes, *arguments)
    except FcnError as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
