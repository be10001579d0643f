"""Options that make no sense, by themselves or for a stage, and what every stage has."""

import re
from pathlib import Path

import pytest
from original_layouts import make_sbd, make_voc

from fcn_repro.cli.remedies import HINTS, REMEDIES
from fcn_repro.errors import FcnError
from fcn_repro.recipe import stages, training
from fcn_repro.recipe.checks import check_options
from fcn_repro.recipe.method import Method
from fcn_repro.recipe.models import FAMILIES, MODELS
from fcn_repro.recipe.options import Options
from fcn_repro.recipe.runs import Run
from fcn_repro.recipe.stages import STAGES, shipped
from fcn_repro.recipe.training import checked, train


@pytest.mark.parametrize('options, code', [
    ({'iterations': 0}, 'not-positive'), ({'keep': 0}, 'not-positive'),
    ({'batch': 0}, 'not-positive'), ({'samples': -4}, 'not-positive'),
    ({'seed': -1}, 'negative'), ({'pictures': -1}, 'negative'),
    ({'workers': -1}, 'bad-workers'), ({'restore': 'newest', 'fresh': True}, 'restore-fresh'),
    ({'force': True}, 'force-alone'), ({'classes': 3}, 'classes-alone'),
    ({'classes': 0, 'voc': 'v'}, 'bad-classes'), ({'classes': 256, 'voc': 'v'}, 'bad-classes'),
    ({'classes': 3, 'voc': 'v', 'sbd': 's'}, 'sbd-classes'),
    *(({name: 'n' * 300}, 'bad-folder') for name in ('voc', 'sbd', 'mnist', 'm2nist')),
    ({'voc': 'a\tb'}, 'bad-folder'), ({'m2nist': 5}, 'bad-folder'),
    ({'teacher': 'a\tb'}, 'bad-folder'),
    ({'recolour': 0.5}, 'own-data-alone'), ({'rotate': 9.}, 'own-data-alone'),
    ({'rotate': 181., 'voc': 'v'}, 'bad-rotate'),
    ({'class_weights': 'some', 'voc': 'v'}, 'bad-class-weights'),
    ({'class_weights': '1,0', 'voc': 'v'}, 'bad-class-weights'),
    ({'class_weights': '1,nan', 'voc': 'v'}, 'bad-class-weights'),
    ({'recolour': 1.5, 'voc': 'v'}, 'bad-recolour'),
    ({'mnist': 'm', 'voc': 'v'}, 'two-data-sets'), ({'mnist': 'm', 'm2nist': 'n'}, 'two-data-sets'),
])
def test_options_that_exclude_each_other_or_are_out_of_range(options, code):
    with pytest.raises(FcnError) as error:
        Options(**options)
    assert error.value.code == code and error.value.do
    REMEDIES[code].format(**error.value.facts)


@pytest.mark.parametrize('name, options, code', [
    ('mini-fcn32s', {'sbd': 's'}, 'option-not-taken'),
    ('mini-classifier', {'voc': 'v'}, 'option-not-taken'),
    ('m2nist', {'voc': 'v'}, 'option-not-taken'),
    ('m2nist-classifier', {'m2nist': 'n'}, 'option-not-taken'),
    ('scratch-fcn32s', {'mnist': 'm'}, 'option-not-taken'),
    ('voc-fcn32s', {'mnist': 'm'}, 'option-not-taken'),
    ('own', {'class_weights': 'balanced'}, 'own-data-alone'),
    ('mini-classifier', {'class_weights': '1,2'}, 'method-not-taken'),
    ('mini-classifier', {'method': Method(learn='scores')}, 'method-not-taken'),
    ('mini-fcn32s', {'method': Method(learn='scores'), 'solver': __file__}, 'method-not-taken'),
    ('voc-fcn32s', {'voc': 'v', 'recolour': 0.0}, 'option-not-taken'),
    ('voc-fcn32s', {'voc': 'v', 'rotate': 9.}, 'option-not-taken'),
    ('mini-classifier', {'batch': 4}, 'option-not-taken'),
    ('m2nist', {'batch': 4}, 'option-not-taken'),
    ('m2nist-classifier', {'batch': 4}, 'option-not-taken'),
    ('voc-fcn32s', {'weights': 'none'}, 'zero-fillers'),
    ('voc-fcn32s', {'weights': 'none', 'voc': 'v', 'sbd': 's'}, 'zero-fillers'),
    ('mini-fcn32s', {'solver': 'solver_x.prototxt'}, 'no-solver'),
    ('own-classifier', {'teacher': 't'}, 'option-not-taken'),
    ('mini-fcn32s', {'pair_wise': 0.0}, 'option-not-taken'),
    ('own-distilled', {}, 'teacher-needed'),
    ('own-distilled', {'pixel_wise': 0.0}, 'teacher-needed'),
])
def test_options_that_a_stage_does_not_take(name, options, code):
    with pytest.raises(FcnError) as error:
        check_options(Run(name, Options(**options)))
    assert error.value.code == code
    assert code == 'own-data-alone' or name in str(error.value)


@pytest.mark.parametrize('name, options', [
    ('mini-fcn32s', {'mnist': 'm'}), ('mini-fcn8s', {'voc': 'v', 'classes': 3, 'weights': 'none'}),
    ('m2nist', {'m2nist': 'n'}), ('m2nist-classifier', {'mnist': 'm'}),
    ('voc-fcn32s', {'voc': 'v', 'sbd': 's'}), ('voc-fcn32s', {'voc': 'v', 'weights': 'none'}),
    ('own', {'voc': 'v', 'class_weights': '1,2', 'recolour': 0.0}), ('own-classifier', {}),
    ('own-distilled', {'teacher': 't', 'pixel_wise': 0.0}),
    ('own-fcn16s', {'teacher': 't'}), ('mini-fcn8s', {'teacher': 't', 'pair_wise': 0.0}),
    ('own-distilled', {'pixel_wise': 0.0, 'pair_wise': 0.0}),
    ('mini-fcn32s', {'class_weights': 'balanced', 'method': Method(keep_ratio=0.5)}),
    ('voc-fcn32s', {'voc': 'v', 'sbd': 's', 'class_weights': 'balanced'}),
    ('scratch-fcn8s', {'voc': 'v'}), ('mini-fcn16s', {'batch': 4, 'samples': 20}),
    ('voc-fcn32s', {'batch': 2}), ('m2nist', {'samples': 32}), ('mini-classifier', {'samples': 48}),
])
def test_options_that_a_stage_takes(name, options):
    check_options(Run(name, Options(**options)))


def test_an_unknown_stage_is_refused_with_the_nearest():
    with pytest.raises(FcnError, match="Did you mean 'mini-fcn32s'"):
        check_options(Run('mini-fcn32'))


def test_families_have_stages_with_prototxt_and_parents():
    without = {'imagenet'}
    assert {stage.family for stage in STAGES.values()} == set(FAMILIES) - without
    assert STAGES.keys() == {name for name, model in MODELS.items() if model.recipes}
    for name, stage in STAGES.items():
        assert (shipped(name) / 'solver.prototxt').is_file()
        assert stage.parent is None or stage.parent in STAGES
        assert not stage.streams or (stage.parent is None and {
            parent for parent, _ in stage.streams} <= STAGES.keys())
        assert stage.net and [stage.family, stage.net] not in [
            [other.family, other.net] for key, other in STAGES.items() if key != name]


@pytest.mark.parametrize('split', ['../x', '/etc/passwd', 'a\tb', 'n' * 300])
def test_a_split_that_no_folder_can_have(split):
    """The error is of the option, and names no line of the prototxt."""
    with pytest.raises(FcnError) as error:
        Options().in_order(split)
    assert error.value.code == 'bad-split' and error.value.file is None
    assert ascii(split)[1:9] in str(error.value)


@pytest.mark.parametrize('name, options', [
    ('mini-fcn32s', {'voc': 'missing'}), ('mini-fcn32s', {'voc': '.'}),
    ('m2nist', {'m2nist': 'missing'}), ('m2nist', {'m2nist': '.'}),
    ('m2nist', {'mnist': 'missing'}), ('voc-fcn32s', {'voc': '.', 'sbd': '.', 'weights': 'w'}),
])
def test_folders_are_checked_before_a_parent_is_trained(name, options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training, 'starting_weights', lambda *_: pytest.fail('too early'))
    with pytest.raises(FcnError):
        training.train(Run(name, Options(**options)))
    assert not list(tmp_path.iterdir())


def test_codes_of_errors_have_remedies():
    """Each code of these packages has one; tests/cli/test_cli.py holds the converse."""
    package = Path(training.__file__).parents[1]
    sources = [path.read_text() for part in ('data', 'predict', 'recipe')
               for path in (package / part).rglob('*.py')]
    codes = {code for text in sources for line in re.findall(r"code=('[^\n]*)", text)
             for code in re.findall(r"'([a-z-]+)'", line.partition(',')[0])}
    assert codes <= REMEDIES.keys()
    assert training.HINTS.keys() == HINTS.keys()


def test_an_installed_package_has_its_prototxt_inside(tmp_path, monkeypatch):
    """A checkout has them next to the package."""
    monkeypatch.setattr(stages, '__file__', str(tmp_path / 'fcn_repro/recipe/stages.py'))
    assert stages.shipped_prototxt() == tmp_path / 'prototxt'
    (tmp_path / 'fcn_repro/prototxt').mkdir(parents=True)
    assert stages.shipped_prototxt() == tmp_path / 'fcn_repro/prototxt'


def test_sbd_is_checked_before_training(tmp_path):
    """All files of SBD's train and of seg11valid, whose faults are one list."""
    sbd = make_sbd(tmp_path / 'sbd', {'train': ['a', 'b', 'c'], 'val': ['d']})
    voc = make_voc(tmp_path / 'voc', {'train': ['a'], 'val': ['b', 'e', 'f']})
    run = Run('voc-fcn32s', Options(voc=str(voc), sbd=str(sbd), out=str(tmp_path / 'run'),
                                    weights='w'))
    assert [found.layout for found in checked(run)] == ['sbd', 'voc']
    assert not [fault for found in checked(run) for fault in found.errors]
    (sbd / 'cls/b.mat').unlink()
    (sbd / 'img/c.jpg').write_bytes(b'no picture')
    with pytest.raises(FcnError, match='training would fail') as caught:
        train(run)
    assert 'b.mat' in str(caught.value) and 'c.jpg' in str(caught.value)
    (voc / 'SegmentationClass/e.png').unlink()
    assert [fault.kind for fault in list(checked(run))[1].errors] == ['no-mask']
    none = Run('voc-fcn32s', Options(voc='.', sbd='.', weights='w'))
    assert list(checked(none)) == []
