"""The kinds of goldens. Each is a function of (folder, names of its files) that yields, for each
case: its name in the folder, the names of the files that it takes, and its check, a function of a
Case and `limits`."""

import re
from functools import partial

from fcn_repro.errors import FcnError

from . import layers, nets, solvers
from .fixtures import formats, forms, full_width, parts
from .golden import held, read_json

SOLVER_FILE = re.compile(r'golden\.h5|(train|solver|data|init|weights|snapshot_iter)\w*'
                         r'\.(prototxt|h5|txt|caffemodel|solverstate)(\.h5)?')
LOAD = {'net.prototxt', 'load_rules.json', 'loaded.h5'}


def layer_kind(folder, names):
    """NET.prototxt and NET.h5."""
    for name in (name[:-3] for name in names if name.endswith('.h5')):
        if f'{name}.prototxt' in names:
            yield (name, {f'{name}.h5', f'{name}.prototxt'},
                   partial(layers.check_layer, path=folder / f'{name}.h5'))


def net_kind(folder, names):
    """net.prototxt, golden_*.h5, and the weights in one format or both."""
    weights = [name for name in ('weights.caffemodel', 'weights.caffemodel.h5') if name in names]
    if 'net.prototxt' in names and weights:
        for name in names:
            if re.fullmatch(r'golden_.*\.h5', name):
                yield (name[:-3], {'net.prototxt', name, *weights}, partial(
                    nets.check_net, path=folder / name, weights=folder / weights[0]))


def pair_kind(folder, names):
    """Weights or solver states in both formats; those of solvers' goldens are checked there."""
    for name in names if 'golden.h5' not in names else ():
        for kind, check in ('caffemodel', nets.check_weights), ('solverstate', nets.check_states):
            if name.endswith(f'.{kind}') and f'{name}.h5' in names:
                yield (f'{name}.h5', {name, f'{name}.h5'}, partial(
                    check, first=folder / name, second=folder / f'{name}.h5'))


def solver_kind(folder, names):
    """golden.h5 with solver.prototxt, or with solver_<stage>.prototxt for each of its groups."""
    taken = {name for name in names if SOLVER_FILE.fullmatch(name)}
    if 'golden.h5' not in names:
        return
    if 'solver.prototxt' in names:
        yield '.', taken, partial(solvers.check_solver, folder=folder)
        resumed = held(folder / 'golden.h5')
        for name in names:
            start = re.search(r'_iter_(\d+)\.solverstate(\.h5)?$', name)
            if start and f'resume_from_{start[1]}' in resumed:
                yield name, set(), partial(solvers.check_resumed, folder=folder,
                                           state=folder / name)
    elif any(re.fullmatch(r'solver_.*\.prototxt', name) for name in names):
        yield '.', taken, partial(solvers.check_staged, folder=folder)


def array_kind(folder, names):
    """HDF5 files that are known by their groups."""
    for name in (name for name in names if name.endswith('.h5')):
        path, groups = folder / name, held(folder / name)
        if groups and all({'gt', 'pred', 'hist'} <= held(path, group) for group in groups):
            for group in groups:
                yield f'{name}/{group}', {name}, partial(parts.check_metrics, path=path, name=group)
        elif groups and all({'score_every_8th', 'argmax'} <= held(path, g) for g in groups):
            for group in groups:
                for blas, arithmetic in (False, ''), (True, ', multiplied as in Caffe'):
                    yield (f'{name}/{group}{arithmetic}', {name},
                           partial(full_width.check_full, path=path, photo=group, blas=blas))
        elif {'bilinear', 'constant', 'default'} <= groups:
            yield name, {name}, partial(parts.check_fillers, path=path)
        elif {'interp', 'expand_score', 'four_channel'} <= groups:
            yield name, {name}, partial(parts.check_interp_expand, path=path)
        elif {'fc', 'fullconv', 'data'} <= groups:
            files = {name, 'fc.prototxt', 'fc.caffemodel', 'fullconv.prototxt'}
            yield name, files, partial(parts.check_cast, path=path)
        elif 'binaryproto' in groups:
            yield from binaries(path, groups)


def binaries(path, groups):
    """The models and means that lie beside the arrays put into them."""
    for name in (name for name in groups if path.with_name(f'{name}.caffemodel').exists()):
        yield (f'{name}.caffemodel', {path.name, f'{name}.caffemodel'},
               partial(formats.check_binary, path=path, name=name))
    for name in held(path, 'binaryproto'):
        yield (f'{name}.binaryproto', {path.name, f'{name}.binaryproto'},
               partial(formats.check_mean, path=path, name=name))


def json_kind(folder, names):
    """Lists of cases in JSON, known by what stands in them."""
    for name in sorted(name for name in names if name.endswith('.json')):
        if name.endswith('.upgraded.json') or name in LOAD:
            continue
        try:
            for case, files, check in entries(folder, name, content(folder / name)):
                yield f'{name}/{case}', {name, *files}, check
        except FcnError as error:
            yield name, {name}, partial(refuse, error)


def refuse(error, case, limits):
    """The check of a file that is not what it seems to be."""
    raise error


def content(path):
    """What a JSON file holds; nothing where it cannot be read: then it is not supported."""
    try:
        return read_json(path)
    except FcnError:
        return []


def entries(folder, name, found):
    """The cases of what a JSON file holds. FcnError where it has another form than its first
    entry says."""
    def check_form(form):
        forms.check_form(found, form, folder / name)

    items = found if isinstance(found, list) else \
        list(found.values()) if isinstance(found, dict) else []
    first = items[0] if items and isinstance(items[0], dict) else {}
    if 'crop_from' in first:
        check_form(forms.CROPS)
        for entry in found:
            yield entry['name'], (), partial(parts.check_crop, entry=entry)
    elif 'stages' in first:
        check_form(forms.RULES)
        text = f"{name.removesuffix('.json')}.prototxt"
        for rule in found:
            label = f"{rule['phase']} {rule['level']} {' '.join(rule['stages'])}".rstrip()
            yield label, {text}, partial(formats.check_rule, path=folder / text, rule=rule)
    elif 'rejected' in first:
        check_form(forms.REFUSALS)
        for key, entry in found.items():
            yield key, (), partial(formats.check_refusal, entry=entry,
                                   builds='parse' not in name)
    elif 'layers' in first and 'outputs' in first:
        check_form(forms.LEGACY)
        for key, wanted in found.items():
            text = f'legacy_{key}.prototxt'
            yield key, {text}, partial(formats.check_legacy, path=folder / text, wanted=wanted)
    elif isinstance(found, dict) and 'stats' in found:
        check_form(forms.STATISTICS)
        for stat in found['stats']:
            label = f"{stat['filler']} {stat.get('variance_norm')} {stat['layer']}"
            yield label, (), partial(parts.check_filler_statistics, stat=stat)
    elif isinstance(found, dict) and 'nets' in found:
        check_form(forms.SHAPES)
        for net in found['nets']:
            yield net, (), partial(nets.check_shapes, path=folder / name, name=net)


def upgrade_kind(folder, names):
    """NAME.upgraded.* beside the old file NAME.prototxt or NAME.caffemodel."""
    for name in names:
        stem, _, form = name.rpartition('.upgraded')
        text, model = f'{stem}.prototxt', f'{stem}.caffemodel'
        if form in ('.prototxt', '.json') and text in names:
            yield name, {name, text}, partial(formats.check_upgrade, path=folder / text,
                                              wanted=folder / name)
        elif form == '.caffemodel' and model in names:
            yield name, {name, model}, partial(nets.check_weights, first=folder / model,
                                               second=folder / name)
        elif form == '_header.prototxt' and model in names:
            yield name, {name, model}, partial(formats.check_header, path=folder / model,
                                               wanted=folder / name)


def load_kind(folder, names):
    """net.prototxt, load_rules.json and loaded.h5, with a model for each rule."""
    if names >= LOAD:
        try:
            rules = read_json(folder / 'load_rules.json')
            forms.check_form(rules, forms.LOADS, folder / 'load_rules.json')
        except FcnError as error:
            rules = []
            yield 'load_rules.json', LOAD, partial(refuse, error)
        for name in rules:
            yield name, {*LOAD, f'{name}.caffemodel'}, partial(formats.check_load, folder=folder,
                                                               name=name)


KINDS = (layer_kind, net_kind, pair_kind, solver_kind, array_kind, json_kind, upgrade_kind,
         load_kind)
