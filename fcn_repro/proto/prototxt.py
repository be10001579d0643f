"""Read nets and solvers from prototxt text: parse, upgrade, filter for a phase."""

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from google.protobuf import text_format

from ..errors import FcnError, nearest
from ..files import read_regular
from ..memory import collector_paused
from ..sniff import check_text
from . import TEST, TRAIN
from .define import defined
from .detect import Blobs, detect, words
from .dialects import BVLC, UNION, Dialect, dialect_of, dialects_with, find_dialect, of_dialects
from .plain import parse_plain
from .scan import LAYER, Occurrence, check_utf8, scan
from .union import union
from .upgrade import apply_rules, upgrade_net, upgrade_solver

log = logging.getLogger(__name__)

PROTOTXT_HERE = 'Give the .prototxt here; pass a .caffemodel or .h5 as weights.'
BACKSLASHES = 100 * '\\'
PHASES: dict[int | str, int] = {'TRAIN': TRAIN, 'TEST': TEST}


@dataclass(frozen=True)
class NetText:
    """A net as current (V2) layers. message: a NetParameter; lines[i]: the line in file of
    message.layer[i]; named: whether the dialect was given, not found by what the text holds;
    found: by what, in words, where that is a fork's."""
    message: Any
    file: str
    lines: tuple[int | None, ...]
    named: bool = True
    found: str = ''


@dataclass(frozen=True)
class SolverText:
    """A solver with `type` as a name. message: a SolverParameter; lines: first line of each
    top-level field; text: as read; dialect: that was given, None: each net's own; define: values of
    the ${NAME} in its nets."""
    message: Any
    file: str
    lines: dict[str, int]
    text: str
    dialect: Dialect | None = BVLC
    define: Mapping[str, object] = field(default_factory=dict)

    def inline_nets(self, field: str) -> list[NetText]:
        """The nets written in the solver file itself; field: 'net_param', 'train_net_param' or
        'test_net_param'. As in Caffe they are not upgraded from an older format; the dialect's own
        rules apply."""
        nets = getattr(self.message, field)
        if hasattr(nets, 'HasField'):
            nets = [nets] if self.message.HasField(field) else []
        lines: list[list[int]] = []
        for found in scan(self.text, self.file):
            if found.path == (field,):
                lines.append([])
            elif found.path == (field, 'layer'):
                lines[-1].append(found.line)
        return [self._inline_net(net, at) for net, at in zip(nets, lines, strict=True)]

    def _inline_net(self, net, lines):
        net = _copy(net)
        try:
            apply_rules(net, lines)
        except FcnError as error:
            raise error.at(file=self.file) from None
        return NetText(net, self.file, tuple(lines), self.dialect is not None)


def read_net(path: str | os.PathLike, dialect: Dialect | str | None = None,
             define: Mapping[str, object] = MappingProxyType({}),
             blobs: Blobs | None = None) -> NetText:
    """The net of a prototxt file; old formats are upgraded. FcnError with the line.

    dialect: or the name of one; None: found by what the text holds (detect.py), if need be by what
    blobs returns, {layer name: number of its blobs} of the weights that the net will get. define:
    values of the ${NAME} in the text.
    """
    return parse_net(read_text(path), str(path), dialect, define, blobs)


@collector_paused()
def parse_net(text: str, file: str = '<text>', dialect: Dialect | str | None = None,
              define: Mapping[str, object] = MappingProxyType({}),
              blobs: Blobs | None = None) -> NetText:
    """The net of a prototxt text; file is only named in errors. As read_net."""
    text = defined(text, define, file)
    if dialect is not None:
        return _net_in(text, file, find_dialect(dialect))[0]
    try:
        net, _ = _net_in(text, file, BVLC)
        found, why = (BVLC, '') if not words(net.message)[1] else _detected(text, file, blobs)
    except FcnError as error:
        found, why = _detected(text, file, blobs, error)
    if found is not BVLC:
        net, _ = _net_in(text, file, found)
        log.info("%s is read in the dialect '%s', found %s", file, found.name, why)
    return replace(net, named=False, found=why)


def _net_in(text: str, file: str, dialect: Dialect) -> tuple[NetText, Any]:
    """(net, its message as written) of a text in a dialect."""
    raw = dialect['NetParameter']()
    return _current(raw, _parse(text, raw, file), file), raw


def _current(raw: Any, found: list[Occurrence], file: str) -> NetText:
    """The net of a message as written, old formats upgraded. found: the places of its fields."""
    lines = [f.line for f in found if f.path in (('layer',), ('layers',))]
    input_line = next((f.line for f in found if f.path == ('input',)), None)
    try:
        message, layer_lines = upgrade_net(raw, lines, input_line)
    except FcnError as error:
        raise error.at(file=file) from None
    return NetText(message, file, layer_lines)


def _detected(text: str, file: str, blobs: Blobs | None,
              error: FcnError | None = None) -> tuple[Dialect, str]:
    """The dialect of a net's text, and by what it was found. error: of reading it as BVLC's, raised
    again if no schema reads it, unless that of all forks gets further."""
    raw = union()['NetParameter']()
    try:
        places = _parse(text, raw, file)
    except FcnError as other:
        raise (other if error is None or (other.line or 0) > (error.line or 0) else error) from None
    net = _current(raw, places, file)
    try:
        found, why = detect(raw, net.message, blobs)
    except FcnError as ambiguity:
        line = next((line for layer, line in zip(net.message.layer, net.lines, strict=True)
                     if layer.name == ambiguity.layer), None)
        raise ambiguity.at(file=file, line=line) from None
    if found is BVLC and error:
        raise error
    return found, why


def read_solver(path: str | os.PathLike, dialect: Dialect | str | None = None,
                define: Mapping[str, object] = MappingProxyType({})) -> SolverText:
    """The solver of a prototxt file. As in Caffe, a snapshot_prefix that is missing becomes the
    path without its extension, and one that is a folder gets the file's stem. dialect, define: as
    for read_net, for the solver and its nets. FcnError with the line."""
    solver = parse_solver(read_text(path), str(path), dialect, define)
    root = os.path.splitext(str(path))[0]
    message = solver.message
    if not message.HasField('snapshot_prefix'):
        message.snapshot_prefix = root
    elif os.path.isdir(message.snapshot_prefix):
        message.snapshot_prefix = os.path.join(message.snapshot_prefix, os.path.basename(root))
    return solver


def parse_solver(text: str, file: str = '<text>', dialect: Dialect | str | None = None,
                 define: Mapping[str, object] = MappingProxyType({})) -> SolverText:
    """The solver of a prototxt text, its solver_type turned into type; as read_solver."""
    text = defined(text, define, file)
    named = None if dialect is None else find_dialect(dialect)
    message, lines = _solver_in(text, file, named or BVLC, named)
    try:
        message = upgrade_solver(message, lines.get('solver_type'))
    except FcnError as error:
        raise error.at(file=file) from None
    return SolverText(message, file, lines, text, named, dict(define))


def _solver_in(text: str, file: str, dialect: Dialect,
               named: Dialect | None) -> tuple[Any, dict[str, int]]:
    """(message as written, lines) of a solver's text; where no dialect is named, in that of the
    nets written in it."""
    message = dialect['SolverParameter']()
    try:
        found = _parse(text, message, file)
        if named or not any(words(net)[1] for net in _written_nets(message)):
            return message, _first_lines(found)
        error = None
    except FcnError as refusal:
        if named:
            raise
        error = refusal
    raw = union()['SolverParameter']()
    try:
        _parse(text, raw, file)
    except FcnError as other:
        raise error or other from None
    try:
        kinds = {detect(net, net)[0] for net in _written_nets(raw)} - {BVLC}
    except FcnError as ambiguity:
        raise ambiguity.at(file=file) from None
    if len(kinds) != 1:
        raise error or FcnError('the nets in the solver are of several dialects', file=file,
                                do='Name one as dialect.')
    return _solver_in(text, file, found := kinds.pop(), found)


def _written_nets(solver: Any) -> list[Any]:
    """The NetParameters in a SolverParameter."""
    return [solver.net_param, solver.train_net_param, *solver.test_net_param]


def _first_lines(found: list[Occurrence]) -> dict[str, int]:
    lines: dict[str, int] = {}
    for place in found:
        if len(place.path) == 1:
            lines.setdefault(place.path[0], place.line)
    return lines


def read_message(path: str | os.PathLike, name: str, dialect: Dialect | str = BVLC,
                 define: Mapping[str, object] = MappingProxyType({})) -> Any:
    """The message `name` ('NetParameter') of a prototxt file as it is written, not upgraded.
    define: values of the ${NAME} in it. FcnError with the line."""
    message = find_dialect(dialect)[name]()
    _parse(defined(read_text(path), define, str(path)), message, str(path))
    return message


def filter_net(net: NetText, phase: int | str, level: int = 0, stages=()) -> NetText:
    """The layers that take part in a phase (TRAIN or TEST, number or name), level and stages.

    As Caffe: the net's own `state` counts too, its stages with the given ones, its level and
    phase replaced. A layer stays if it has no include rule or meets one, and meets no exclude
    rule; a rule is met when all that it names holds. Returns a NetText whose message.state is
    that state; FcnError on a layer with both kinds of rule.
    """
    message = type(net.message)(**{field.name: value for field, value in net.message.ListFields()
                                   if field.name != LAYER})
    message.state.phase = PHASES.get(phase, phase)
    message.state.level = level
    message.state.stage.extend(stages)
    layers, lines = [], []
    for layer, line in zip(net.message.layer, net.lines, strict=True):
        include, exclude = layer.include, layer.exclude     # wrapped anew by each access
        if include and exclude:
            raise FcnError(f'{len(include)} include and {len(exclude)} exclude rules',
                           file=net.file, line=line, layer=layer.name, type=layer.type,
                           do='Use one kind only.')
        if not (include or exclude) or any(
                _meets(message.state, rule) for rule in include or exclude) == bool(include):
            layers.append(layer)
            lines.append(line)
    message.layer.extend(layers)
    return replace(net, message=message, lines=tuple(lines))


def _copy(message):
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _meets(state, rule):
    stages = set(state.stage)
    return ((not rule.HasField('phase') or rule.phase == state.phase)
            and (not rule.HasField('min_level') or state.level >= rule.min_level)
            and (not rule.HasField('max_level') or state.level <= rule.max_level)
            and stages.issuperset(rule.stage) and stages.isdisjoint(rule.not_stage))


def read_text(path: str | os.PathLike) -> str:
    """The text of a file. UTF-8; other bytes are let through in comments, as Caffe does."""
    data = read_regular(path, 'a prototxt')
    if data:                                # the parser says what an empty text lacks
        check_text(data[:512], path, PROTOTXT_HERE)
    if b'\0' in data or re.search(rb'[\x01-\x08\x0e-\x1f]', data):
        raise FcnError('this is a binary file, not prototxt text', file=str(path),
                       do=PROTOTXT_HERE)
    return data.removeprefix(b'\xef\xbb\xbf').decode('utf-8', 'surrogateescape')


def _parse(text: str, message: Any, file: str) -> list[Occurrence]:
    """Fill a message from a text; returns the places of its fields (scan). FcnError with a
    line."""
    if BACKSLASHES in text:             # protobuf's unescaping takes time quadratic in their number
        raise FcnError(f'{len(BACKSLASHES)} backslashes in a row', file=file,
                       line=text[:text.index(BACKSLASHES)].count('\n') + 1, do='Remove them.')
    check_utf8(text, file)
    found, rest = parse_plain(text, message)
    if len(rest) < len(text) / 2 and not found:     # a fault far in is found at once
        _parse_any(rest, type(message)(), file)
    found = found or _parse_any(text, message, file)
    if not found:
        raise FcnError('the file is empty', file=file,
                       do=f'Expected the text of a {message.DESCRIPTOR.name}.')
    missing = message.FindInitializationErrors()
    if missing:
        raise FcnError(f'required field {missing[0]} is missing', file=file,
                       line=_line_of(missing[0], found), do='Give it a value.')
    return found


def _parse_any(text: str, message: Any, file: str) -> list[Occurrence]:
    """As _parse, by protobuf's own parser."""
    check_utf8(text, file)
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise _error(error, file, dialect_of(message)) from None
    except MemoryError:
        raise FcnError(f'out of memory while parsing {len(text)} characters', file=file,
                       do='Give a net definition, or free memory.') from None
    return scan(text, file)


def _line_of(path, found):
    """The line of the top-level block in a path such as layer[3].clip_param.max."""
    name, index = re.match(r'(\w+)(?:\[(\d+)\])?', path).groups()
    lines = [f.line for f in found if f.path == (name,)]
    return lines[int(index or 0)]


def _error(error: text_format.ParseError, file: str, dialect: Dialect) -> FcnError:
    """text_format's error as ours: its line, and for an unknown name the dialects that have it or
    the nearest known one."""
    text = re.sub(r"^\d+:\d+ : |'': ", '', str(error)).replace('caffe.', '').rstrip('.')
    do, homes = '', []
    if match := re.search(r'Message type "(\w+)" has no field named "(\w+)"', text):
        homes = dialects_with(*match.groups())
        text, do = f"{match[1]} has no field '{match[2]}'", _unknown_field(dialect, *match.groups())
    elif match := re.search(r'Enum type "([\w.]+)" has no value \w+ (?:number )?("?)(\w+)', text):
        quote = match[2] or "'"
        text = f'{match[1]} has no value {quote}{match[3]}{quote}'
        homes = [] if match[2] else dialects_with(match[1].rpartition('.')[0], match[3])
        do = 'Write it without quotes.' if match[2] else _unknown_value(dialect, match[1], match[3])
    elif match := re.search(r'type "(\w+)" should not have multiple "(\w+)"', text):
        text, do = f"{match[1]} has '{match[2]}' more than once", 'Keep one.'
    elif 'Expected string' in text:
        do = 'Write the text in double quotes.'
    elif text.endswith('Expected "}"'):
        do = 'A { before this line is not closed.'
    if homes:
        return FcnError(f"{text} in the dialect '{dialect.name}'", file=file, line=error.GetLine(),
                        **of_dialects(homes))
    return FcnError(text, do=do, file=file, line=error.GetLine())


def _unknown_field(dialect, message, name):
    other = {'SolverParameter': 'NetParameter', 'NetParameter': 'SolverParameter'}.get(message)
    if other and name in dialect[other].DESCRIPTOR.fields_by_name:
        net = message == 'SolverParameter'
        return f"'{name}' belongs to a {'net' if net else 'solver'}: give the " \
               f"{'solver, which names its net' if net else 'net that the solver names'}."
    known = list(dialect[message].DESCRIPTOR.fields_by_name)
    if dialect.name == UNION:
        return nearest(name, known) or 'No dialect that is known here has it: remove it, or cut ' \
            'out the layer that it is in.'
    return nearest_or_all(name, known)


def _unknown_value(dialect, enum, name):
    """The remedy for an unknown value of an enum, top-level or Message.Enum."""
    message, _, enum = enum.rpartition('.')
    if not message:
        return nearest_or_all(name, list(dialect.schema.enums[enum]))
    known = dialect[message].DESCRIPTOR.enum_types_by_name[enum].values_by_name
    return nearest_or_all(name, list(known))


def nearest_or_all(name: str, known: list[str]) -> str:
    """The remedy for an unknown name: the nearest known one, or all of them."""
    return nearest(name, known) or f"Known: {', '.join(known)}."
