"""Show what torch knows of the GPUs: Caffe's `caffe device_query`."""

import argparse
import logging

import torch

from ...errors import FcnError
from ...glog import at
from . import device

log = logging.getLogger(__name__)

USAGE = '--gpu=ID[,ID...]'
FLAGS = (device.GPU,)


def run(flags: argparse.Namespace, args: list[str]) -> None:
    """FcnError for a GPU that torch does not see; 'all', or none, means all of them."""
    count = torch.cuda.device_count()
    log.info('Querying GPUs %s', flags.gpu, extra=at('caffe.cpp', 138))
    words = [word.strip() for word in flags.gpu.split(',') if word.strip()]
    ids = range(count) if words in ([], ['all']) else words
    if not count:
        log.warning('torch %s sees no GPU', torch.__version__)
    for each in ids:
        if not str(each).isdecimal() or len(str(each)) > 9 or int(each) >= count:
            raise FcnError(f"GPU '{each}' is not there: torch sees {count}",
                           do='Give the number of a GPU, or all.')
        query(int(each))


def query(number: int) -> None:
    """Log the properties of a GPU in the words of Caffe's DeviceQuery, as far as torch has them."""
    found = torch.cuda.get_device_properties(number)
    for name, value in (('Device id', number),
                        ('Major revision number', found.major),
                        ('Minor revision number', found.minor),
                        ('Name', found.name),
                        ('Total global memory', found.total_memory),
                        ('Warp size', found.warp_size),
                        ('Maximum threads per multiprocessor',
                         found.max_threads_per_multi_processor),
                        ('Number of multiprocessors', found.multi_processor_count)):
        log.info('%-31s%s', f'{name}:', value, extra=at('common.cpp', 170))
