"""What a run is asked for, checked before anything is trained or written: options that its stage
takes, folders that are there, a teacher that fits."""

import os

from ..data import parse_params, python_layers
from ..data.voc import VocFolder
from ..errors import FcnError, located
from ..layers.python import make_reader
from ..predict.labels import data_params, val_file
from ..proto.prototxt import parse_net, read_net
from .options import AGAINST, FOLDERS, NONE, PUBLISHED, own_data_alone
from .runs import CROPS, Run
from .stages import STAGES, shipped


def check_options(run: Run) -> None:
    """FcnError for options that the stage does not take."""
    stage, options = run.stage, run.options
    check_method(run)
    for name in *FOLDERS, *CROPS:
        if getattr(options, name) not in (None, '') and name not in stage.takes:
            others = [other for other in STAGES if name in STAGES[other].takes]
            raise FcnError(f"the stage {run.name} takes no '{name}'", code='option-not-taken',
                           facts={'stage': run.name, 'option': name.replace('_', '-')},
                           do=f'Leave it out; the stages that take it are {", ".join(others)}.')
    check_distilled(run)
    own = 'voc' in stage.takes
    if options.weights == NONE and stage.zero_fillers and not options.own_voc:
        raise FcnError(f'all layers of the shipped net {run.name} start from 0 without '
                       'weights', facts={'stage': run.name, 'weights': stage.weights},
                       code='zero-fillers' if own else 'classifier-needed',
                       do='Give a file as weights; or, for random weights, a voc folder '
                          'without sbd, or a scratch stage.')
    if not os.path.isfile(run.solver_file):
        found = sorted(path.name for path in shipped(run.name).glob('solver*.prototxt'))
        raise FcnError(f"the stage {run.name} has no solver '{options.solver}'",
                       file=str(shipped(run.name)), code='no-solver' if found else 'no-stage',
                       facts={'stage': run.name, 'solvers': ', '.join(found)},
                       do=f'Give one of {", ".join(found)}, or the path of a solver.'
                       if found else 'Write the folder from recipe.models.MODELS.')
    for name in 'dialect', 'define':
        if getattr(options, name) and run.solver_file.parent == shipped(run.name):
            raise FcnError(f'{name} is for a solver of your own', code='option-not-taken',
                           facts={'option': name}, do='Give its path as solver.')
    if options.batch or options.samples:
        run.solver_text(shipped(run.name))


def check_method(run: Run) -> None:
    """FcnError for a method or class weights that the stage does not take: a classifier takes
    none, nor does a solver of the user's own, whose nets are not rewritten."""
    options, mine = run.options, run.solver_file.parent == shipped(run.name)
    given = [name for name, value in (('class_weights', options.class_weights),
                                      ('method', options.method.changes)) if value]
    for name in given:
        if run.stage.classifier or not mine:
            whose = 'classifier' if run.stage.classifier else "solver of one's own"
            raise FcnError(f"the stage {run.name} takes no '{name}' with a {whose}",
                           code='method-not-taken', facts={'stage': run.name},
                           do=f'Leave out {name}.')
    if options.class_weights and run.weighs_by_matrix and not options.own_voc:
        raise own_data_alone('class_weights')


def check_distilled(run: Run) -> None:
    """FcnError for a stage that learns from a teacher and is given none, for weights of losses
    without one, and for a teacher where there is no use of it."""
    options = run.options
    given = [name for name in ('teacher', *AGAINST) if getattr(options, name) is not None]
    if given and (run.stage.classifier or not run.distilled):
        alone = '' if run.stage.classifier else ' without a teacher'
        raise FcnError(f"the stage {run.name} takes no '{given[0]}'{alone}",
                       code='option-not-taken', do=f'Leave out {given[0]}.',
                       facts={'stage': run.name, 'option': given[0].replace('_', '-')})
    if run.losses and options.teacher is None:
        raise FcnError(f'{run.name} learns from a teacher, and none is given',
                       code='teacher-needed', facts={'stage': run.name},
                       do='Give the folder of a finished run as teacher; or, for the student '
                          'alone, pixel_wise=0 and pair_wise=0.')
    if options.teacher is not None and not run.losses:
        raise FcnError('a teacher, and both losses against it have weight 0',
                       code='option-not-taken', facts={'option': 'teacher'},
                       do='Leave out teacher.')
    if run.losses and run.solver_file.parent != shipped(run.name):
        raise FcnError('a teacher is put into the nets of the stage, and the solver is one of '
                       'your own', code='option-not-taken', facts={'option': 'solver'},
                       do='Leave out solver.')


def check_teacher(run: Run) -> None:
    """FcnError for a teacher that the student's nets and classes do not fit."""
    if run.teacher is None or run.losses is None:
        return
    if run.model is None:
        train = read_net(min(shipped(run.name).glob('train*.prototxt')))
        reader, params = data_params(val_file(shipped(run.name)))
    else:
        train = parse_net(run.model.files()[f'{run.model.splits[0]}.prototxt'],
                          'the train net')
        reader = python_layers[run.model.val['module'], run.model.val['layer']]
        params = parse_params(run.model.val['param_str'])
    if reader is not None:
        run.teacher.check_names(reader.class_names(params) or ())
    run.teacher.in_net(train, run.losses)


def check_folders(run: Run) -> None:
    """FcnError for the user's folders of data that are none, whose splits and first val image
    cannot be read, or, of the paper's data sets, that lack a file: before a parent is trained
    for them."""
    for name in FOLDERS:
        folder = getattr(run.options, name)
        if folder is not None and not os.path.isdir(folder):
            raise FcnError('there is no such folder', file=str(folder), code='bad-folder',
                           facts={'option': name}, do=f'Give {name} the path of a folder.')
    if run.options.own_voc is not None:
        VocFolder(run.options.own_voc, 'train')
        _ = run.model           # reads the val split
    elif any(getattr(run.options, name) for name in ('sbd', 'm2nist', *PUBLISHED)):
        _, train = run.solver_and_net(shipped(run.name))
        for text in train, read_net(val_file(shipped(run.name))):
            with located(text.file):
                for layer in text.message.layer:
                    if layer.type == 'Python':
                        make_reader(layer.python_param, run.options.overrides).check_files()
    check_teacher(run)
