#!/usr/bin/env python3
"""FCN-8s at VGG16 widths, one image: time and peak memory of our net and of plain PyTorch.

    python benchmarks/fcn8s.py [--size 375x500] [--repeats 10] [--threads 2] [--json FILE]

Ours is prototxt/voc-fcn8s/deploy.prototxt with the default passes; plain is the same net as one
writes it by hand in PyTorch, with the same weights; each contiguous and channels-last. Scores and
gradients are compared first. Then all four take turns in one process, forwards and backwards, so
that other load falls on all alike. Peak memory is that of a process of its own for each figure.
The floor is the multiply-adds of all convolutions at the rate of the best sgemm in this run.
"""

import argparse
import json
import math
import multiprocessing
import os
import resource
import statistics
import time
import zlib
from pathlib import Path

import torch
from plain_fcn8s import CLASSES, Plain
from upcrop import processor

from fcn_repro import runtime
from fcn_repro.errors import FcnError, tool
from fcn_repro.net import Net
from fcn_repro.passes import DEFAULT
from fcn_repro.proto import TEST
from fcn_repro.surgery import upsample_filt

PROTOTXT = Path(__file__).parent.parent / 'prototxt/voc-fcn8s/deploy.prototxt'
PEER = 'plain, contiguous'
VARIANTS = PEER, 'plain, channels-last', 'ours, contiguous', 'ours, channels-last'
FORWARD, BOTH = 'forward', 'forward + backward'
LIMITS = {'scores': 1e-5, 'gradients': 1e-4}    # max|a - b| / max|b|, as against Caffe
BYTES = 4                                       # of a float32
SGEMM = 2048                                    # rows, columns and depth


class Variant:
    """One net in one memory format, with weights that are a function of the layers' names."""

    def __init__(self, name):
        self.ours, self.last = name.startswith('ours'), name.endswith('channels-last')
        self.net = Net.read(PROTOTXT, TEST, passes=DEFAULT) if self.ours else Plain()
        if self.ours:
            self.params = {layer: [blob.parameter for blob in blobs]
                           for layer, blobs in self.net.params.items()}
        else:
            self.params = {path.split('.')[-1]: list(module.parameters(recurse=False))
                           for path, module in self.net.named_modules()}
            self.params = {layer: params for layer, params in self.params.items() if params}
        fill(self.params)
        if self.ours:
            runtime.place(self.net, channels_last=self.last)
        elif self.last:
            self.net.to(memory_format=torch.channels_last)

    def scores(self, x):
        if self.ours:
            return self.net(data=x)['score']
        return self.net(x.contiguous(memory_format=torch.channels_last) if self.last else x)

    def run(self, what, x, diff):
        """Scores, and for BOTH the parameters' gradients from the scores' gradient `diff`."""
        if what == FORWARD:
            with torch.inference_mode():
                return self.scores(x)
        self.net.zero_grad(set_to_none=True)
        scores = self.scores(x)
        scores.backward(diff)
        return scores.detach()


@torch.no_grad()
def fill(params):
    """He's normal weights and zero biases; bilinear on the diagonal of the upsampling layers."""
    for layer, (weight, *biases) in params.items():
        if layer.startswith('up'):
            diagonal = range(CLASSES)
            weight.zero_()[diagonal, diagonal] = torch.from_numpy(
                upsample_filt(weight.shape[2])).float()
        else:
            generator = torch.Generator().manual_seed(zlib.crc32(layer.encode()))
            weight.normal_(0, math.sqrt(2 / weight[0].numel()), generator=generator)
        for bias in biases:
            bias.zero_()


def sample(size):
    """An image minus its mean (1, 3, H, W), and a gradient of the scores (1, 21, H, W)."""
    generator = torch.Generator().manual_seed(0)
    return (60 * torch.randn(1, 3, *size, generator=generator),
            torch.randn(1, CLASSES, *size, generator=generator))


def peak_memory(name, what, size, threads):
    """Peak resident bytes of this process after two runs, and those from before the net."""
    def peak():
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    torch.set_num_threads(threads)
    before = peak()
    variant, (x, diff) = Variant(name), sample(size)
    for _ in range(2):
        variant.run(what, x, diff)
    return peak(), before


def memory(size, threads):
    """{(variant, what): (peak, before)}, each from a fresh process.

    A process inherits its parent's peak: so this comes first, while that holds imports alone.
    """
    spawn, out = multiprocessing.get_context('spawn'), {}
    for what in FORWARD, BOTH:
        for name in VARIANTS:
            with spawn.Pool(1) as pool:
                out[name, what] = pool.apply(peak_memory, (name, what, size, threads))
    return out


def differences(variants, x, diff):
    """{variant: {'scores': .., 'gradients': ..}}: max|a - b| / max|b|, of the gradients the worst
    parameter's. Raises FcnError beyond LIMITS.

    Scores are held against the peer's; gradients against those of plain in the same memory format,
    because another convolution rounds otherwise, and a ReLU at 0 then passes or stops a gradient.
    """
    def distance(a, b):
        return float((a - b).abs().max() / b.abs().max())
    out, expected = {}, variants[PEER].run(FORWARD, x, diff)
    for name, variant in variants.items():
        plain = variants[name.replace('ours', 'plain')]
        scores = [variant.run(BOTH, x, diff), variant.run(FORWARD, x, diff)]
        if plain is not variant:
            plain.run(BOTH, x, diff)
        out[name] = {'scores': max(distance(s, expected) for s in scores), 'gradients': max(
            distance(a.grad, b.grad) for layer, params in plain.params.items()
            for a, b in zip(variant.params[layer], params) if b.requires_grad)}
        for net in plain.net, variant.net:
            net.zero_grad(set_to_none=True)
        for what, limit in LIMITS.items():
            if not out[name][what] <= limit:
                raise FcnError(f"{what} of '{name}' differ from plain by {out[name][what]:.1e} of "
                               f'the largest; the limit is {limit:.0e}',
                               do='Compare blob by blob: Net.forward(blobs=...).')
    return out


def count(net):
    """Least work for the shapes of the latest run: multiply-adds of the convolutions for FORWARD
    and BOTH, and bytes that must be resident at once: parameters (for BOTH their gradients too),
    and of FORWARD the largest bottom and top of a convolution."""
    forward = first = largest = 0
    for node in net.graph.nodes:
        if node.type == 'Convolution':
            bottom, top = (math.prod(net.shapes[v]) for v in (node.bottoms[0], node.tops[0]))
            work = top * math.prod(net.params[node.name][0].shape[1:])
            forward, largest = forward + work, max(largest, bottom + top)
            first = first or work                   # nobody wants the image's gradient
    weights = BYTES * sum(p.numel() for p in net.parameters())
    return {'multiply_adds': {FORWARD: forward, BOTH: 3 * forward - first},
            'bytes': {'parameters': weights, FORWARD: weights + BYTES * largest}}


def measure(runs, repeats):
    """{name: [seconds, ..]}: the functions take turns, every other round in reverse; the first
    round does not count."""
    seconds = {name: [] for name in runs}
    for i in range(repeats + 1):
        for name in list(runs)[::(-1) ** i]:
            start = time.perf_counter()
            runs[name]()
            if i:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def timings(variants, x, diff, repeats):
    """{(variant, what): [seconds, ..]}, and the best seconds of a product of SGEMM cubed, tried
    after every run, so that it has seen the quiet moments that the nets have seen."""
    a, b = torch.randn(2, SGEMM, SGEMM)
    products = []

    def run_and_free(variant, what):
        variant.run(what, x, diff)
        if what == BOTH:
            variant.net.zero_grad(set_to_none=True)

    def product():
        start = time.perf_counter()
        a @ b
        products.append(time.perf_counter() - start)
    runs = {}
    for what in FORWARD, BOTH:
        for name, variant in variants.items():
            runs[name, what] = lambda v=variant, what=what: run_and_free(v, what)
            runs['sgemm', name, what] = product
    seconds = measure(runs, repeats)
    return {key: times for key, times in seconds.items() if key[0] != 'sgemm'}, min(products)


def rows(seconds, peaks, work, rate):
    """One dict a variant and pass: median and best seconds; `faster`, the median over the rounds
    of the peer's time by this one's; `floor` seconds at `rate` multiply-adds a second; bytes."""
    out = []
    for (name, what), (peak, before) in peaks.items():
        times = seconds[name, what]
        out.append({'net': name, 'pass': what, 'median': statistics.median(times),
                    'best': min(times), 'floor': work['multiply_adds'][what] / rate,
                    'faster': statistics.median(p / t for p, t in zip(seconds[PEER, what], times)),
                    'peak_bytes': peak, 'bytes_before_net': before, 'seconds': times})
    return out


def table(result):
    """The result as text."""
    m, work = result['machine'], result['work']
    macs = work['multiply_adds']
    lines = [f'FCN-8s, VGG16 widths, {result["size"][0]}x{result["size"][1]}, float32, '
             f'{result["repeats"]} alternating rounds',
             f'{m["processor"]}, {m["cores"]} cores, {m["threads"]} threads, torch {m["torch"]} '
             f'({m["instructions"]}), load before the run {m["load"]:.1f}',
             f'floor: {macs[FORWARD] / 1e9:.1f} and {macs[BOTH] / 1e9:.1f} billion multiply-adds '
             f'at {result["sgemm_rate"] / 1e9:.1f} billion/s (sgemm {SGEMM}); '
             f'parameters {work["bytes"]["parameters"] / 1e6:.0f} MB, with the largest bottom and '
             f'top {work["bytes"][FORWARD] / 1e6:.0f} MB']
    for what in FORWARD, BOTH:
        lines.append(f'\n{what:24}{"median":>9}{"best":>9}{"ratio":>7}{"floor":>9}{"best/floor":>12}'
                     f'{"peak":>10}{"net alone":>11}')
        for r in result['rows']:
            if r['pass'] == what:
                lines.append(
                    f'{r["net"]:24}{r["median"]:7.3f} s{r["best"]:7.3f} s{r["faster"]:7.2f}'
                    f'{r["floor"]:7.3f} s{r["best"] / r["floor"]:12.2f}'
                    f'{r["peak_bytes"] / 1e6:7.0f} MB'
                    f'{(r["peak_bytes"] - r["bytes_before_net"]) / 1e6:8.0f} MB')
    lines.append(f'\nratio: how many times faster than {PEER}, median over the rounds')
    lines += [f'{name} differs from it by {d["scores"]:.0e} (scores), {d["gradients"]:.0e} '
              '(gradients)' for name, d in result['differences'].items() if name != PEER]
    return '\n'.join(lines)


def parse_size(text):
    height, _, width = text.partition('x')
    return int(height), int(width)


@tool
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--size', type=parse_size, default=(375, 500), metavar='HxW')
    parser.add_argument('--repeats', type=int, default=10, help='rounds that count')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--json', metavar='FILE', help='write everything measured there too')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    result = {'size': args.size, 'repeats': args.repeats, 'machine': {
        'processor': processor('cpu'), 'cores': len(os.sched_getaffinity(0)),
        'threads': args.threads,
        'torch': torch.__version__, 'instructions': torch.backends.cpu.get_cpu_capability(),
        'load': os.getloadavg()[0]}}
    peaks = memory(args.size, args.threads)
    variants, (x, diff) = {name: Variant(name) for name in VARIANTS}, sample(args.size)
    result['differences'] = differences(variants, x, diff)
    result['work'] = count(variants['ours, contiguous'].net)
    seconds, product = timings(variants, x, diff, args.repeats)
    result['sgemm_rate'] = SGEMM ** 3 / product
    result['rows'] = rows(seconds, peaks, result['work'], result['sgemm_rate'])
    print(table(result))
    if args.json:
        Path(args.json).parent.mkdir(parents=True, exist_ok=True)
        Path(args.json).write_text(json.dumps(result, indent=1) + '\n')


if __name__ == '__main__':
    main()
