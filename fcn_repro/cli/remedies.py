"""Remedies for errors, in terms of command-line options and make variables.

{code of an FcnError: text, or several}. {name} in a text is one of the error's facts. Of several
texts a command shows the first whose options it has; if none fits, it shows the error's own remedy,
which names Python parameters. Another command is written in backticks with its options,
`fcn-repro train {stage}`; the equivalent for make is in parentheses, (make: RESTORE=1), and is left
out in an installed package. A test compares codes, facts, commands and options with the package.
"""

UNFOLDED = ('Make them with `fcn-repro bn-statistics --net --weights --out` of the train net, and '
            'give the net and the weights that it writes.')
REMEDIES: dict[str, str | tuple[str, ...]] = {
    'no-folder': 'Give another --out, or fix its permissions or the free space.',
    'folder-in-use': ('Wait until it ends or stop it, or give another --out.',
                      'Wait until it ends or stop it, or give another --runs.'),
    # several processes
    'no-group': 'Start it with torchrun, as docs/cluster.md shows, or unset WORLD_SIZE.',
    'process-lost': ('Correct what ended it and start all of them again, with --restore auto.',
                     'Correct what ended it and start all of them again.'),
    'processes-differ': 'Give all of them the same files and options: a folder that all machines '
                        'share, and one version of this project and of torch.',
    'too-many-processes': ('Start at most {passes} processes, or give --samples.',
                           'Start at most {passes} processes.'),
    # the zoo
    'no-family': '`fcn-repro zoo --list` has their names.',
    # paths
    'write-not-allowed': 'Give --allow-writes {folder}, or another name in the text.',
    # forks
    'which-dialect': 'Give --dialect NAME, one of {dialects}.',
    'undefined': 'Give each of them as --define {name}=VALUE.',
    'bn-unfolded': UNFOLDED,
    # user code
    'user-code-off': 'If you trust it, leave out --no-user-code.',
    # data
    'too-many-pixels': 'Give a smaller copy, or --max-pixels {pixels}.',
    'output-exists': 'Give another --out, or remove this one.',
    'output-inside': 'Give --out a folder beside that of the images.',
    'data-faults': '`fcn-repro data check {folder}{asked}` lists every file, and says what to do.',
    'data-layout': 'Convert it with `fcn-repro data convert`.',
    'data-edges': 'Export the masks without smoothed edges; or convert them with `fcn-repro data '
                  'convert --other nearest`, which rounds them, or --other void, which leaves the '
                  'edges out of loss and scores.',
    'data-lossy': 'Give the PNG that it was made from; if there is none, `fcn-repro data convert '
                  '--other nearest` rounds to the classes, wrong at some edges.',
    'data-many-colours': 'Give --colours TABLE; or --other nearest, if they are those of smoothed '
                         'edges.',
    'data-colours': 'Convert them with `fcn-repro data convert --masks rgb`, and --colours TABLE '
                    'for your own classes.',
    'data-mask-mode': 'Convert them with `fcn-repro data convert --masks index`.',
    'data-image-mode': 'Convert them with `fcn-repro data convert`, or save them as RGB.',
    'data-binary': 'If 255 is the object, convert them with `fcn-repro data convert --masks '
                   'binary`.',
    'data-huge': 'Convert them with `fcn-repro data convert --longest {longest}`, or expect long '
                 'training.',
    'image-too-large': 'Convert the images with `fcn-repro data convert --longest {longest}`.',
    'data-mostly-void': 'Check that 255 is meant as void; if the labels are scribbles, give '
                        '--scribbles, and train with `fcn-repro train own-scribbles`.',
    'data-whole-masks': 'Train with `fcn-repro train own`; or make scribbles of them with '
                        '`fcn-repro data scribbles --out`.',
    'bad-width': 'Give --width 1 to {most}.',
    'not-of-tags': 'Give --run one of own-tags or own-fickle; `fcn-repro train own-tags` makes it.',
    'of-tags': 'Make seeds of its class maps with `fcn-repro data localise --run --out`, and train '
               'on them with `fcn-repro train own-scribbles`.',
    'bad-thresholds': 'Give --foreground and --background from 0 to 1, the first above 0 and not '
                      'below the second.',
    'other-classes': 'Give the folder that the run was trained on, or train one on this folder: '
                     '`fcn-repro train {stage} --voc {folder}`.',
    'data-ids': 'Give --classes {classes}, or correct the ids; 255 is void.',
    'data-fewer': 'Give --classes {classes}.',
    'no-data-set': 'Give {layout} (relative paths start at {here}); `fcn-repro data list` says '
                   'where data sets come from, and `fcn-repro data fetch` gets one.',
    'no-hha': 'Make it with `fcn-repro data hha {folder}`.',
    'data-no-hha': 'Make it with `fcn-repro data hha {folder}`.',
    'data-no-hha-at-all': 'Make it with `fcn-repro data hha {folder}`.',
    'data-no-pascal': 'Give --pascal DIR, the folder that VOC2010 is in.',
    # fetching
    'no-source': '`fcn-repro data list` has their names.',
    'one-address': 'Give one name with --url.',
    'bad-tries': 'Give --tries 1 or more, and a --timeout above 0.',
    'not-fetched': 'Give the same command later, which goes on from there, or --url with another '
                   'address of this file; or put the file there yourself, as {path}: it is '
                   'verified and taken.',
    'wrong-hash': 'Remove it, if it is there, and give the command again, with another --url if it '
                  'stays so.',
    'fetch-exists': 'Remove it, or give another --out.',
    'no-room-to-fetch': 'Free space, or give another --out.',
    'bad-workers': 'Give --workers 0 (no reading ahead) to {most}.',
    'no-camera': 'Give --camera FX FY CX CY, focal lengths and principal point in pixels, or write '
                 'these four numbers into camera.txt of the folder.',
    # viewer
    'too-large-to-draw': 'Give --text.',
    'not-a-drawing': 'Give another --out, or remove it first.',
    # net
    'no-such-device': 'Use --device cpu, or a torch built for CUDA.',
    'gpu-precision': 'Use fp32 or bf16, or --device cuda.',
    'fp16-training': 'Use --precision bf16 or tf32.',
    # solver
    'no-room': 'Free space, keep fewer snapshots (--keep N), or write elsewhere; nothing was '
               'written, and earlier snapshots are untouched.',
    'changed-since': 'Restore with those, or give --force to continue with the new ones:\n'
                     '{changes}',
    'diverged': ('Lower base_lr ({base_lr}; --restore with another needs --force), or check the '
                 'data and the weights; the latest snapshot is untouched.',
                 'Lower base_lr ({base_lr}), or check the data and the weights; the latest '
                 'snapshot is untouched.'),
    'no-state': 'Give a .solverstate or .solverstate.h5; weights alone start a new run, given as '
                'weights.',
    # doctor
    'doctor-bn-unfolded': UNFOLDED,
    'nothing-to-examine': 'Give the folder of a run, or --solver, or --net and --weights.',
    'doctor-pytorch-file': 'Convert it first: `fcn-repro convert {file} vgg16.caffemodel`.',
    # predict: the CRF
    'crf-setting': 'Give --{option} a number {wanted}.',
    'crf-image': 'Give data with RGB images, or leave out --crf.',
    # recipe: options
    'not-positive': 'Give --{option} 1 or more.',
    'negative': 'Give --{option} 0 or more.',
    'restore-fresh': 'Give --restore or --fresh.',
    'force-alone': 'Give --force together with --restore, or leave it out.',
    'classes-alone': 'Give the folder of your data set with --voc.',
    'bad-classes': 'Give --classes 1 to 255.',
    'sbd-classes': 'Leave out --sbd or --classes.',
    'two-data-sets': 'Give --{one} or --{other}.',
    'bad-folder': 'Give --{option} the path of a folder.',
    'bad-split': 'Give --split the name of a split file, without .txt.',
    'option-not-taken': 'Leave out --{option}.',
    'own-data-alone': 'Give --voc DIR, without --sbd, or leave out --{option}.',
    'bad-method': 'Give --{option} {wanted}.',
    'method-unfit': 'Leave out --{option}.',
    'method-not-taken': 'Leave out --class-weights, --learn, --random-scores, --bias-rate, '
                        '--keep-ratio, --keep-cell, --relax, --train-split, --mirror and --jitter.',
    'bad-rotate': 'Give --rotate an angle from 0 to 180 degrees.',
    'bad-recolour': 'Give --recolour a fraction from 0 to 1.',
    'bad-class-weights': 'Give --class-weights balanced or median, or one number above 0 for each '
                         'class, background too, with commas between them.',
    'samples-not-multiple': 'Give --samples as a multiple of {batch}, or another --batch.',
    'too-many-samples': 'Give --batch and --samples of at most {most} samples an iteration.',
    'rate-rule': 'Leave out --batch or --samples.',
    'zero-fillers': 'Give --weights FILE; or, for random weights, --voc without --sbd, or a '
                    'scratch stage.',
    'no-solver': 'Give --solver with one of {solvers}, or with the path of a solver.',
    'no-stage': 'Write its folder with `fcn-repro make-prototxt`.',
    'no-voc-layout': 'Leave out --voc-dir.',
    'deploy-alone': 'Name another --model, or leave out --classes and the other settings.',
    'weights-needed': 'Give --weights {weights} (make: WEIGHTS=…), or, for a data set of your own, '
                      '--weights none.',
    'classifier-needed': 'Give --weights {weights} (make: WEIGHTS=…).',
    'weights-not-taken': 'Leave out --weights.',
    'weights-of-streams': 'Give --weights A,B: the files of {parents}, in this order.',
    'weights-unused': 'Leave out --weights.',
    # recipe: runs
    'no-weights': 'Train it first, or name a file with --weights.',
    'no-finished-run': 'Train one (`fcn-repro train {stage}`), or give --run, or --net and '
                       '--weights.',
    'only-stopped-runs': 'Go on with it (`fcn-repro train {stage} --restore`), or take its newest '
                         'weights: --run {run}.',
    'no-weights-yet': 'Wait for its first snapshot, or name a file with --weights.',
    'no-snapshot': 'Train without --restore.',
    'run-immovable': 'Give another --out.',
    'run-stopped': ('Give --restore to resume it (make: RESTORE=1), or --fresh to start anew '
                    '(make: FRESH=1).',
                    'Resume it with `fcn-repro train {stage} --restore` '
                    '(make: train-{stage} RESTORE=1).'),
    'run-differs': ('Give another --out or --runs, or --fresh to set it aside (make: FRESH=1).',
                    'Give another --runs.'),
    'later-snapshot': 'Give another --out, or move the later snapshots away.',
    'parent-missing': 'Train it first with `fcn-repro train {stage}` (make: train-{stage}), or '
                      'give --weights FILE (make: WEIGHTS=…).',
    'parent-running': 'Wait until it ends, or give --weights FILE (make: WEIGHTS=…).',
    'parent-stopped': 'Resume it with `fcn-repro train {stage} --restore` '
                      '(make: train-{stage} RESTORE=1); or start from it as it is: '
                      '--weights {weights} (make: WEIGHTS=…).',
    'parent-differs': 'Train the earlier stages on the same data; to start from these weights all '
                      'the same, name them with --weights.',
    'classifier-weak': 'Train it longer, `fcn-repro train {stage} --iterations N --restore`, or '
                       'anew, `fcn-repro train {stage} --fresh --seed N`.',
    # recipe: teachers
    'teacher-needed': 'Give --teacher RUN, the folder of a finished run; or, for the student '
                      'alone, --pixel-wise 0 and --pair-wise 0.',
    'teacher-missing': 'Give --teacher the folder of a finished run, as `fcn-repro train own '
                       '--voc` makes one, or its net and weights, with a comma between.',
    'teacher-unfinished': 'Resume it with `fcn-repro train {stage} --restore`; or take it as it '
                          'is: --teacher {net},{weights}.',
    'teacher-classes': 'Give --teacher a run that was trained on these classes.',
    'teacher-names': 'Give --teacher a run that was trained on these classes; or, if the names '
                     'alone differ, its files: --teacher {net},{weights}.',
    'teacher-size': 'Give --teacher a run whose scores have the size of the image.',
    'student-size': 'Leave out --teacher, or train a stage whose loss is at the size of the image.',
    'teacher-unfit': 'Give --teacher another run.',
    'no-features': 'Give --pair-wise 0.',
    # export
    'export-exists': 'Give another --out, or --force to write over it.',
    # evaluation
    'no-data': 'Give a val net; or, for a deploy net, --voc DIR, a folder in the layout of VOC.',
    'mean-unused': 'Leave out --mean.',
    # predict
    'several-outputs': 'Give one of them with --output BLOB.',
    'one-channel': 'Give --threshold T, above which it means the object (0 for a logit); or end '
                   'the net in Sigmoid or ArgMax.',
    'threshold-unused': 'Leave out --threshold.',
    'argmax': "Set axis: 1 without out_max_val, or give --output {scores}.",
    'not-segmentation': 'Give --heatmap for a classifier.',
    'not-classifier': 'Leave out --heatmap for a segmentation net.',
    'fixed-size': 'Give --sliding, which runs it in windows of {size}.',
    'own-windows': 'Leave out --sliding.',
    'tile-unused': 'Leave out --tile.',
    'bad-scales': 'Give --scales above 0, up to 8.',
    'scale-large': 'Give smaller --scales, or a smaller --base-size.',
    'views-of-val': 'Give a deploy net with --net, and its data with --voc DIR.',
    'score-size': 'Crop it to the data, or give --heatmap for the class grid of a classifier.',
    'image-small': 'Give --scale {scale}, or a larger image.',
    'output-overwrites': 'Give another --out.',
    'output-collides': 'Rename one, or use a different --out for each.',
    'output-unwritable': 'Give another --out, or check its permissions and the disk space.',
    'gpu-memory': 'Give --tile N (512, or smaller), --device cpu, or a smaller image.',
    'no-tiles': 'Give --tile 0 to run it whole, or a smaller image.',
    'no-probabilities': 'Leave out --probabilities, or give the scores that it is made from as '
                        '--output.',
}

# Printed along with what train and compare report (recipe.training.HINTS); {stage} is its name.
HINTS = {
    'trained-already': '--fresh starts anew',
    'run-interrupted': 'resume it with --restore (make: RESTORE=1)',
    'several-processes': '--samples S sets the samples of an iteration, by the rate rule.',
    'long-training': 'Use a GPU, or --iterations for a trial (make: ITERATIONS=…).',
    'data-whole-masks': '`fcn-repro train own` learns from masks.',
    'data-fewer': 'Give --classes {classes} (make: CLASSES={classes}).',
}
