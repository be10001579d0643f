"""The paper's Table 1, three classifiers as FCNs, and Table 3, FCN-8s on the test sets."""

from __future__ import annotations

from dataclasses import replace

from ..data.scenes import FOLDER, make_scenes
from ..files import read_regular
from ..formats.atomic import write_text
from ..net.placement import hardware
from ..recipe.method import Method
from ..recipe.provenance import commit
from ..recipe.stages import shipped
from ..report.paper import tables
from ..viewer.facts import facts_of_net
from .claims import Claim, findings
from .experiment import SHORT, Line, Setting, stated, table_of_runs
from .outcome import Measured, Outcome, Row, Table
from .released import released
from .speed import devices, facts, forward_seconds
from .tables import CVPR, DIGITS, ITERATIONS

ALEXNET, VGG16, GOOGLENET = 'FCN-AlexNet', 'FCN-VGG16', 'FCN-GoogLeNet'
VOC_TRAIN = {'method': Method(train_split='train')}     # VOC 2011's 1,112 images, not SBD's
FEW = 'train_few'       # a split of the scenes, as large a part of them as 1,112 is of SBD's 8,498
FEW_OF_ALL = 1112 / 8498
NETS = (
    Line(ALEXNET, 'alexnet', 'voc-fcn-alexnet', options=VOC_TRAIN),
    Line(VGG16, 'vgg16', 'voc-fcn32s', options=VOC_TRAIN),
    Line(GOOGLENET, 'googlenet', 'voc-fcn-googlenet', options=VOC_TRAIN),
)
MINI_NETS = (
    Line(ALEXNET, 'alexnet', mini='mini-fcn-alexnet'),
    Line(VGG16, 'vgg16', mini='mini-fcn32s'),
    Line(GOOGLENET, 'googlenet', mini='mini-fcn-googlenet'),
)
MORE, FEWER = f'{VGG16}, all images', f'{VGG16}, an eighth of them'
SBD = (
    Line(f'{ALEXNET}, SBD', 'alexnet', 'voc-fcn-alexnet'),
    Line(f'{VGG16}, SBD', 'vgg16', 'voc-fcn32s'),
)
MINI_SBD = (
    Line(MORE, mini='mini-fcn32s'),
    Line(FEWER, mini='mini-fcn32s', options={'method': Method(train_split=FEW)}),
)
GRAPHS = {'alexnet': (ALEXNET, 'voc-fcn-alexnet', None), 'vgg16': (VGG16, 'voc-fcn32s', None),
          'googlenet': (GOOGLENET, 'voc-fcn-googlenet', None)}
POOLED = f'{GOOGLENET} with its 7x7 average pool', 'googlenet', 'pool5/7x7_s1'
COLUMNS = 'milliseconds', 'conv_layers', 'parameters', 'receptive_field', 'stride'
CLAIMS = (
    Claim('VGG16 makes a better FCN than AlexNet', VGG16, ALEXNET),
    Claim('VGG16 makes a better FCN than GoogLeNet', VGG16, GOOGLENET),
    Claim('more labelled images improve the net', f'{VGG16}, SBD', VGG16),
    Claim('more labelled images improve the net', MORE, FEWER),
)


def table1(setting: Setting) -> Outcome:
    """Table 1: the three nets, by their scores, and by their graphs and times at full width."""
    if setting.mini:
        scores = table_of_runs('', 'table1', MINI_NETS, setting, DIGITS, ('mean_iu',), ITERATIONS)
        more = table_of_runs('more images', 'table1-sbd', MINI_SBD, setting, DIGITS,
                             more=ITERATIONS)
        more = replace(more, rows=tuple(row for row in more.rows if row.stated is None))
    else:
        scores = table_of_runs("trained on VOC 2011's train", 'table1', NETS, setting, '',
                               ('mean_iu',), ITERATIONS)
        scores = replace(scores, ours_on='seg11valid, the part of VOC 2011 val that is not in '
                         "SBD's train")
        more = table_of_runs("trained on SBD's train", 'table1-sbd', SBD, setting, '',
                             more=ITERATIONS)
    return Outcome('table1', 'Table 1: three classifiers as FCNs', CVPR, setting.mini,
                   (scores, more, *released('table1', setting), graphs(setting)),
                   findings=findings(CLAIMS, (scores, more), setting.mini))


def make_few() -> None:
    """Write the split FEW of the digit scenes."""
    make_scenes(FOLDER)
    folder = FOLDER / 'ImageSets/Segmentation'
    ids = read_regular(folder / 'train.txt', 'a split file').decode().split()
    write_text(''.join(f'{id_}\n' for id_ in ids[:round(FEW_OF_ALL * len(ids))]),
               folder / f'{FEW}.txt')


def graphs(setting: Setting) -> Table:
    """Layers, parameters, receptive field and stride from the graphs at full width, and the time of
    a forward pass."""
    rows = []
    for key, (label, folder, blob) in GRAPHS.items():
        path, ours = shipped(folder) / 'deploy.prototxt', []
        ours.append(Measured(graph_values(path, blob), (('net', f'{folder}/deploy.prototxt'),)))
        for i, device in enumerate(devices(setting.options.device)):
            measured = Measured({'milliseconds': 1000 * forward_seconds(path, device)},
                                facts(device))
            if i == 0:
                ours.append(measured)
            else:
                rows.append(Row(f'{label}, {hardware(device)}', ours=(measured,)))
        rows.append(Row(label, stated('table1', key), tuple(ours)))
    label, folder, blob = POOLED
    found = graph_values(shipped(folder) / 'deploy.prototxt', blob)
    rows.append(Row(label, ours=(Measured({'receptive_field': found['receptive_field']},
                                          (('net', f'{folder}/deploy.prototxt, {blob}'),)),)))
    return Table('the nets at full width, 21 classes, one 500x500 image', COLUMNS, tuple(rows),
                 tables()['table1'].on, 'graphs as they are shipped; times with random weights, '
                 f'commit {commit()[:SHORT]}')


def graph_values(path, blob: str | None) -> dict[str, float]:
    """The columns that a graph tells."""
    found = facts_of_net(path, blob)
    return {'conv_layers': found.layers, 'parameters': found.parameters,
            'receptive_field': found.receptive_field, 'stride': found.stride}


# ---- Table 3 -------------------------------------------------------------------------------------

SERVER = ("VOC's evaluation server, which alone has the labels (`fcn-repro eval --submit` writes "
          'the archive for it)')


def table3(setting: Setting) -> Outcome:
    """Table 3: scores on the test sets, which a server gives, and the time of FCN-8s."""
    paper = tables()['table3']
    rows = [Row(row.name, row, needs=SERVER if row.key.startswith('fcn') else '')
            for row in paper.rows]
    path = shipped('voc-fcn8s') / 'deploy.prototxt'
    found = devices(setting.options.device)
    for device in found:
        rows.append(Row(f'FCN-8s, {hardware(device)}', stated('table3', 'fcn8s'), (Measured(
            {'milliseconds': 1000 * forward_seconds(path, device)}, facts(device)),)))
    if all(device.type == 'cpu' for device in found):
        rows.append(Row('FCN-8s on a GPU', stated('table3', 'fcn8s'), needs='a GPU'))
    return Outcome('table3', 'Table 3: the test sets, and the time of FCN-8s', CVPR, setting.mini,
                   (Table('', paper.columns, tuple(rows), paper.on,
                          'one 500x500 image, VGG16 at full width, random weights'),))
