"""The splits of the paper's data sets, by which a partial one, or one of another year, is told."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from fcn_repro.errors import FcnError


@dataclass(frozen=True)
class Known:
    """A split as it was published. count: of its ids; digest: of them (`digest_of`), '' where no
    list of it is at hand."""

    count: int
    digest: str = ''


# Counts of VOC are those of its development kits; of SBD, those of its train.txt and val.txt. The
# digests are those of the lists that the release has in data/.
KNOWN: dict[str, dict[str, Known]] = {
    'VOC2010 for PASCAL-Context': {'train': Known(4998), 'val': Known(5105)},
    'VOC2011': {
        'train': Known(1112), 'val': Known(1111), 'trainval': Known(2223), 'test': Known(1111),
        'seg11valid': Known(
            736, '33d3d44294e02741ecd3877459009a5d5f937069edde1a441bfcd5f38029d59b')},
    'VOC2012': {'train': Known(1464), 'val': Known(1449), 'trainval': Known(2913),
                'test': Known(1456)},
    'SBD': {'train': Known(8498), 'val': Known(2857)},
    'NYUDv2': {
        'train': Known(381, 'f29b0c2b58cf299122545e85882bcdf2195d119f1916035e5bc2e44b933c65ba'),
        'val': Known(414, '140f799a3016db886c71c2038472ebbd5e3c4a743ecfc9556ebe7108c29865eb'),
        'trainval': Known(795),
        'test': Known(654, '0b128b3a51a20438c2d0c742c5ad2be5f8be358d59b097f79722e8c7c15449f3')},
    # The paper has 2,488 images for training; the release's list has all but two without labels
    'SIFT Flow': {
        'trainval': Known(2486, '646d97910f15f0c014835f7b01c7a908441e6d280c3aae09dfc20f3d54cd34c6'),
        'test': Known(200, '772854924eb149c3c9f4c3e7d99a332bf032af5847ac18159ae40f67c4ae5896')}}


def digest_of(ids: Sequence[str]) -> str:
    """SHA-256 (hex) of a split's ids, whatever their order."""
    return hashlib.sha256('\n'.join(sorted(ids)).encode()).hexdigest()


def difference(data_set: str, split: str, ids: Sequence[str]) -> tuple[str, str]:
    """(kind, what) of how the ids of a split differ from the published ones: 'year' for the number
    of another data set's split of that name, 'partial' for fewer, 'list' for others; ('', '') where
    they do not differ, or nothing is known of it."""
    known = KNOWN.get(data_set, {}).get(split)
    if known is None:
        return '', ''
    count = len(ids)
    if count == known.count:
        same = not known.digest or digest_of(ids) == known.digest
        return ('', '') if same else ('list', f"the {count:,} ids of '{split}' are not those of "
                                      f'{data_set}')
    others = [name for name, splits in KNOWN.items()
              if split in splits and splits[split].count == count and data_set.startswith('VOC')]
    what = f"'{split}' has {count:,} ids, that of {data_set} {known.count:,}"
    if others:
        return 'year', f'{what}; so many has {others[0]}'
    return ('partial' if count < known.count else 'list'), what


def check_seg11valid(ids: Sequence[str], val: int, train: int, file) -> None:
    """FcnError where a computed seg11valid is not the published one, although its lists, VOC2011's
    val and SBD's train, have as many ids as they should."""
    known = KNOWN['VOC2011']
    whole = val == known['val'].count and train == KNOWN['SBD']['train'].count
    if whole and digest_of(ids) != known['seg11valid'].digest:
        raise FcnError(f"VOC2011 val without SBD train has {len(ids)} ids that are not the 736 of "
                       'seg11valid', file=file, do="Take both lists again from the data sets' "
                       'archives.')
