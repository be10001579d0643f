"""data check of the paper's other data sets: what is good, and every kind of fault, by file."""

from pathlib import Path

import numpy as np
import original_layouts as layouts
import pytest
import scipy.io
from commands import call
from data_folders import message
from PIL import Image

from fcn_repro.data import published
from fcn_repro.data.check import check_folder
from fcn_repro.data.nyud import NYUD_CLASSES
from fcn_repro.data.published import KNOWN, Known, difference, digest_of
from fcn_repro.data.siftflow import SCENES
from fcn_repro.data.voc import VocFolder

SIZE = 12, 60
ROOMS = {'train': ['5003', '5004'], 'val': ['5005'], 'test': ['5001', '5002']}
SCENE_IDS = {'trainval': ['coast_art1', 'street_par9'], 'test': ['forest_for7']}
VOC_IDS = {'train': ['2008_000002', '2008_000007'], 'val': ['2008_000003']}
MAKERS = {'nyud': lambda root: layouts.make_nyud(root, ROOMS, SIZE),
          'siftflow': lambda root: layouts.make_siftflow(root, SCENE_IDS, SIZE),
          'sbd': lambda root: layouts.make_sbd(root, VOC_IDS, SIZE),
          'context': lambda root: layouts.make_context(root, VOC_IDS, SIZE)[1]}


def kinds(found):
    """{kind of fault: names of its files}."""
    made = {}
    for fault in found.all:
        made.setdefault(fault.kind, []).append(fault.file.name)
    return made


@pytest.fixture
def whole(monkeypatch):
    """The published splits are those of these tests."""
    splits = {'NYUDv2': ROOMS, 'SIFT Flow': SCENE_IDS, 'SBD': VOC_IDS, 'VOC2011': VOC_IDS,
              'VOC2010 for PASCAL-Context': VOC_IDS}
    monkeypatch.setattr(published, 'KNOWN', {
        name: {split: Known(len(ids), digest_of(ids)) for split, ids in each.items()}
        for name, each in splits.items()})


@pytest.mark.parametrize('layout', MAKERS)
def test_a_good_data_set(tmp_path, layout, whole):
    found = check_folder(MAKERS[layout](tmp_path))
    assert found.layout == layout and not found.errors and not kinds(found).keys() - {
        'no-train', 'no-val', 'absent'}
    ids = {'nyud': ROOMS, 'siftflow': SCENE_IDS}.get(layout, VOC_IDS)
    assert found.splits == {split: len(each) for split, each in ids.items()}
    assert found.classes == {'nyud': 40, 'siftflow': 33, 'sbd': 21, 'context': 60}[layout]
    assert found.sizes == {SIZE: sum(map(len, ids.values()))}
    assert found.histogram.sum() == SIZE[0] * SIZE[1] * sum(map(len, ids.values()))


@pytest.mark.parametrize('layout', MAKERS)
def test_a_part_of_a_data_set_is_a_warning(tmp_path, layout):
    found = check_folder(MAKERS[layout](tmp_path))
    splits = 3 if layout == 'nyud' else 2
    assert len(kinds(found)['partial']) == splits and not found.errors


def test_missing_and_damaged_files(tmp_path):
    nyud = MAKERS['nyud'](tmp_path)
    (nyud / 'data/hha/img_5001.png').unlink()
    (nyud / 'data/depth/img_5002.png').unlink()
    (nyud / 'data/images/img_5003.png').unlink()
    (nyud / 'segmentation/img_5004.mat').unlink()
    scipy.io.savemat(nyud / 'segmentation/img_5005.mat', {'labels': np.ones(SIZE)})
    depth = np.full(SIZE, 900, np.uint16)
    depth[:2, :3] = 0
    Image.fromarray(depth).save(nyud / 'data/depth/img_5001.png')
    Image.fromarray(np.zeros((5, 6, 3), np.uint8)).save(nyud / 'data/hha/img_5002.png')
    made = kinds(check_folder(nyud))
    assert made.items() >= {
        'no-hha': ['img_5001.png'], 'no-depth': ['img_5002.png'], 'no-image': ['img_5003.png'],
        'no-label': ['img_5004.mat'], 'label-values': ['img_5005.mat'],
        'depth-holes': ['img_5001.png'], 'size': ['img_5002.png']}.items()


def test_without_hha_at_all_colour_can_be_trained(tmp_path, whole):
    nyud = MAKERS['nyud'](tmp_path)
    for path in (nyud / 'data/hha').iterdir():
        path.unlink()
    (nyud / 'data/hha').rmdir()
    found = check_folder(nyud)
    assert not found.errors and kinds(found)['no-hha-at-all'] == ['hha']
    assert found.notes == ('with depth',)


def test_both_labels_of_sift_flow(tmp_path):
    sift = MAKERS['siftflow'](tmp_path)
    scipy.io.savemat(sift / f'SemanticLabels/{SCENES}/coast_art1.mat', {'S': np.full(SIZE, 34)})
    scipy.io.savemat(sift / f'GeoLabels/{SCENES}/street_par9.mat', {'S': np.full(SIZE, 4)})
    (sift / f'GeoLabels/{SCENES}/forest_for7.mat').unlink()
    found = check_folder(sift)
    assert kinds(found)['label-values'] == ['coast_art1.mat', 'street_par9.mat']
    assert kinds(found)['no-label'] == ['forest_for7.mat']
    assert any('-1 to 3' in fault.what for fault in found.errors)


def test_a_list_of_others_and_ids_listed_twice(tmp_path, whole):
    nyud = MAKERS['nyud'](tmp_path)
    (nyud / 'test.txt').write_text('5001\n5003\n')
    (nyud / 'val.txt').write_text('5005\n5005\n')
    made = kinds(check_folder(nyud))
    assert sorted(made['list']) == ['test.txt', 'val.txt'] and made['twice'] == ['val.txt']
    (nyud / 'classes.txt').write_text(''.join(f'{name}\n' for name in NYUD_CLASSES[:-1]) + 'x\n')
    assert 'list' not in kinds(check_folder(nyud)), 'it is a data set of its own'


def test_a_split_that_there_is_not(tmp_path):
    found = check_folder(MAKERS['siftflow'](tmp_path), ['train'])
    assert [fault.kind for fault in found.errors] == ['split'] and not found.records


def test_context_finds_the_images_beside_it_or_where_it_is_told(tmp_path, capsys):
    context = MAKERS['context'](tmp_path)
    (tmp_path / 'pascal').rename(tmp_path / 'elsewhere')
    text = check_folder(context).errors[0].what
    assert 'VOC2010' in text
    status, out, _ = call(f'data check {context}', capsys)
    assert status == 1 and 'Give --pascal DIR' in out
    found = check_folder(context, pascal=tmp_path / 'elsewhere')
    assert not found.errors and found.pascal == tmp_path / 'elsewhere'
    status, out, _ = call(f'data check {context} --pascal {tmp_path}/elsewhere', capsys)
    assert status == 0 and f'--context {context} --pascal {tmp_path}/elsewhere' in out


def test_the_next_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for layout, words in (('nyud', 'nyud-fcn32s-color --nyud nyud'),
                          ('siftflow', 'siftflow-fcn32s --siftflow sift-flow'),
                          ('sbd', 'voc-fcn32s --sbd dataset')):
        folder = MAKERS[layout](Path())
        status, out, err = call(f'data check {folder}', capsys)
        assert status == 0 and not err and f'next: fcn-repro train {words}\n' in out, out


def test_the_remedy_for_missing_hha_makes_it(tmp_path, capsys):
    size = 192, 256                 # NYUDv2's, scaled: its camera is known
    nyud = layouts.make_nyud(tmp_path, ROOMS, size)
    rows = np.linspace(4000, 1500, size[0]).astype(np.uint16)
    for path in (nyud / 'data/depth').iterdir():
        Image.fromarray(np.repeat(rows[:, None], size[1], 1)).save(path)
    (nyud / 'data/camera.txt').write_text('')
    for name in '5001', '5004':
        (nyud / f'data/hha/img_{name}.png').unlink()
    status, out, _ = call(f'data check {nyud}', capsys)
    assert status == 1 and '2 x images without HHA' in out
    command = f'fcn-repro data hha {nyud}'
    assert command in out
    (nyud / 'data/camera.txt').unlink()
    assert call(f'data hha {nyud} --camera 208 208 130 101', capsys)[0] == 0
    assert call(f'data check {nyud}', capsys)[0] == 0


def test_a_test_split_of_voc_has_no_labels(tmp_path, capsys):
    voc = layouts.make_voc(tmp_path, VOC_IDS | {'test': ['2008_000001', '2008_000006']}, 2012, SIZE)
    for id_ in '2008_000001', '2008_000006':
        (voc / f'SegmentationClass/{id_}.png').unlink()
    found = check_folder(voc, ['train', 'val', 'trainval'])
    assert [fault.kind for fault in found.errors] == ['split']          # there is no such list
    found = check_folder(voc, ['train', 'test'])
    assert not found.errors and kinds(found)['unlabelled'] == ['test.txt']
    assert found.splits == {'train': 2, 'test': 2}
    reader = VocFolder(voc, 'test')
    assert not reader.has_labels() and (reader.load_unlabelled(0).label == 255).all()
    (voc / 'SegmentationClass/2008_000002.png').unlink()
    (voc / 'SegmentationClass/2008_000007.png').unlink()
    assert kinds(check_folder(voc, ['train']))['no-mask'] == ['2008_000002.png', '2008_000007.png']


# Published splits

def test_the_facts_of_the_paper():
    assert {name: KNOWN['NYUDv2'][name].count for name in ('trainval', 'test')} == {
        'trainval': 795, 'test': 654}
    assert KNOWN['VOC2011']['train'].count == 1112 and KNOWN['SBD']['train'].count == 8498
    assert KNOWN['VOC2011']['seg11valid'].count == 736 and KNOWN['SIFT Flow']['test'].count == 200
    for splits in KNOWN.values():
        if {'train', 'val', 'trainval'} <= splits.keys():
            assert splits['trainval'].count == splits['train'].count + splits['val'].count


def test_lists_of_another_year_are_told(tmp_path):
    ids = [f'2008_{i:06}' for i in range(1464)]
    assert difference('VOC2011', 'train', ids) == (
        'year', "'train' has 1,464 ids, that of VOC2011 1,112; so many has VOC2012")
    assert difference('VOC2012', 'train', ids) == ('', '')
    assert difference('VOC2012', 'train', ids[:1112])[0] == 'year'
    assert difference('VOC2011', 'train', ids[:9])[0] == 'partial'
    assert difference('VOC2011', 'seg11valid', ids[:736]) == (
        'list', "the 736 ids of 'seg11valid' are not those of VOC2011")
    assert difference('mine', 'train', ids) == difference('VOC2011', 'mine', ids) == ('', '')
    voc = layouts.make_voc(tmp_path, VOC_IDS, size=SIZE)
    (voc / 'ImageSets/Segmentation/train.txt').write_text('\n'.join(ids))
    found = check_folder(voc, ['train'])
    assert kinds(found)['year'] == ['train.txt'] and found.errors


def test_seg11valid_of_whole_lists_is_the_published_one(tmp_path, monkeypatch):
    """736 images: VOC2011 val has 1,111 ids, of which SBD train has 375 among its 8,498."""
    voc = layouts.make_voc(tmp_path, {'val': []})
    sbd = layouts.make_sbd(tmp_path, {'train': []})
    val = [f'2009_{i:06}' for i in range(1111)]
    train = [f'2010_{i:06}' for i in range(8498 - 375)] + val[736:]
    layouts.write_lists(voc / 'ImageSets/Segmentation', {'val': val})
    layouts.write_lists(sbd, {'train': train})
    assert 'not the 736' in message(VocFolder, voc, 'seg11valid', sbd)
    monkeypatch.setitem(KNOWN['VOC2011'], 'seg11valid', Known(736, digest_of(val[:736])))
    reader = VocFolder(voc, 'seg11valid', sbd)
    assert reader.ids == val[:736]
    layouts.write_lists(sbd, {'train': train[:5000] + val[700:]})
    assert len(VocFolder(voc, 'seg11valid', sbd)) == 700, 'parts of them are no error'
