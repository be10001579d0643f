"""Convert a caffemodel of any age (V0, V1, V2; float or double) to HDF5 in Caffe's own layout.

    python tools/convert_caffemodel.py vgg16.caffemodel vgg16.caffemodel.h5
    python tools/convert_caffemodel.py --inspect vgg16.caffemodel
"""

import argparse

from fcn_repro.errors import FcnError, tool
from fcn_repro.weights import modern, read_weights, write_hdf5


@tool
def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('input', help='caffemodel, or HDF5 in the same layout')
    parser.add_argument('output', nargs='?', help='HDF5 file to write')
    parser.add_argument('--inspect', action='store_true', help='print the table, write nothing')
    args = parser.parse_args()
    if args.inspect == bool(args.output):
        raise FcnError('give either OUT or --inspect', do='See --help.')

    weights = read_weights(args.input)
    layers = modern(weights)
    rows = [('layer', 'type', 'shapes', 'bytes')]
    for name, blobs in layers.items():
        blobs = [blob for blob in blobs if blob is not None]
        if blobs:
            rows.append((name, weights.types.get(name, ''), ' '.join(str(b.shape) for b in blobs),
                         f'{sum(b.nbytes for b in blobs):,}'))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for name, kind, shapes, size in rows:
        print(f'{name:<{widths[0]}}  {kind:<{widths[1]}}  {shapes:<{widths[2]}}  '
              f'{size:>{widths[3]}}')
    total = sum(b.size for blobs in layers.values() for b in blobs if b is not None)
    print(f'{len(rows) - 1} layers with weights of {len(layers)}, {total:,} parameters '
          f'({weights.format})')

    if args.output:
        write_hdf5(args.output, layers)
        print(f'wrote {args.output}')


if __name__ == '__main__':
    main()
