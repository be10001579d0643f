"""What all benchmarks share: command line, machine, alternating runs, medians and ratios, JSON.

A result is {'machine': …, 'rows': […]}. A row is one way of doing a thing: group (the thing), case
(sizes, threads), way, seconds (one number a round), median, best, and ratio: the median over the
rounds of this way's time by that of OURS in the same round. On a GPU the seconds are those of CUDA
events around replays of a CUDA graph, or around calls where a way cannot be captured (timed:
'graph' or 'calls'), and `called` is the median of what a call costs a Python program that keeps the
GPU's queue full. The inputs of a replay are always the same tensors: in the L2 cache, where they
fit.
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
PRODUCT = {'cpu': 1024, 'cuda': 4096}       # rows, columns and depth of the product that gives the
                                            # machine's speed
EXPS = 2 ** 17          # numbers, which stay in the cache and keep several threads busy
EXP_CHAIN = 256         # on a GPU, in registers
TURN = 0.01             # about the seconds of a turn on a GPU
CALLS, SHORT = 10, 1e-3         # calls in one graph, of functions of fewer seconds: launching the
                                # graph itself takes a few microseconds
CALLED = 3              # rounds of what a call costs


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
    machine = {'device': args.device, 'processor': processor(args.device),
               'cores': len(os.sched_getaffinity(0)), 'threads': args.threads,
               'torch': torch.__version__, 'load': os.getloadavg()[0],
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


def by_clock(function, repeat=1, device='cpu'):
    """Seconds of a call, of `repeat` of them without waiting in between."""
    wait = torch.cuda.synchronize if device == 'cuda' else int
    wait()
    start = time.perf_counter()
    for _ in range(repeat):
        function()
    wait()
    return (time.perf_counter() - start) / repeat


def by_events(function, repeat=1):
    """The GPU's seconds of a call, by CUDA events around `repeat` of them."""
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    first.record()
    for _ in range(repeat):
        function()
    last.record()
    torch.cuda.synchronize()
    return first.elapsed_time(last) / 1e3 / repeat


def alternate(functions, rounds, device='cpu', repeat=1, warm=True, seconds=None):
    """{key: [seconds]}: the functions take turns, every other round in reverse; one more round
    comes first and does not count.

    warm: a turn calls the function once unmeasured, so that none pays for the cache that another
    left. repeat: calls a turn, or {key: calls}, so that on a GPU the launches queue up. seconds:
    (function, calls) -> seconds of one; the wall's by default.
    """
    seconds = seconds or (lambda function, calls: by_clock(function, calls, device))
    taken = {key: [] for key in functions}
    for i in range(rounds + 1):
        for key in list(functions)[::(-1) ** i]:
            if warm:
                functions[key]()
            one = seconds(functions[key], repeat[key] if isinstance(repeat, dict) else repeat)
            if i:
                taken[key].append(one)
    return taken


def captured(function, calls):
    """A function that replays so many calls of a function as one CUDA graph; the memory of their
    results is that of the graph. RuntimeError, or a function's own error, for what cannot be."""
    stream, here = torch.cuda.Stream(), torch.cuda.current_stream()
    stream.wait_stream(here)
    with torch.cuda.stream(stream):
        for _ in range(3):              # proofs, choices of algorithms, states of an optimiser
            function()
    here.wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            function()
    return graph.replay


def try_to_capture(way, function, calls):
    """As `captured`; None, with the reason printed, for what cannot be."""
    here = torch.cuda.current_stream()
    try:
        return captured(function, calls)
    except Exception as error:
        torch.cuda.set_stream(here)     # a capture that fails leaves its own
        torch.cuda.synchronize()
        print(f"'{way}' is timed by calls, it cannot be captured: {str(error).splitlines()[0]}")
        return None


def on_gpu(functions, rounds, warm, captures, turn):
    """({way: [the GPU's seconds]}, {way: [seconds of a call to Python]}, {way: 'graph' or
    'calls'}). captures: way -> whether it may be captured. turn: its seconds, about."""
    for function in functions.values():
        function()                      # compiles, fills caches
    once = {way: by_events(function) for way, function in functions.items()}
    turns = {way: max(1, min(100, int(turn / max(s, 1e-6)))) for way, s in once.items()}
    calls = {way: CALLS if s < SHORT else 1 for way, s in once.items()}
    graphs = {way: captures(way) and try_to_capture(way, function, calls[way])
              for way, function in functions.items()}
    taken = alternate({way: graphs[way] or function for way, function in functions.items()}, rounds,
                      repeat={way: -(-turns[way] // calls[way]) if graphs[way] else turns[way]
                              for way in functions}, warm=warm, seconds=by_events)
    taken = {way: [s / calls[way] for s in times] if graphs[way] else times
             for way, times in taken.items()}
    called = alternate(functions, min(rounds, CALLED), 'cuda', turns, warm)
    return taken, called, {way: 'graph' if graphs[way] else 'calls' for way in functions}


def by_processor(function, repeat=1):
    """Processor seconds of a call, which other programs lengthen little."""
    start = time.process_time()
    for _ in range(repeat):
        function()
    return (time.process_time() - start) / repeat


def measure(group, case, functions, args, floor=None, gradients=False, warm=True,
            captures=lambda way: True, turn=TURN, seconds=None):
    """Rows of one group, printed as well.

    functions: {way: function}, OURS among them. floor: (words, function, how many times of its
    time the floor is). Under inference_mode unless gradients are wanted. captures: of a way on a
    GPU, whether it may be captured in a CUDA graph: False for what replays graphs of its own,
    reads files, or waits for the GPU. turn: seconds of one on a GPU, about. seconds: as of
    alternate, on the CPU.
    """
    if floor:
        name, run, scale = floor
        functions = {**functions, f'floor: {name}': run}
    called, timed = {}, {}
    with nullcontext() if gradients else torch.inference_mode():
        if args.device == 'cuda':
            taken, called, timed = on_gpu(functions, args.runs, warm, captures, turn)
        else:
            taken = alternate(functions, args.runs, args.device, 1, warm, seconds)
    if floor:
        taken[f'floor: {name}'] = [scale * t for t in taken[f'floor: {name}']]
    rows = rows_of(group, case, taken)
    for row in rows:
        if row['way'] in timed and not row['way'].startswith('floor'):
            row |= {'timed': timed[row['way']], 'called': statistics.median(called[row['way']])}
    print(table(rows), flush=True)
    return rows


def rows_of(group, case, taken):
    """Rows of {way: [seconds]}, OURS among them."""
    return [{'group': group, 'case': {**case, 'threads': torch.get_num_threads()}, 'way': way,
             'median': statistics.median(times), 'best': min(times), 'seconds': times,
             'ratio': statistics.median(t / o for t, o in zip(times, taken[OURS], strict=True))}
            for way, times in taken.items()]


def table(rows, ratio='times ours'):
    """Rows of one group as text; ratio: the heading of that column."""
    first, gpu = rows[0], any('called' in row for row in rows)
    case = ', '.join(f'{name} {value}' for name, value in first['case'].items())
    lines = [f'\n{first["group"]}: {case}']
    if gpu:
        lines.append("of the GPU, over replays of a CUDA graph (*: over calls), inputs in its L2 "
                     "cache where they fit; 'a call': of Python, the queue full")
    lines.append(f'{"":42}{"median":>12}{"best":>12}{ratio:>12}' + (f'{"a call":>12}' * gpu))
    for r in rows:
        star = '*' if r.get('timed') == 'calls' else ''
        called = f'{1e3 * r["called"]:9.3f} ms' if 'called' in r else ''
        lines.append(f'{r["way"] + star:42}{1e3 * r["median"]:9.3f} ms{1e3 * r["best"]:9.3f} ms'
                     f'{r["ratio"]:12.2f}{called}')
    return '\n'.join(lines)


def products(multiply_adds, device, dtype=torch.float32):
    """A floor: so many multiply-adds at the rate of one large matrix product; on the CPU our own
    float32 one, as torch's sgemm leaves half of some processors idle."""
    size = PRODUCT[device]
    name = f'its multiply-adds in one product of {size}'
    a, b = torch.randn(2, size, size, device=device, dtype=dtype)
    if device == 'cpu':
        x = a.view(1, size, 32, size // 32)
        weight = b.view(size, size, 1, 1).contiguous(memory_format=torch.channels_last)
        return name, lambda: conv_gemm(x, weight, None), multiply_adds / size ** 3
    return name, lambda: a @ b, multiply_adds / size ** 3


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
