"""The flags that say which GPU and which part of a net, for the actions that run nets."""

import argparse
import logging
from typing import Any

import torch

from ...errors import FcnError
from ...glog import at
from ...proto.dialects import find_dialect
from ..arguments import defines_of
from .gflags import Flag

log = logging.getLogger(__name__)

GPU = Flag('gpu', '', "run on this GPU; 'all': on the only one")
MODEL = Flag('model', '', 'the net, a prototxt')
WEIGHTS = Flag('weights', '', 'caffemodels, separated by commas')
LEVEL = Flag('level', 0, "the net's level")
STAGE = Flag('stage', '', "the net's stages, separated by commas")
USER_CODE = Flag('user_code', True, "let nets have Python layers of one's own; "
                 '--no-user-code refuses them, and imports nothing of theirs')
DIALECT = (Flag('dialect', '', 'the fork of Caffe that the net was written for '
                '(found by what it holds without it)'),
           Flag('define', '', 'values of the ${NAME} in nets and solvers, NAME=VALUE with commas '
                'between them, or several times', repeats=True))
ITERATIONS = Flag('iterations', 50, 'how many to run')


def pick(gpu: str, wanted: bool = False, number: int = 0) -> str:
    """The torch device of the flag --gpu; wanted: the solver asks for GPU `number`.

    FcnError for several GPUs, and where torch does not see the one that the flag names. A solver
    that asks for a GPU runs on the CPU without one, with a warning.
    """
    count = torch.cuda.device_count()
    if gpu == 'all':
        gpu = ','.join(map(str, range(count)))
    ids = [word.strip() for word in gpu.split(',') if word.strip()]
    if not all(word.isdecimal() for word in ids):
        raise FcnError(f"gpu is '{gpu}'", do='Give the number of a GPU, or all.')
    if len(ids) > 1:
        raise FcnError(f'{len(ids)} GPUs ({gpu}), but a net runs in one process, on one, here',
                       do='Give one number; iter_size makes up for the larger batch, and docs/'
                          'cluster.md has what trains on several.')
    if ids and int(ids[0]) >= count:
        raise FcnError(f'GPU {ids[0]} is not there: torch sees {count}',
                       do='Leave the flag gpu out to use the CPU.')
    if not ids and wanted:
        if number < count:
            ids = [str(number)]
        else:
            log.warning('solver_mode is GPU, but torch sees no GPU %d: the CPU is used', number)
    if not ids:
        log.info('Use CPU.', extra=at('caffe.cpp', 197))
        return 'cpu'
    log.info('Using GPUs %s', ids[0], extra=at('caffe.cpp', 204))
    log.info('GPU %s: %s', ids[0], torch.cuda.get_device_name(int(ids[0])),
             extra=at('caffe.cpp', 209))
    return f'cuda:{ids[0]}'


def stages(flags: argparse.Namespace) -> tuple[str, ...]:
    """The stages that a command line names."""
    return tuple(word for word in flags.stage.split(',') if word)


def fork(flags: argparse.Namespace) -> dict[str, Any]:
    """What the flags of DIALECT give, as read_net takes it."""
    return {'dialect': find_dialect(flags.dialect) if flags.dialect else None,
            'define': defines_of([text for text in getattr(flags, 'define', '').split(',')
                                  if text])}


def need(flags: argparse.Namespace, name: str, what: str) -> None:
    """FcnError where a flag that an action needs is missing."""
    if not getattr(flags, name):
        raise FcnError(f'Need {what}', do=f'Give -{name}=….')
