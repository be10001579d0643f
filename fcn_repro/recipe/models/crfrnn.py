"""CRF-RNN (arXiv 1502.03240) as a function over netspec: FCN-8s and ten mean-field iterations of a
dense CRF as one layer, MultiStageMeanfield.

The deploy net is the authors' (torrvision/crfasrnn, master): its crops have no parameters, they
align by coordinate maps, and the first weights of its mean field are in files, spatial.par and
bilateral.par. Nets that learn, and the miniature, are written for branch crfrnn, which has these
weights in the text and crops with offsets; the weights that are learned fit both."""

from collections.abc import Sequence

from ...data.scenes import FOLDER
from ...net.coord_map import crop
from ...proto.netspec import L, P, Params
from ..stage import Entry, Stage
from .mini import SETTINGS
from .model import Model, Recipe, voc_data
from .parts import PARAM, filled, softmax_loss, start
from .vgg import CONVS, WIDTHS, scaled

DIALECT, BRANCH = 'crfasrnn-master', 'crfasrnn'
LAYER = 'MultiStageMeanfield'
RATES = (10000, 10000, 1000)    # lr_mult of the spatial, the bilateral and the compatibility matrix
ONE = [{'lr_mult': 1, 'decay_mult': 1}]
STILL = [{'lr_mult': 0}]


def net(data: dict | None = None, *, classes: int = 21, widths: Sequence[int] = WIDTHS,
        fc: int = 4096, iterations: int = 10, rates: Sequence[float] = RATES,
        theta: Sequence[float] = (160, 3, 3), filters: Sequence[float] = (3, 5),
        weight_filler: dict | None = None, shape: tuple[int, ...] = (1, 3, 500, 500),
        input_scale: float = 1, dropout: float = 0.5, normalize: bool = False,
        in_text: bool = False, training: bool = False):
    """CRF-RNN, a NetParameter: data (N,3,H,W) to pred (N,classes,H,W), with data score and loss.

    iterations: of the mean field. rates: lr_mult of its three matrices. theta: its theta_alpha
    (pixels), theta_beta (colour, 0 to 255) and theta_gamma (pixels). filters: weights of the
    spatial and of the bilateral kernel. in_text: the deploy net, too, has its weights in the text.
    training: half as many iterations (5), as the paper trains.
    Other settings as for vgg.fcn.
    """
    own = in_text or data is not None
    dialect = BRANCH if own else DIALECT
    n, engine = start(data, shape, dialect=dialect), Params(dialect).Convolution.CAFFE
    written = filled(weight_filler)

    def conv(bottom, width, kernel, **further):
        return L.Convolution(bottom, num_output=width, kernel_size=kernel, engine=engine,
                             param=PARAM, **further)

    def up(bottom, name, **further):
        return L.Deconvolution(bottom, name=name, convolution_param={
            'num_output': classes, 'kernel_size': 4, 'stride': 2, **further.pop('fields', {})},
            **further)
    top = scaled(n, n.data, input_scale)
    for group, (width, convs) in enumerate(zip(widths, CONVS, strict=True), 1):
        for i in range(1, convs + 1):
            name = f'{group}_{i}'
            n[f'conv{name}'] = conv(top, width, 3, pad=100 if name == '1_1' else 1, **written)
            top = n[f'relu{name}'] = L.ReLU(n[f'conv{name}'], in_place=True)
        top = n[f'pool{group}'] = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=2, stride=2)
    for number, kernel in (('6', 7), ('7', 1)):
        n[f'fc{number}'] = conv(top, fc, kernel, **written)
        n[f'relu{number}'] = L.ReLU(n[f'fc{number}'], in_place=True)
        top = n[f'drop{number}'] = L.Dropout(n[f'relu{number}'], dropout_ratio=dropout,
                                             in_place=True)
    n.score = conv(top, classes, 1, name='score-fr')
    n.score2 = up(n.score, 'score2', param=[{'lr_mult': 1}],
                  fields={'weight_filler': {'type': 'bilinear'}})
    scores = fused(n, n.score2, 'pool4', conv(n.pool4, classes, 1), 'score-fused', own)
    n.score4 = up(scores, 'score4', param=ONE, fields={'bias_term': False})
    scores = fused(n, n.score4, 'pool3', conv(n.pool3, classes, 1), 'score-final', own)
    n.bigscore = L.Deconvolution(scores, name='upsample', param=STILL, convolution_param={
        'num_output': classes, 'bias_term': False, 'kernel_size': 16, 'stride': 8})
    n.coarse = aligned(n.bigscore, n.data, own)
    n.unary, n.Q0 = L.Split(n.coarse, name='splitting', ntop=2)
    alpha, beta, gamma = theta
    n.pred = L.MultiStageMeanfield(
        n.unary, n.Q0, n.data, name='inference1', param=[{'lr_mult': rate} for rate in rates],
        multi_stage_meanfield_param={
            'compatibility_mode': 0, 'threshold': 2, 'theta_alpha': alpha, 'theta_beta': beta,
            'theta_gamma': gamma, 'num_iterations': iterations // 2 if training else iterations,
            **(weights_in_text(filters, classes) if own else {
                'spatial_filter_weight': filters[0], 'bilateral_filter_weight': filters[1]})})
    if data is not None:
        n.loss = softmax_loss(n.pred, n.label, normalize, 255)
    return n.to_proto()


def weights_in_text(filters: Sequence[float], classes: int) -> dict[str, str]:
    """The fields of branch crfrnn: the weight of each kernel, once for each class."""
    return {f'{kernel}_filter_weights_str': ' '.join([f'{weight:g}'] * classes)
            for kernel, weight in zip(('spatial', 'bilateral'), filters, strict=True)}


def aligned(bottom, reference, own: bool):
    """`bottom` cut to the reference; own: with the offset in the text."""
    return crop(bottom, reference) if own else L.Crop(bottom, reference, name='crop')


def fused(n, ups, pool: str, scores, name: str, own: bool):
    """n[name]: `ups` and the scores of a pooling, cropped to it."""
    n[f'score-{pool}'] = scores
    n[f'score-{pool}c'] = aligned(n[f'score-{pool}'], ups, own)
    n[name] = L.Eltwise(ups, n[f'score-{pool}c'], name='fuse', operation=P.Eltwise.SUM)
    return n[name]


ORIGIN = ("the authors' deploy net (torrvision/crfasrnn); it starts from FCN-8s, whose solver it\n"
          'has, and learns with 5 iterations of its mean field')
RECIPE = Recipe(1e-14, max_iter=100000, snapshot=4000, pixels=375 * 500)     # FCN-8s's
MINI = {'classes': 11, 'in_text': True, 'theta': (160, 3, 3), 'rates': (1, 1, 0.1),
        'shape': (1, 3, 256, 320), **{name: SETTINGS[name] for name in (
            'widths', 'fc', 'dropout', 'weight_filler', 'input_scale')}}
VOC = '../data/pascal/VOC2012'
MODELS = {
    'crfrnn-voc': Model(net, {}, voc_data(VOC, 'train'), voc_data(VOC, 'val'), 1449,
                        (RECIPE,), origin=ORIGIN, phased=True),
    'crfrnn-mini': Model(
        net, MINI, voc_data(str(FOLDER), 'train'), voc_data(str(FOLDER), 'val'), 100,
        (Recipe(3e-4, momentum=0.9, max_iter=200, snapshot=200, normalize=True, policy='poly',
                prefix='runs/crfrnn-mini/train'),), phased=True),
}
RENAMED = (('score-fr', 'score_fr'), ('score2', 'upscore2'), ('score-pool4', 'score_pool4'),
           ('score4', 'upscore_pool4'), ('score-pool3', 'score_pool3'), ('upsample', 'upscore8'))
STAGES = {
    'crfrnn-voc': Stage('crfrnn', 'voc', 'voc-fcn8s', surgeries=('transplant', 'interp'),
                        up_layers='upsample', zero_fillers=True, score_every=4000, takes=('voc',),
                        score_layers='score-*', renamed=RENAMED),
    # score4, as the authors have it, begins at zero without FCN-8s's weights
    'crfrnn-mini': Stage('crfrnn', 'mini', 'mini-fcn8s', surgeries=('transplant', 'interp'),
                         up_layers='upsample', trains_parent=True, zero_fillers=True,
                         takes=('voc',), scenes=True, score_layers='score-*', renamed=RENAMED),
}
ENTRIES = (Entry('crfrnn', 'CRF-RNN', 'crfrnn-mini'),)
