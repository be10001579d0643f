"""Check nets as their authors published them, in a folder of your own copies of the repositories.

    python tools/check_originals.py originals

A repository of docs/originals.md is a folder of its name, a branch of it NAME@BRANCH. Each file is
read as it is, and its dialect compared with tests/originals.json; where that has figures, so are
parameters, blobs and multiply-adds (of convolutions and deconvolutions, for one image), without
data or weights: nothing is allocated. The status is 1 where a net departs.
"""

import argparse
import hashlib
import json
import sys
from collections import Counter
from pathlib import Path

from fcn_repro.cli.reporting import report_errors
from fcn_repro.errors import FcnError
from fcn_repro.net.lookalikes import CHECKED
from fcn_repro.proto import dialect_of
from fcn_repro.proto.prototxt import read_net
from fcn_repro.viewer import drawn

TABLE = Path(__file__).parents[1] / 'tests/originals.json'
CLOSE = 1e-3            # of multiply-adds
PRODUCTS = 'Convolution', 'Deconvolution'
OK, OTHER, DEPARTS, ABSENT = 'ok', 'ok, other contents', 'DEPARTS', 'not there'


def check(file, facts, define):
    """(verdict, what departs or '') of one net."""
    try:
        with open(file, 'rb') as opened:
            same = hashlib.file_digest(opened, 'sha256').hexdigest() == facts['sha256']
    except FileNotFoundError:
        return ABSENT, ''
    try:
        wrong = [*dialect_of_text(file, facts, define), *figures(file, facts, define)]
    except FcnError as error:
        wrong = [str(error)]
    return (DEPARTS if wrong else OK if same else OTHER), '; '.join(wrong)


def dialect_of_text(file, facts, define):
    """What departs of the dialect that the text tells; it tells none that has to be named."""
    found = dialect_of(read_net(file, define=define).message).name
    if found not in CHECKED if facts.get('named') else found != facts['dialect']:
        yield f"dialect '{found}', not '{facts['dialect']}'"


def figures(file, facts, define):
    """What departs of a net's figures."""
    if 'parameters' not in facts:
        return
    size = facts.get('size')
    shapes = {blob: tuple(shape) for blob, shape in facts.get('shapes', {}).items()}
    net = drawn(file, facts.get('phase', 'TEST'), size and tuple(size), shapes, define=define,
                dialect=facts['dialect'] if facts.get('named') else None)
    unknown = sorted({item.node.type for item in net.items if not item.known and item.tops})
    if unknown:
        yield f'layers that are not computed: {", ".join(unknown)}'
    if net.params != facts['parameters']:
        yield f'{net.params:,} parameters, not {facts["parameters"]:,}'
    images = next((shape[0] for blob in net.blobs.values() if (shape := blob.shape)), 1)
    gmac = sum(item.macs or 0 for item in net.items if item.node.type in PRODUCTS) / images / 1e9
    if abs(gmac / facts['gmac'] - 1) > CLOSE:
        yield f'{gmac:.4g} G multiply-adds, not {facts["gmac"]:.4g}'
    for name, wanted in facts.get('blobs', {}).items():
        shape = net.blobs[net.graph.last(name)].shape
        if shape is None or list(shape[1:]) != wanted:
            yield f"'{name}' is {shape}, not {wanted} for each image"


@report_errors()
def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', help='with a folder for each repository')
    args = parser.parse_args(argv)
    table, counts = json.loads(TABLE.read_text()), Counter()
    if not Path(args.folder).is_dir():
        raise FcnError('there is no such folder', file=args.folder, do='Check the path.')
    for name, repository in table['repositories'].items():
        for path, facts in repository['nets'].items():
            verdict, what = check(Path(args.folder, name, path), facts, table['define'])
            counts[verdict] += 1
            if verdict != ABSENT:
                print(f'{verdict:18}  {name}/{path}' + (f': {what}' if what else ''))
    print(', '.join(f'{count} {verdict}' for verdict, count in counts.items()))
    return 1 if counts[DEPARTS] or set(counts) == {ABSENT} else 0


if __name__ == '__main__':
    sys.exit(main())
