"""Caffe's own command and tools, by their names, flags and log.

    fcn-repro caffe train --solver=examples/mnist/lenet_solver.prototxt
    fcn-repro caffe test --model=lenet_train_test.prototxt --weights=lenet.caffemodel
    fcn-repro caffe convert_imageset --resize_height=256 --resize_width=256 photos/ list.txt lmdb
"""

import argparse
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from ... import glog
from ...data.image import limit_pixels
from ...errors import FcnError, nearest
from .gflags import parse, usage

PROG = 'fcn-repro caffe'
NO_USER_CODE = '--no-user-code'     # as the other commands have it: --nouser_code for gflags
ACTIONS = {         # one module each
    'train': 'train or finetune a model',
    'test': 'score a model',
    'time': 'benchmark the time of each layer',
    'device_query': 'show GPU diagnostic information',
    'convert_imageset': 'make a database of a list of images',
    'convert_mnist_data': 'make a database of the IDX files of MNIST',
    'convert_cifar_data': 'make the two databases of CIFAR-10',
    'compute_image_mean': 'write the mean image of a database',
    'extract_features': 'write blobs of a net to databases',
    'upgrade_net_proto_text': 'write an old prototxt in today\'s form',
    'upgrade_net_proto_binary': 'write an old caffemodel in today\'s form',
    'upgrade_solver_proto_text': 'write an old solver prototxt in today\'s form',
    'parse_log': 'write tables of a training log',
    'plot_training_log': 'draw a chart of training logs',
    'draw_net': 'draw a net as a graph',
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = f'{PROG} [{NO_USER_CODE}] ACTION [FLAGS] [--max-pixels=N] ' \
        '[--dialect=NAME] [--define=NAME=VALUE] ...'
    width = max(map(len, ACTIONS))
    parser.epilog = 'actions:\n' + '\n'.join(
        f'  {name:{width}}  {text}' for name, text in ACTIONS.items()) + \
        f'\n\n{PROG} ACTION --help lists the flags of an action. With {NO_USER_CODE}, nets whose ' \
        'Python\nlayers are not of this project are refused.'
    parser.add_argument('words', nargs=argparse.REMAINDER, metavar='ACTION',
                        help='an action and its flags')


def run_words(words: Sequence[str]) -> int | None:
    """Run an action of the command line `words`; its exit status. FcnError for an unknown action
    or flag, and as the action says."""
    name = next((word for word in words if not word.startswith('-')), None)
    action = next((word for word in words if word in ACTIONS), name)
    if action not in ACTIONS:
        raise FcnError(f"unknown action '{action}'" if action else 'no action is given',
                       do=f'{nearest(action or "", ACTIONS)} Actions: {", ".join(ACTIONS)}.'
                       .lstrip())
    rest = ['--nouser_code' if word == NO_USER_CODE else word for word in words]
    rest.remove(action)
    module = load(action)
    if hasattr(module, 'add_arguments'):        # a script of Python in Caffe, with argparse
        parser = argparse.ArgumentParser(
            prog=f'{PROG} {action}', description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter)
        module.add_arguments(parser)
        return module.run(parser.parse_args(rest))
    flags, args = parse(rest, module.FLAGS)
    if flags.help:
        print(f'usage: {PROG} {action} {module.USAGE}\n\n{module.__doc__}\nflags:\n'
              f'{usage(module.FLAGS)}\n\nglog\'s flags: {", ".join(glog.SETTINGS)}; its others are '
              'taken, without effect')
        return None
    least, most = getattr(module, 'WORDS', (0, 0))
    if not least <= len(args) <= most:
        raise FcnError(f'{len(args)} arguments for {action}', do=f'Usage: {PROG} {action} '
                       f'{module.USAGE}.')
    if hasattr(flags, 'max_pixels'):
        limit_pixels(flags.max_pixels)
    glog.setup(action if action not in ('train', 'test', 'time', 'device_query') else 'caffe',
               vars(flags))
    return module.run(flags, args)


def load(action: str) -> ModuleType:
    """The module of an action."""
    return import_module(f'.{action}', __package__)


def run(args: argparse.Namespace) -> int | None:
    return run_words(args.words)
