"""The authors' prototxt files of FCN's successors as digests of their layers, with which nets are
compared message for message; the files themselves are not kept here.

    python tests/support/original_nets.py FILE [NAME=VALUE ...]     prints the digests of a file
"""

import hashlib
import sys
from pathlib import Path

from google.protobuf import text_format

from fcn_repro.proto.prototxt import parse_net

# Data, and what writes results or takes no part in them
LEFT_OUT = ('ImageSegData', 'HDF5Data', 'Input', 'Python', 'MatWrite', 'Silence')
LOSS = 'SoftmaxWithLoss'
MARK = 4            # characters of a layer's digest that are kept


def layer_text(layer):
    """A layer as one line; the top of a loss, which Caffe makes up, left out."""
    copy = type(layer)()
    copy.CopyFrom(layer)
    if copy.type == LOSS:
        del copy.top[:]
    return text_format.MessageToString(copy, as_one_line=True)


def texts_of(net, left_out=()):
    """The texts of a NetParameter's layers but for data, results and the names given."""
    return [layer_text(layer) for layer in net.layer
            if layer.type not in LEFT_OUT and layer.name not in left_out]


def digests(texts):
    """{'layers': how many, 'sha256': of all texts, 'marks': MARK characters for each layer}."""
    marks = ''.join(hashlib.sha256(text.encode()).hexdigest()[:MARK] for text in texts)
    whole = hashlib.sha256('\n'.join(texts).encode()).hexdigest()
    return {'layers': len(texts), 'sha256': whole, 'marks': marks}


def first_difference(texts, wanted):
    """The text of the first layer whose mark is another one than wanted; None if all agree."""
    marks = digests(texts)['marks']
    for i, text in enumerate(texts):
        if marks[MARK * i:MARK * (i + 1)] != wanted['marks'][MARK * i:MARK * (i + 1)]:
            return text
    return None


if __name__ == '__main__':
    defined = dict(word.partition('=')[::2] for word in sys.argv[2:])
    text = parse_net(Path(sys.argv[1]).read_text(), sys.argv[1], define=defined)
    print(digests(texts_of(text.message)))
