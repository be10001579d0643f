#!/usr/bin/env python3
"""Our net in its precisions: time against our own fp32, and how many labels stay the same.

    python benchmarks/precision.py [--size 375x500] [--runs 10] [--threads 2] [--json FILE]
    python benchmarks/precision.py --net deploy.prototxt --weights FILE PHOTO …

The first is FCN-8s at VGG16 widths with random weights on noise: its times are those of any
weights, its labels say little. The second takes trained weights and photos, each at its own size;
times are sums over the photos. The variants take turns, every other round in reverse.
"""

import statistics

import torch
from nets import PROTOTXT, fill, of_ours, sample
from timing import alternate, arguments, parse_size, prepare, write

from fcn_repro.cli.reporting import report_errors
from fcn_repro.data.image import to_blob
from fcn_repro.errors import FcnError
from fcn_repro.net import Net, placement
from fcn_repro.passes import DEFAULT
from fcn_repro.predict.photos import find_photos, read_photo
from fcn_repro.proto import TEST
from fcn_repro.recipe.models import MEAN

FP32 = 'fp32'
VARIANTS = {            # {device: {name: options of placement.place}}
    'cpu': {FP32: {}, 'fp32, not prepacked': {'prepack': False}, 'bf16': {'precision': 'bf16'}},
    'cuda': {FP32: {}, 'fp32, no graphs': {'graphs': False}, 'tf32': {'precision': 'tf32'},
             'bf16': {'precision': 'bf16'}, 'bf16, no graphs': {'precision': 'bf16',
                                                               'graphs': False},
             'fp16': {'precision': 'fp16'}}}


def make(file, weights, device, options):
    """The net with its weights (none: random ones), in place."""
    net = Net.read(file, TEST, passes=DEFAULT)
    if weights is None:
        fill(of_ours(net))
    else:
        net.copy_from(weights)
    return placement.place(net, device, **options)


def forward(net, images):
    """Scores of all images, on their device."""
    with torch.inference_mode():
        out = [net(data=image)['score'] for image in images]
        if net.executor.replay is not None:
            torch.cuda.synchronize()
    return out


def compare(expected, scores):
    """Labels that stay the same, as a share of all pixels, and max|a - b| / max|b|."""
    pairs = list(zip(expected, scores, strict=True))
    same = sum(int((a.argmax(1) == b.argmax(1)).sum()) for a, b in pairs)
    away = max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)
    return {'equal_labels': same / sum(a[:, 0].numel() for a in expected), 'scores_differ': away}


def table(rows):
    lines = [f'{"":22}{"median":>10}{"best":>10}{"ratio":>7}{"equal labels":>14}{"scores":>9}']
    for r in rows:
        lines.append(f'{r["way"]:22}{1e3 * r["median"]:7.1f} ms{1e3 * r["best"]:7.1f} ms'
                     f'{r["faster"]:7.2f}{100 * r["equal_labels"]:12.3f} %'
                     f'{r["scores_differ"]:9.0e}')
    return '\n'.join([*lines, '\nratio: how many times faster than fp32, median over the rounds'])


def choices():
    parser = arguments(__doc__, 10)
    parser.add_argument('photos', nargs='*', metavar='PHOTO')
    parser.add_argument('--net', metavar='FILE', help='a deploy prototxt (default: FCN-8s)')
    parser.add_argument('--weights', metavar='FILE')
    parser.add_argument('--size', type=parse_size, default=(375, 500), metavar='HxW')
    args = parser.parse_args()
    if bool(args.weights) != bool(args.photos):
        raise FcnError('weights and photos belong together', do='Give both, or neither.')
    return args


@report_errors()
def main():
    args = choices()
    machine, device = prepare(args), placement.pick_device(args.device)
    file = args.net or PROTOTXT
    found = find_photos(args.photos)
    if found.faults:
        raise found.faults[0]
    photos = [read_photo(path).image for path in found.photos]
    images = [torch.as_tensor(to_blob(image, MEAN))[None] for image in photos] or \
        [sample(args.size)[0]]
    print(f'{file}, {args.weights or "random weights on noise"}, {len(images)} image(s)')
    nets = {name: make(file, args.weights, device, options)
            for name, options in VARIANTS[device.type].items()}
    scores = {name: forward(net, images) for name, net in nets.items()}
    seconds = alternate({name: lambda net=net: forward(net, images) for name, net in nets.items()},
                        args.runs, args.device, warm=False)
    rows = [{'way': name, 'median': statistics.median(times), 'best': min(times), 'seconds': times,
             'faster': statistics.median(a / b for a, b in zip(seconds[FP32], times, strict=True)),
             **compare(scores[FP32], scores[name])} for name, times in seconds.items()]
    print(table(rows))
    write(args.json, machine, rows, net=str(file), weights=args.weights, images=len(images))


if __name__ == '__main__':
    main()
