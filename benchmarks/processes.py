#!/usr/bin/env python3
"""Training in several processes: samples per second, and what summing the gradients takes.

    python benchmarks/processes.py [--processes 2] [--iterations 20] [--millions 134] [--runs 3]

One process of one thread, and as many as asked for of one thread each, train the stage
mini-fcn32s in turns; wanted are 0.8 times as many samples per second as there are processes. Then
the gradients of FCN-32s, 134 million numbers, are summed over them, ours (solver/gradients.py, in
the order of ranks) and by torch's all_reduce. All on this machine, over loopback.
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import torch
import torch.distributed as dist
from timing import OURS, arguments, measure, prepare, write
from torch import nn

from fcn_repro.cli.reporting import report_errors
from fcn_repro.distributed import joined
from fcn_repro.recipe.options import Options
from fcn_repro.recipe.runs import Run
from fcn_repro.recipe.stages import shipped
from fcn_repro.search import SearchPath
from fcn_repro.solver import Solver
from fcn_repro.solver.gradients import GradientSum

STAGE, WANTED = 'mini-fcn32s', 0.8
# numbers of FCN-32s' parameters in net order, in thousands: conv1 to conv5, fc6, fc7, score_fr
LAYERS = 2, 37, 74, 148, 295, 590, 590, 1180, 2360, 2360, 2360, 2360, 2360, 102765, 16781, 86


class Team:
    """So many processes that do one thing when told, and wait otherwise."""

    def __init__(self, size, folder, work, *words):
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        self.processes = [subprocess.Popen(
            [sys.executable, __file__, '--work', work, *map(str, words)], cwd=folder, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, 'RANK': str(rank), 'LOCAL_RANK': str(rank), 'WORLD_SIZE': str(size),
                 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port), 'OMP_NUM_THREADS': '1'})
            for rank in range(size)]

    def __call__(self):
        for process in self.processes:
            process.stdin.write('\n')
            process.stdin.flush()
        for process in self.processes:
            if process.stdout.readline() != 'done\n':
                raise SystemExit(f'a process of the benchmark ended: {process.wait()}')

    def close(self):
        for process in self.processes:
            process.stdin.close()
            process.wait()


def obey(work):
    """In a process of a team: the work, for each line of stdin."""
    for _ in sys.stdin:
        work()
        print('done', flush=True)


def train(processes, iterations):
    """`iterations` iterations of the stage."""
    folder = shipped(STAGE)
    solver = Solver(folder / 'solver.prototxt', search=SearchPath.beside, prefix='unused',
                    processes=processes, workers=0)

    def several():
        for _ in range(iterations):
            solver.iterate()
    return several


def sums(processes, millions, way):
    """The sum of gradients of so many million numbers, by us or by torch."""
    scale = 1000 * millions / sum(LAYERS)
    params = [nn.Parameter(torch.zeros(round(1000 * scale * n))) for n in LAYERS]
    for param in params:
        param.grad = torch.rand_like(param)
    ours = GradientSum(params, processes)

    def run():
        if way == OURS:
            ours.start()
            ours.finish()
        else:
            for param in params:
                dist.all_reduce(param.grad)
    return run


def work(args):
    torch.set_num_threads(1)
    with joined() as processes:
        obey(train(processes, args.iterations) if args.work == 'train' else
             sums(processes, args.millions, args.work))


def compare(args):
    """Rows of both groups."""
    size = args.processes
    with tempfile.TemporaryDirectory() as folder:
        before = os.getcwd()
        os.chdir(folder)
        Run(STAGE, Options()).make_data()
        os.chdir(before)
        alone, together = 'one process, one thread', f'{size} processes, one thread each'
        teams = {alone: Team(1, folder, 'train', '--iterations', args.iterations * size),
                 together: Team(size, folder, 'train', '--iterations', args.iterations)}
        rows = measure('training', {'stage': STAGE, 'samples': size * args.iterations},
                       {OURS: teams.pop(alone), **teams}, args, warm=False)
        rows[0]['way'] = alone
        for row in rows:
            row['images/s'] = size * args.iterations / row['median']
        words = '--millions', args.millions
        found = measure('sum of gradients', {'processes': size, 'million': args.millions},
                        {OURS: Team(size, folder, OURS, *words),
                         'all_reduce': Team(size, folder, 'all_reduce', *words)}, args, warm=False)
    return rows + found


@report_errors()
def main():
    parser = arguments(__doc__, 3)
    parser.add_argument('--processes', type=int, default=2)
    parser.add_argument('--iterations', type=int, default=20, help='of each turn, times samples')
    parser.add_argument('--millions', type=int, default=134, help='numbers in the gradients')
    parser.add_argument('--work', help='what a process that this script starts does')
    args = parser.parse_args()
    if args.work:
        work(args)
        return
    machine = prepare(args)
    start = time.perf_counter()
    rows = compare(args)
    write(args.json, machine, rows, seconds=time.perf_counter() - start)
    alone, together = rows[:2]
    gain = statistics.median(a / t for a, t in zip(alone['seconds'], together['seconds'],
                                                   strict=True))
    for row in rows[:2]:
        print(f'{row["way"]:42}{row["images/s"]:9.1f} images/s')
    print(f'{gain:.2f} times as many images/s; target {WANTED * args.processes:.1f}: '
          f'{"met" if gain >= WANTED * args.processes else "NOT MET"}')


if __name__ == '__main__':
    main()
