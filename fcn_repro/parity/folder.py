"""The goldens below a folder: which cases there are, what becomes of each, and known differences.

A case is recognised by the set of its files, wherever they are. A file that belongs to no case is
listed as a case of its own that is not supported.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePath

from ..errors import FcnError
from .cases import CPU, GoldenCase, Kind, Placement, case
from .comparison import (
    AGREES,
    DEPARTS,
    FP32,
    KNOWN,
    OK,
    UNSUPPORTED,
    Comparison,
    KnownDifference,
    Limits,
)
from .files import find_pairs, find_upgrades
from .forks import find_offsets, find_schemas, find_statistics
from .golden import read_golden, read_json
from .layers import find_layers
from .nets import find_nets
from .solvers import find_solvers

# What a user compares. parity/fixtures has the kinds that only this project's own goldens need.
KINDS: tuple[Kind, ...] = (find_layers, find_nets, find_offsets, find_pairs, find_schemas,
                           find_solvers, find_statistics, find_upgrades)
KNOWN_FILE = 'known_differences.json'
SHOWN = 400         # characters of a remark in a listing


def find_cases(root: str | Path, kinds: Sequence[Kind] = KINDS) -> list[GoldenCase]:
    """All cases below a folder, in the order of their names. FcnError if there are none."""
    root, found = Path(root), []
    if not os.path.isdir(root):
        raise FcnError('is not a folder' if os.path.exists(root) else 'there is no such folder',
                       file=str(root), do='Give a folder of goldens.')
    claimed: set[Path] = set()          # files in folders below that of their case
    for folder in (root, *sorted(path for path in root.rglob('*') if path.is_dir())):
        names = {path.name for path in folder.iterdir() if path.is_file()}
        taken = {name for name in names if name.endswith('.md') or name == KNOWN_FILE
                 or folder / name in claimed}
        for kind in kinds:
            for each in kind(folder, names):
                found.append(each._replace(name=label(root, folder, each.name)))
                taken |= each.files
                claimed |= {folder / file for file in each.files}
        found += [case(label(root, folder, name), (name,), partial(refuse, path=folder / name))
                  for name in names - taken]
    if not found:
        raise FcnError('holds no goldens', file=str(root), do='Give a folder of prototxt '
                       'files, each with the .h5 or .json file of what Caffe computed for it.')
    return sorted(found, key=lambda case: case.name)


def label(root: Path, folder: Path, name: str) -> str:
    """The name of a case, which may come from a file's content, as a text that begins at `root`."""
    return str(PurePath(folder.relative_to(root), name.lstrip('/')))


def refuse(comparison: Comparison, path: Path, limits: Limits) -> None:
    """The check of a file that belongs to no case: FcnError, because it cannot be read or because
    no kind of golden has such a file."""
    if path.suffix == '.h5':
        read_golden(path)
    elif path.suffix == '.json':
        read_json(path)
    raise FcnError('belongs to no known kind of golden', do='See the format of the goldens: a '
                   'case is recognised by the set of its files.')


def read_known(path: str | Path) -> dict[str, KnownDifference]:
    """{case: KnownDifference} of a JSON file that holds, for the name of each case, the reason as a
    string, or {"reason": "...", "arrays": ["outputs/*", ...]} to excuse only some of its arrays;
    {"outputs/*": 1e-4, ...} there names the largest error that is excused (null: any).
    {"reason": "...", "unread": true}: the case cannot be checked. FcnError if the file is in
    another form."""
    found = read_json(path)
    if not isinstance(found, dict):
        raise bad_entry(path, 'the file holds no object')
    return {name: known_difference(path, name, entry) for name, entry in found.items()}


def known_difference(path: str | Path, name: str, entry: object) -> KnownDifference:
    """An entry of a file of known differences."""
    if isinstance(entry, str):
        entry = {'reason': entry, 'arrays': ['*']}
    if isinstance(entry, dict) and entry.get('unread') is True and 'arrays' not in entry:
        entry = {**entry, 'arrays': {}}
        del entry['unread']
    elif isinstance(entry, dict) and not entry.get('arrays', True):
        raise bad_entry(path, f"the arrays of '{name}' are not a list of names")
    if not isinstance(entry, dict) or set(entry) != {'reason', 'arrays'}:
        raise bad_entry(path, f"'{name}' has no reason and arrays")
    reason, arrays = entry['reason'], entry['arrays']
    if not isinstance(reason, str) or not reason.strip():
        raise bad_entry(path, f"'{name}' gives no reason")
    if isinstance(arrays, list) and all(isinstance(a, str) for a in arrays):
        arrays = dict.fromkeys(arrays)
    if not isinstance(arrays, dict) or not all(
            most is None or (type(most) in (int, float) and most > 0)
            for most in arrays.values()):
        raise bad_entry(path, f"the arrays of '{name}' are not a list of names, or largest errors "
                        'by name')
    return KnownDifference(reason, tuple(arrays), tuple(
        math.inf if most is None else most for most in arrays.values()))


def bad_entry(path: str | Path, what: str) -> FcnError:
    return FcnError(what, file=str(path), do='Give {"case": "reason"} or {"case": {"reason": '
                    '"...", "arrays": ["name", ...]}}; see the help of check-goldens.')


def default_known(root: str | Path) -> dict[str, KnownDifference]:
    """The known differences of a folder: those of its known_differences.json, if it has one."""
    path = Path(root, KNOWN_FILE)
    return read_known(path) if path.exists() else {}


def check_folder(root: str | Path, limits: Limits = FP32, kinds: Sequence[Kind] = KINDS,
                 known: Mapping[str, KnownDifference] | None = None,
                 where: Placement = CPU) -> Iterator[Comparison]:
    """Check all cases below a folder, in the order of their names, and then refuse each known
    difference that is not a case there.

    known: {case: KnownDifference}; None for those of the folder's known_differences.json. where:
    the device and precision of the cases that run nets. FcnError if there are no cases, or if the
    known differences cannot be read.
    """
    known = default_known(root) if known is None else known
    cases = find_cases(root, kinds)
    for found in cases:
        yield found.run(limits, known.get(found.name), where)
    for name in sorted(known.keys() - {found.name for found in cases}):
        missing = Comparison(name, known[name])
        missing.refusal = 'listed as a known difference, but there is no such case'
        yield missing


def describe(comparison: Comparison, width: int = 0) -> str:
    """A line of text: name, number of arrays, largest error in relation to its limit, that limit,
    verdict, remark. width: of the column of names."""
    verdict = comparison.verdict
    if verdict == UNSUPPORTED or not comparison.gaps:
        known = comparison.known.reason if comparison.known else None
        why = known if verdict == KNOWN else comparison.refusal or \
            'the golden holds nothing to compare'
        return f'{comparison.name:{width}} {"":29}  {verdict}: {shortened(why)}'
    worst = comparison.worst
    text = (f'{comparison.name:{width}} {len(comparison.gaps):5} arrays {worst.error:8.1e} '
            f'{worst.limit:7.0e}  {verdict}')
    if verdict == DEPARTS:
        count = len(comparison.departing) - 1
        remark = ' '.join(filter(None, (worst.what, worst.note)))
        return f'{text}: {shortened(remark)}' + (f' and {count} more' if count else '')
    return f'{text}: {shortened(comparison.known.reason)}' if comparison.known else text


def summarize(comparisons: Sequence[Comparison]) -> tuple[str, bool]:
    """(line with the number of cases of each verdict, whether none of them fails). A case fails if
    it departs, is not supported, or agrees although it is listed as a known difference."""
    count = {verdict: sum(c.verdict == verdict for c in comparisons)
             for verdict in (OK, DEPARTS, UNSUPPORTED, KNOWN, AGREES)}
    text = (f'{len(comparisons)} cases, {sum(len(c.gaps) for c in comparisons)} arrays: '
            f'{count[OK]} ok, {count[DEPARTS]} depart, {count[UNSUPPORTED]} not supported')
    if count[KNOWN]:
        text += f', {count[KNOWN]} known to differ'
    if count[AGREES]:
        text += f', {count[AGREES]} known to differ but in agreement'
    return text, not (count[DEPARTS] or count[UNSUPPORTED] or count[AGREES])


def shortened(text: str) -> str:
    text = ' '.join(text.split())
    return text if len(text) <= SHOWN else text[:SHOWN - 3] + '...'
