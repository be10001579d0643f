"""A caffemodel of VGG16's size to HDF5: tools/convert_caffemodel.py against plain protobuf.

    python benchmarks/weights.py [--rounds 3]

Writes a caffemodel of 136 million parameters (545 MB) into a temporary folder and converts it by
turns: by the tool, and as one writes it with the protobuf package, NetParameter.FromString and
np.array(blob.data). Seconds are wall time of a whole process; memory is its largest resident size,
of which a mapped file is a part. Then the HDF5 is loaded into a net. 2 GB of disk.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

from fcn_repro.net import Net
from fcn_repro.proto import TEST, NetParameter

ROOT = Path(__file__).parents[1]
NET = ROOT / 'prototxt/voc-fcn32s/deploy.prototxt'


def by_protobuf(source, target):
    """The usual importer: message, list of floats, array, file."""
    net = NetParameter.FromString(Path(source).read_bytes())
    with h5py.File(target, 'w') as file:
        for layer in net.layer:
            for i, blob in enumerate(layer.blobs):
                file[f'data/{layer.name}/{i}'] = np.array(blob.data, np.float32).reshape(
                    blob.shape.dim)


def timed(command):
    """(seconds, MB resident) of a process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL,
                               env={**os.environ, 'PYTHONPATH': str(ROOT)})
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f'{command} failed')
    return time.perf_counter() - start, usage.ru_maxrss * 1024 / 1e6


def load_times(net, path, rounds):
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        net.copy_from(path)
        times.append(time.perf_counter() - start)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--protobuf', nargs=2, metavar=('IN', 'OUT'), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.protobuf:
        by_protobuf(*args.protobuf)
        return
    net = Net.read(NET, TEST)
    for blob in net.learnable_params:
        blob.parameter.data.normal_(std=0.01)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, 'vgg16.caffemodel')
        net.save(source)
        size = source.stat().st_size / 1e6
        ways = {'convert_caffemodel.py': [ROOT / 'tools/convert_caffemodel.py', source],
                'protobuf': [__file__, '--protobuf', source]}
        runs = {name: [] for name in ways}
        for _ in range(args.rounds):
            for name, command in ways.items():
                target = Path(folder, f'{name}.h5')
                target.unlink(missing_ok=True)
                runs[name].append(timed([sys.executable, *map(str, command), str(target)]))
        print(f'{size:.0f} MB, {args.rounds} rounds')
        for name, found in runs.items():
            seconds, memory = zip(*found, strict=True)
            print(f'{name:22} median {statistics.median(seconds):5.2f} s, best {min(seconds):5.2f} '
                  f's, {max(memory):5.0f} MB resident, {max(memory) - size:5.0f} beyond the file')
        times = load_times(net, Path(folder, 'convert_caffemodel.py.h5'), args.rounds)
        print(f'HDF5 into the net      median {statistics.median(times):5.2f} s, best '
              f'{min(times):5.2f} s')


if __name__ == '__main__':
    main()
