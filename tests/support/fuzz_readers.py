"""Feed mutations of real files to a reader; status 1 if one of them fails.

    python tests/support/fuzz_readers.py weights --seconds 60

An input fails that raises anything but FcnError, takes over a second or grows the memory; it is
saved and listed. Each batch runs in a process of its own with limited memory, so that a crash is
found too.
"""

import argparse
import os
import random
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

DATA = Path(__file__).parents[1] / 'data'
BATCH, SECOND, HANGS, ROOM = 200, 1.0, 10, 1 << 30
NUMBERS = (b'\x00', b'\x7f', b'\x80\x01', b'\xff' * 9 + b'\x01', b'\xff\xff\xff\xff\x07',
           b'\x80\x80\x80\x80\x80\x80\x80\x80\x40')
WORDS = (b'{', b'}', b'"', b'-1', b'4000000000', b'9223372036854775807', b'nan', b'layer', b'top',
         b'bottom', b'data', b'dim: 0', b'#', b'\\', b'\xff', b'[', b']', b'\n')


def read_weights(path):
    from fcn_repro.formats.weights import read_weights
    return read_weights(path)


def read_state(path):
    from fcn_repro.formats.weights import read_solverstate
    return read_solverstate(path)


def read_mean(path):
    from fcn_repro.formats.weights import read_binaryproto
    return read_binaryproto(path)


def read_net(path):
    from fcn_repro.net import Net
    return Net.read(path, 'TEST')


def read_solver(path):
    from fcn_repro.proto.prototxt import read_solver
    return read_solver(path)


def read_golden(path):
    from fcn_repro.parity.golden import read_golden
    return read_golden(path)


def read_image(path):
    from fcn_repro.data.image import read_image
    return read_image(path)


READERS = {         # reader: its function, and what it is fed with
    'weights': (read_weights, 'weights/*.caffemodel'),
    'weights-hdf5': (read_weights, 'weights/*.caffemodel.h5'),
    'state': (read_state, 'weights/*.solverstate'),
    'state-hdf5': (read_state, 'weights/*.solverstate.h5'),
    'mean': (read_mean, 'weights/*.binaryproto'),
    'net': (read_net, 'formats/*.prototxt'),
    'layer': (read_net, 'layers/*.prototxt'),
    'solver': (read_solver, 'formats/solver_*.prototxt'),
    'golden': (read_golden, 'layers/*.h5'),
    'image': (read_image, '../../docs/*.jpg'),
}


def seeds(reader):
    """The bytes of the real files that a reader's inputs are made of, small ones."""
    paths = sorted(DATA.glob(READERS[reader][1]))
    return [data for data in (path.read_bytes() for path in paths) if len(data) < 200_000]


def mutate(data, others, rng):
    """The bytes with one to four changes: cut, flip, splice, repeat, or put something odd in."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(out) + 1), rng.choice((1, 2, 4, 16, 64, 1024))
        kind = rng.randrange(8)
        if kind == 0:
            del out[at:]
        elif kind == 1 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 2 and at < len(out):
            out[at] = rng.randrange(256)
        elif kind == 3:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            out[at:at + length] = other[start:start + length]
        elif kind == 4:
            out[at:at] = out[at:at + length] * rng.choice((1, 2, 50))
        elif kind == 5:
            del out[at:at + length]
        elif kind == 6:
            out[at:at + rng.randrange(3)] = rng.choice(NUMBERS)
        else:
            out[at:at + rng.randrange(6)] = rng.choice(WORDS)
    return bytes(out[:300_000])


def attempt(read, path):
    """What is wrong with how a file is read: '' where it is read or refused, in time."""
    from fcn_repro.errors import FcnError
    start = time.process_time()
    try:
        read(path)
    except FcnError as error:
        if len(str(error)) > 8000:
            return f'an error of {len(str(error))} characters'
    except Exception as error:
        return f'{type(error).__name__}: {error}'.split('\n')[0]
    seconds = time.process_time() - start
    return f'took {seconds:.1f} s' if seconds > SECOND else ''


def batch(reader, seed, folder, found):
    """In a child process: BATCH inputs; writes a line for each that is wrong."""
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    room = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    rng, files, read = random.Random(seed), seeds(reader), READERS[reader][0]
    for i in range(BATCH):
        path = folder / f'{reader}-{seed}-{i}'
        path.write_bytes(mutate(rng.choice(files), files, rng))
        (folder / 'now').write_text(str(path))
        signal.alarm(HANGS)
        wrong = attempt(read, path)
        if wrong:
            os.write(found, f'{path}: {wrong}\n'.encode())
        else:
            path.unlink()


def run_batch(reader, seed, folder):
    """The lines of a batch; one for the input that ended its process, where one did."""
    into, found = os.pipe()
    child = os.fork()
    if not child:
        os.close(into)
        try:
            batch(reader, seed, folder, found)
        finally:
            os._exit(0)
    os.close(found)
    with os.fdopen(into, 'rb') as pipe:
        lines = pipe.read().decode().splitlines()
    status = os.waitpid(child, 0)[1]
    if status:
        lines.append(f"{(folder / 'now').read_text()}: ended its process, status {status}")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('reader', choices=READERS)
    parser.add_argument('--seconds', type=float, default=60)
    parser.add_argument('--inputs', type=int, default=10 ** 9, help='at most so many')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--keep', type=Path, help='folder for the inputs that go wrong')
    args = parser.parse_args()
    folder = args.keep or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    read_net(DATA / 'layers/relu.prototxt')         # imports what the children share
    start, count, wrong = time.monotonic(), 0, []
    while time.monotonic() - start < args.seconds and count < args.inputs:
        lines = run_batch(args.reader, args.seed + count, folder)
        print(*lines, sep='\n', end='\n' * bool(lines), flush=True)
        count, wrong = count + BATCH, wrong + lines
    print(f'{args.reader}: {count} inputs, {len(wrong)} wrong, {time.monotonic() - start:.0f} s')
    sys.exit(bool(wrong))


if __name__ == '__main__':
    main()
