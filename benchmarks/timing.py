"""What all benchmarks share: command line, machine, alternating runs, medians and ratios, JSON.

A result is {'machine': …, 'rows': […]}. A row is one way of doing a thing: group (the thing), case
(sizes, threads), way, seconds (one number a round), median, best, and ratio: the median over the
rounds of this way's time by that of OURS in the same round.
"""

import argparse
import json
import os
import platform
import statistics
import time
from contextlib import nullcontext
from pathlib import Path

import torch

from fcn_repro.memory import keep_freed_memory
from fcn_repro.ops import conv_gemm

OURS = 'ours'
PRODUCT = 1024          # rows, columns and depth of the product that gives the machine's speed
EXPS = 2 ** 17          # numbers, which stay in the cache and keep several threads busy
EXP_CHAIN = 256         # on a GPU, in registers


def arguments(doc, runs):
    """A parser with what all benchmarks take; runs: how many turns count."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument('--runs', type=int, default=runs, help='rounds that count')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--json', metavar='FILE', help='write everything measured there')
    return parser


def parse_size(text):
    height, _, width = text.partition('x')
    return int(height), int(width)


def prepare(args):
    """Threads, seed and float32 as it is, for all alike; returns what the machine is.

    glibc is told to keep freed memory: large outputs are fresh pages in some turns otherwise.
    """
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    keep_freed_memory()
    machine = {'processor': processor(args.device), 'cores': len(os.sched_getaffinity(0)),
               'threads': args.threads, 'torch': torch.__version__, 'load': os.getloadavg()[0],
               'instructions': torch.backends.cpu.get_cpu_capability()}
    print(headline(machine))
    return machine


def processor(device):
    """The GPU's or processor's name, or the architecture where /proc does not tell."""
    if device == 'cuda':
        return torch.cuda.get_device_name()
    info = Path('/proc/cpuinfo')
    names = [line.split(':')[1].strip() for line in info.read_text().splitlines()
             if line.startswith('model name')] if info.exists() else []
    return names[0] if names else platform.machine()


def headline(m):
    return (f'{m["processor"]}, {m["cores"]} cores, {m["threads"]} threads, torch {m["torch"]} '
            f'({m["instructions"]}), load before the run {m["load"]:.1f}')


def alternate(functions, rounds, device='cpu', repeat=1, warm=True):
    """{key: [seconds]}: the functions take turns, every other round in reverse; one more round
    comes first and does not count.

    warm: a turn calls the function once unmeasured, so that none pays for the cache that another
    left. repeat: calls a turn, so that on a GPU the launches queue up.
    """
    wait = torch.cuda.synchronize if device == 'cuda' else int
    taken = {key: [] for key in functions}
    for i in range(rounds + 1):
        for key in list(functions)[::(-1) ** i]:
            function = functions[key]
            if warm:
                function()
            wait()
            start = time.perf_counter()
            for _ in range(repeat):
                function()
            wait()
            if i:
                taken[key].append((time.perf_counter() - start) / repeat)
    return taken


def measure(group, case, functions, args, floor=None, gradients=False, warm=True):
    """Rows of one group, printed as well.

    functions: {way: function}, OURS among them. floor: (words, function, how many times of its
    time the floor is). Under inference_mode unless gradients are wanted.
    """
    if floor:
        name, run, scale = floor
        functions = {**functions, f'floor: {name}': run}
    cuda = args.device == 'cuda'
    with nullcontext() if gradients else torch.inference_mode():
        taken = alternate(functions, args.runs, args.device, 20 if cuda and warm else 1, warm)
    if floor:
        taken[f'floor: {name}'] = [scale * t for t in taken[f'floor: {name}']]
    rows = [{'group': group, 'case': {**case, 'threads': torch.get_num_threads()}, 'way': way,
             'median': statistics.median(times), 'best': min(times), 'seconds': times,
             'ratio': statistics.median(t / o for t, o in zip(times, taken[OURS], strict=True))}
            for way, times in taken.items()]
    print(table(rows), flush=True)
    return rows


def table(rows, ratio='times ours'):
    """Rows of one group as text; ratio: the heading of that column."""
    first = rows[0]
    case = ', '.join(f'{name} {value}' for name, value in first['case'].items())
    lines = [f'\n{first["group"]}: {case}',
             f'{"":42}{"median":>12}{"best":>12}{ratio:>12}']
    return '\n'.join([*lines, *(f'{r["way"]:42}{1e3 * r["median"]:9.3f} ms{1e3 * r["best"]:9.3f} ms'
                                f'{r["ratio"]:12.2f}' for r in rows)])


def products(multiply_adds, device):
    """A floor: so many multiply-adds at the rate of one large float32 matrix product; on the CPU
    our own, as torch's sgemm leaves half of some processors idle."""
    name = f'its multiply-adds in one product of {PRODUCT}'
    a, b = torch.randn(2, PRODUCT, PRODUCT, device=device)
    if device == 'cpu':
        x = a.view(1, PRODUCT, 32, PRODUCT // 32)
        weight = b.view(PRODUCT, PRODUCT, 1, 1).contiguous(memory_format=torch.channels_last)
        return name, lambda: conv_gemm(x, weight, None), multiply_adds / PRODUCT ** 3
    return name, lambda: a @ b, multiply_adds / PRODUCT ** 3


def exponentials(count, device):
    """A floor: so many exponential functions, of numbers that no memory has to give."""
    if device == 'cpu':
        x = torch.rand(EXPS)
        y = torch.empty_like(x)
        return 'its exponentials by torch.exp', lambda: torch.exp(x, out=y), count / EXPS
    chain = torch.cuda.jiterator._create_jit_fn(
        'template <typename T> T chain(T x) { '
        f'for (int i = 0; i < {EXP_CHAIN}; i++) x = __expf(-x); return x; }}')
    x = torch.rand(2 ** 22, device=device)
    return 'its exponentials', lambda: chain(x), count / (EXP_CHAIN * x.numel())


def write(path, machine, rows, **more):
    """The result as JSON, where a path is given."""
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps({'machine': machine, **more, 'rows': rows}, indent=1)
                              + '\n')
