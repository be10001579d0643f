"""Rewrite old nets and solvers in today's form (tools/upgrade_*.cpp of Caffe)."""

import logging
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from .. import glog
from ..errors import FcnError, located
from ..proto.detect import forks
from ..proto.dialects import BVLC, Dialect, dialect_of, dialects, find_dialect
from ..proto.prototxt import read_message, read_net, read_solver
from ..proto.upgrade import dialects_of_v1, upgrade_net, upgrade_solver
from .atomic import write_bytes, write_text
from .wire import Reader, read_caffemodel

log = logging.getLogger(__name__)

FilePath = str | os.PathLike
V1_WITH_TRANSFORM = {'DATA': 'data_param', 'IMAGE_DATA': 'image_data_param',
                     'WINDOW_DATA': 'window_data_param'}
FUTURE = 'Note that future Caffe releases will '


def upgrade_net_text(source: FilePath, target: FilePath, dialect: Dialect | str | None = None,
                     define: Mapping[str, object] = MappingProxyType({})) -> bool:
    """Write the net of a prototxt in today's form; returns whether it was an old one. Comments are
    lost. dialect, define: as for read_net. FcnError, and no file, where a part has no meaning in
    today's form: Caffe drops it."""
    found = dialect_of(read_net(source, dialect, define).message)
    net, old = upgraded_net(read_message(source, 'NetParameter', found, define), source)
    write_text(text_format.MessageToString(net), target)
    log.info('Wrote upgraded NetParameter text proto to %s', target,
             extra=glog.at('upgrade_net_proto_text.cpp', 49))
    return old


def upgrade_net_binary(source: FilePath, target: FilePath,
                       dialect: Dialect | str | None = None) -> bool:
    """Write a caffemodel in today's form; otherwise as upgrade_net_text, but that the layers' types
    tell the dialect alone."""
    message = (find_dialect(dialect) if dialect else dialect_of_binary(source))['NetParameter']()
    try:
        message.ParseFromString(Reader(source).map[:])
    except DecodeError:
        raise FcnError('is cut short, damaged or no NetParameter', file=str(source),
                       do='Give a .caffemodel, or copy it again.') from None
    if not (message.layer or message.layers):
        raise FcnError('has no layer: it is no net with weights', file=str(source),
                       do='Give a .caffemodel.')
    net, old = upgraded_net(message, source)
    write_bytes(net.SerializeToString(), target)
    log.info('Wrote upgraded NetParameter binary proto to %s', target,
             extra=glog.at('upgrade_net_proto_binary.cpp', 48))
    return old


def dialect_of_binary(source: FilePath) -> Dialect:
    """The dialect of the numbers in a caffemodel, by its layers' types. FcnError where several
    dialects have all of them, or none."""
    layers = read_caffemodel(source)
    numbers = {layer.number for layer in layers if layer.number is not None}
    own = {layer.type for layer in layers} & {name for fork in forks() for name in (
        *fork.types, *fork.lacking) if name not in fork.as_bvlc}
    if not numbers and not own:
        return BVLC
    full = {layer.number for layer in layers if layer.blobs and layer.number is not None}
    found = dialects_of_v1(numbers, full) if numbers else [
        fork for fork in forks() if own <= {*fork.types, *fork.lacking}]
    if len(found) == 1:
        return found[0]
    names = [each.name for each in found] or list(dialects())
    what = ', '.join(sorted(own or map(str, numbers)))
    raise FcnError(f'{"several dialects have" if found else "no dialect has"} the types of its '
                   f'layers: {what}', file=str(source),
                   code='which-dialect', facts={'dialects': ', '.join(names)},
                   do=f'Give the dialect, one of {", ".join(names)}.')


def upgrade_solver_text(source: FilePath, target: FilePath, dialect: Dialect | str | None = None,
                        define: Mapping[str, object] = MappingProxyType({})) -> bool:
    """Write the solver of a prototxt with its type as a name; otherwise as upgrade_net_text. Nets
    inside it stay as they are."""
    found = dialect_of(read_solver(source, dialect, define).message)
    solver = read_message(source, 'SolverParameter', found, define)
    old = solver.HasField('solver_type')
    if old:
        log.info("Attempting to upgrade input file specified using deprecated 'solver_type' field "
                 "(enum)': %s", source, extra=glog.at('upgrade_proto.cpp', 1084))
        with located(str(source)):
            solver = upgrade_solver(solver)
        log.info("Successfully upgraded file specified using deprecated 'solver_type' field (enum) "
                 "to 'type' field (string).", extra=glog.at('upgrade_proto.cpp', 1091))
        log.warning("%sonly support 'type' field (string) for a solver's type.", FUTURE,
                    extra=glog.at('upgrade_proto.cpp', 1093))
    else:
        log.error('File already in latest proto format: %s', source,
                  extra=glog.at('upgrade_solver_proto_text.cpp', 43))
    write_text(text_format.MessageToString(solver), target)
    log.info('Wrote upgraded SolverParameter text proto to %s', target,
             extra=glog.at('upgrade_solver_proto_text.cpp', 49))
    return old


def upgraded_net(net: Any, source: FilePath) -> tuple[Any, bool]:
    """(the net in today's form, whether it was an old one), with the lines that Caffe logs."""
    due = steps(net)
    if not due:
        log.error('File already in latest proto format: %s', source,
                  extra=glog.at('upgrade_net_proto_text.cpp', 43))
        return net, False
    for line, what, *_ in due:
        log.info('Attempting to upgrade %s: %s', what, source,
                 extra=glog.at('upgrade_proto.cpp', line))
    if net.input and not net.input_shape and not net.input_dim:
        net.ClearField('input')             # a caffemodel that names its inputs alone
    with located(str(source)):
        net, _ = upgrade_net(net, [None] * (len(net.layers) or len(net.layer)))
    for line, _, success, warning in due:
        log.info('Successfully upgraded %s', success, extra=glog.at('upgrade_proto.cpp', line))
        if warning:
            log.warning('%s%s', FUTURE, warning, extra=glog.at('upgrade_proto.cpp', line))
    return net, True


def steps(net: Any) -> list[tuple[int, str, str, str]]:
    """(line in upgrade_proto.cpp, what is upgraded, what was, warning) of each upgrade that a net
    needs, in Caffe's order."""
    deprecated, specified = 'input file specified using deprecated ', 'file specified using '
    found = []
    if any(layer.HasField('layer') for layer in net.layers):
        found.append((28, f'{deprecated}V0LayerParameter',
                      f'{specified}deprecated V0LayerParameter',
                      'not support V0NetParameter; use upgrade_net_proto_text for prototxt and '
                      'upgrade_net_proto_binary for model weights upgrade this and any other net '
                      'protos to the new format.'))
    if any(has_old_transform(layer) for layer in net.layers):
        found.append((46, f'{deprecated}transformation parameters',
                      f'{specified}deprecated data transformation parameters.',
                      'only support transform_param messages for transformation fields.'))
    if net.layers:
        found.append((55, f'{deprecated}V1LayerParameter',
                      f'{specified}deprecated V1LayerParameter', ''))
    if net.input:
        found.append((69, f'{deprecated}input fields', f'{specified}deprecated input fields.',
                      'only support input layers and not input fields.'))
    if any(layer.type == 'BatchNorm' and len(layer.param) == 3 for layer in net.layer):
        found.append((79, 'batch norm layers using deprecated params',
                      'batch norm layers using deprecated params.', ''))
    return found


def has_old_transform(layer: Any) -> bool:
    """Whether a V1 data layer has its scale, mean, crop or mirror among its data_param."""
    name = V1_WITH_TRANSFORM.get(layer.LayerType.Name(layer.type), '')
    return bool(name) and any(getattr(layer, name).HasField(field)
                              for field in ('scale', 'mean_file', 'crop_size', 'mirror'))
