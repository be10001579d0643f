"""Goldens that only forks of Caffe have: the offsets of crops without parameters, batch statistics
of a net and the inference net made from them, and the fields of a fork's schema."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..net.net import Net
from ..proto import TEST, TRAIN, Dialect, find_dialect
from ..search import SearchPath
from .cases import GoldenCase, case
from .comparison import Comparison, Limits
from .golden import read_golden, read_json
from .layers import dialect_of_golden, fed_arrays, golden_net

OFFSETS = 'crop_offsets.json'
STATISTICS = 'golden.h5', 'statistics.prototxt', 'inference.prototxt', 'learned.caffemodel'


def find_offsets(folder: Path, names: set[str]) -> Iterator[GoldenCase]:
    """crop_offsets.json beside the nets that it names."""
    if OFFSETS in names:
        yield case(OFFSETS, (OFFSETS,), partial(check_offsets, path=folder / OFFSETS))


def check_offsets(comparison: Comparison, path: Path, limits: Limits) -> None:
    """Compare {NET: {offset: of y and x, from: shape of the cropped bottom, to: of the top}} with
    the one Crop of each NET.prototxt."""
    for name, entry in read_json(path).items():
        net = golden_net(path.with_name(f'{name}.prototxt'),
                         read_golden(path.with_name(f'{name}.h5')))
        for node in net.graph.nodes:
            if node.type == 'Crop':
                bottoms = [net.shapes[v] for v in node.bottoms]
                window: Any = net.layer(node)
                comparison.equal(f'{name}/from', list(bottoms[0]), entry['from'])
                comparison.equal(f'{name}/to', list(net.shapes[node.tops[0]]), entry['to'])
                comparison.equal(f'{name}/offset', [
                    offset for _, offset, _ in window.window(*bottoms)], entry['offset'])


def find_schemas(folder: Path, names: set[str]) -> Iterator[GoldenCase]:
    """NAME.json with the fields of a fork's LayerParameter, one for each fork."""
    for name in names:
        if name.endswith('.json') and name != OFFSETS and is_schema(folder / name):
            yield case(name, (name,), partial(check_schema, path=folder / name))


def is_schema(path: Path) -> bool:
    """Whether a JSON file holds a schema; a damaged one is reported when its case is checked."""
    with open(path, 'rb') as file:
        return b'"LayerParameter"' in file.read(1 << 12)


def check_schema(comparison: Comparison, path: Path, limits: Limits) -> None:
    """Compare the fields that a fork's schema adds to BVLC's, their numbers and types, and its
    enums with those of its dialect. FcnError for a fork without a dialect."""
    golden = read_json(path)
    dialect = find_dialect(golden.get('dialect', path.stem))
    added = {'LayerParameter': {name: golden['LayerParameter'][name] for name in (
        *golden.get('layer_fields_not_in_bvlc', ()),
        *golden.get('layer_fields_with_other_number', ()))}}
    added |= golden.get('messages_new', {})
    for message, change in golden.get('messages_changed', {}).items():
        added[message] = added.get(message, {}) | change.get('added', {})
    for message, fields in added.items() if any(added.values()) else golden.get(
            'messages', {}).items():
        ours = dialect[message].DESCRIPTOR.fields_by_name if message in dialect.schema else {}
        for name, field in fields.items():
            if name not in ours:
                comparison.fail(f'{message}.{name}', 'the dialect lacks it')
                continue
            comparison.equal(f'{message}.{name}', described(ours[name]),
                             (field['number'], field['type'].rpartition('.')[2],
                              bool(field.get('repeated'))))
    for enum, values in golden.get('enums_new', {}).items():
        message, _, name = enum.partition('.')
        comparison.equal(enum, numbers(dialect, message, name), values)
    for enum, change in golden.get('enums_changed', {}).items():
        message, _, name = enum.partition('.')
        ours = numbers(dialect, message, name)
        comparison.equal(enum, {value: ours.get(value) for value in change['added']},
                         change['added'])


def described(field: Any) -> tuple[int, str, bool]:
    """(number, type, whether it is repeated) of a field's descriptor."""
    kind = field.message_type or field.enum_type
    scalar = next((name.removeprefix('TYPE_').lower() for name in dir(field)
                   if name.startswith('TYPE_') and getattr(field, name) == field.type), '')
    return field.number, kind.name if kind else scalar, field.is_repeated


def numbers(dialect: Dialect, message: str, enum: str) -> dict[str, int]:
    """{value: number} of an enum in a message of a dialect."""
    found = dialect[message].DESCRIPTOR.enum_types_by_name[enum].values
    return {value.name: value.number for value in found}


def find_statistics(folder: Path, names: set[str]) -> Iterator[GoldenCase]:
    """golden.h5 with the statistics of some batches beside the two nets and the learned weights."""
    if set(STATISTICS) <= names:
        yield case('statistics', STATISTICS, partial(check_statistics, folder=folder))


def check_statistics(comparison: Comparison, folder: Path, limits: Limits) -> None:
    """Run the batches through statistics.prototxt and compare their means and variances; then run
    the first batch through inference.prototxt with the scale and shift that the golden made of
    their averages, `biased` and `unbiased`, and compare these too with ours."""
    golden = read_golden(folder / 'golden.h5')
    options: dict[str, Any] = {'dialect': dialect_of_golden(golden),
                               'search': SearchPath.beside(folder / 'golden.h5')}
    net = Net.read(folder / 'statistics.prototxt', TRAIN, **options)
    net.copy_from(folder / 'learned.caffemodel')
    batches = golden.need('batches', 'group')
    for k in sorted(batches, key=int):
        given = set(net.graph.inputs)
        net.forward(blobs='all', **{name: array for name, array in fed_arrays(batches, k).items()
                                    if name in given})
        for name, stored in batches.blobs(k).items():
            if name not in given:
                comparison.compare(f'batches/{k}/{name}', net.blobs[name].data, stored,
                                   limits.activations)
    for kind in 'biased', 'unbiased':
        made = golden.need(kind, 'group')
        inference = Net.read(folder / 'inference.prototxt', TEST, **options)
        inference.copy_from(folder / 'learned.caffemodel')
        for layer, blobs in made.params('params').items():
            for i, stored in blobs.items():
                inference.params[layer][int(i)].data[...] = torch.from_numpy(
                    np.asarray(stored.values).reshape(stored.shape))
        inference.forward(blobs='all', **{name: batches.blobs('0')[name].values
                                          for name in inference.graph.inputs})
        for name, stored in made.blobs('outputs').items():
            comparison.compare(f'{kind}/outputs/{name}', inference.blobs[name].data, stored,
                               limits.activations)
