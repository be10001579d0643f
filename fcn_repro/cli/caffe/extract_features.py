"""Run a net on its own data and store blobs of it as databases."""

import argparse

from ...errors import FcnError
from ...formats.converters import check_backend
from ...net.placement import pick_device, place
from ...paths import ANYWHERE
from ...predict.features import extract_features
from ...proto import TEST
from ...pycaffe.mode import set_user_code
from ...pycaffe.userlayer import UserNet, search_here
from ...sizes import LARGEST
from .device import DIALECT, USER_CODE, fork
from .gflags import MAX_PIXELS

USAGE = ('PRETRAINED_NET_PARAM FEATURE_EXTRACTION_PROTO_FILE BLOB_NAME1[,NAME2,...] '
         'DATASET_NAME1[,NAME2,...] NUM_MINI_BATCHES DB_TYPE [CPU/GPU] [DEVICE_ID=0]')
WORDS = 6, 8
FLAGS = USER_CODE, *DIALECT, MAX_PIXELS


def run(flags: argparse.Namespace, args: list[str]) -> None:
    weights, proto, names, databases, batches, kind, *where = args
    check_backend(kind, databases)
    count = whole(batches, 'NUM_MINI_BATCHES')
    search_here()
    set_user_code(flags.user_code)
    net = UserNet.read(proto, TEST, writes=ANYWHERE, weights=weights, **fork(flags))
    place(net, device_of(where))
    net.copy_from(weights)
    extract_features(net, names.split(','), databases.split(','), count)


def device_of(words: list[str]) -> str:
    """The torch device for [CPU/GPU] [DEVICE_ID]."""
    mode, number = [*words, *('CPU', '0')[len(words):]]
    if mode not in ('CPU', 'GPU'):
        raise FcnError(f"the mode is '{mode}'", do='Give CPU or GPU.')
    name = 'cpu' if mode == 'CPU' else f'cuda:{whole(number, "DEVICE_ID")}'
    return str(pick_device(name))


def whole(text: str, what: str) -> int:
    if not text.isdecimal():
        raise FcnError(f"{what}: '{text}' is no whole number", do='Give a number such as 10.')
    if len(text) > len(str(LARGEST)) or int(text) > LARGEST:
        raise FcnError(f'{what} is above {LARGEST}', do='Give a smaller number.')
    return int(text)
