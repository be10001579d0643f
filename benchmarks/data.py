#!/usr/bin/env python3
"""Reading an LMDB of 256x256 JPEGs: crop 227, mirror, mean; ours and torch's DataLoader.

    python benchmarks/data.py [--images 512] [--batch 64] [--runs 5] [--threads 2] [--json FILE]

Images per second, of which training must not take more; the target is 300 on two cores. Both read
the same records and make the same batches, of `threads` workers: ours are threads, the peer's
processes (lmdb, Pillow and numpy in a torch DataLoader). The pictures are smooth with noise, of
about 20 kB each, as photographs of that size are.
"""

import io
import tempfile
from pathlib import Path

import lmdb
import numpy as np
import torch
from PIL import Image
from timing import OURS, arguments, measure, prepare, write

from fcn_repro.cli.reporting import report_errors
from fcn_repro.formats.database import Writer
from fcn_repro.formats.datum import Datum, encode_file
from fcn_repro.net import Net
from fcn_repro.net.graph import build
from fcn_repro.net.placement import place
from fcn_repro.proto import BlobProto
from fcn_repro.proto.prototxt import parse_net

SIZE, CROP, TARGET = 256, 227, 300


def make(folder, images):
    """A database `db` of JPEGs and their mean."""
    rng = np.random.default_rng(0)
    with Writer(folder / 'db') as writer:
        for i in range(images):
            coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
            smooth = np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC), float)
            noisy = smooth + rng.normal(0, 8, (SIZE, SIZE, 3))
            out = io.BytesIO()
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(out, 'JPEG', quality=90)
            writer.put(b'%08d' % i, encode_file(out.getvalue(), i % 1000))
    (folder / 'mean.binaryproto').write_bytes(BlobProto(
        num=1, channels=3, height=SIZE, width=SIZE, data=[110] * 3 * SIZE * SIZE)
        .SerializeToString())


def ours(folder, batch, workers):
    """A function that gives the next batch of a Data layer."""
    text = f'''layer {{ name: "data" type: "Data" top: "data" top: "label"
        transform_param {{ crop_size: {CROP} mirror: true mean_file: "mean.binaryproto" }}
        data_param {{ source: "db" backend: LMDB batch_size: {batch} }} }}'''
    net = Net(build(parse_net(text, 'net.prototxt'), 'TRAIN'), search=folder)
    place(net, workers=workers)
    return net.forward


class Records(torch.utils.data.Dataset):
    """What a user of torch writes: one record of the database, decoded and cut at random."""

    def __init__(self, folder, images):
        self.folder, self.images, self.env = folder, images, None
        self.mean = np.full((3, SIZE, SIZE), 110, np.float32)

    def __len__(self):
        return 1 << 40

    def __getitem__(self, k):
        if self.env is None:
            self.env = lmdb.open(str(self.folder / 'db'), readonly=True, lock=False)
        with self.env.begin() as transaction:
            datum = Datum.FromString(transaction.get(b'%08d' % (k % self.images)))
        image = np.array(Image.open(io.BytesIO(datum.data)))[:, :, ::-1].transpose(2, 0, 1)
        top, left, mirror = np.random.randint((SIZE - CROP + 1, SIZE - CROP + 1, 2))
        cut = np.s_[:, top:top + CROP, left:left + CROP]
        out = image[cut].astype(np.float32) - self.mean[cut]
        return np.ascontiguousarray(out[:, :, ::-1] if mirror else out), np.float32(datum.label)


def peer(folder, images, batch, workers):
    """A function that gives the next batch of a DataLoader, on a copy of the database: LMDB
    allows one handle a process, and its processes are forked from this one."""
    loader = torch.utils.data.DataLoader(Records(folder, images), batch, num_workers=workers)
    batches = iter(loader)
    return lambda: next(batches)


def compare(args):
    """Rows of one group."""
    with tempfile.TemporaryDirectory() as ours_at, tempfile.TemporaryDirectory() as peers_at:
        for folder in ours_at, peers_at:
            make(Path(folder), args.images)
        theirs = peer(Path(peers_at), args.images, args.batch, args.threads)
        theirs()                                    # its processes start before our threads
        functions = {OURS: ours(Path(ours_at), args.batch, args.threads),
                     'lmdb, Pillow, numpy in a DataLoader': theirs}
        rows = [row for way, function in functions.items() for row in alone(way, function, args)]
    by_way = {row['way']: row for row in rows}
    for row in rows:
        row['ratio'] = row['median'] / by_way[OURS]['median']
    return rows


def alone(way, function, args):
    """One way's rows: not in turns, since each reads ahead while the other has its turn."""
    def several():
        for _ in range(args.batches):
            function()

    rows = measure(f'data, {way}', {'batch': args.batch, 'batches': args.batches}, {OURS: several},
                   args, warm=False)
    return [{**rows[0], 'group': 'data', 'way': way,
             'images/s': args.batches * args.batch / rows[0]['median']}]


@report_errors()
def main():
    parser = arguments(__doc__, 5)
    parser.add_argument('--images', type=int, default=512, help='in the database')
    parser.add_argument('--batch', type=int, default=64)
    parser.add_argument('--batches', type=int, default=8, help='a round: more than are read ahead')
    args = parser.parse_args()
    machine = prepare(args)
    rows = compare(args)
    write(args.json, machine, rows)
    for row in rows:
        print(f'{row["way"]:42}{row["images/s"]:9.0f} images/s, {row["ratio"]:.2f} times ours')
    print(f'target: {TARGET} images/s: '
          f'{"met" if rows[0]["images/s"] >= TARGET else "NOT MET"}')


if __name__ == '__main__':
    main()
