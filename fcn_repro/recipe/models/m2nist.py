"""M2NIST's two nets as the tutorials have them: a small classifier of digits, and the FCN on its
body that labels scenes of them. All convolutions are valid ones, so nothing is cropped."""

from ...proto.netspec import L, NetSpec, P
from ..stage import Stage
from .model import Model, Recipe, summed_rate
from .parts import PARAM, classified, conv_relu, python_data, start

MSRA = {'type': 'msra'}
PIXELS = 64 * 84


def body(n: NetSpec):
    """Add conv1 ... pool2 on n.data: 28x28 pixels become 5x5 cells, 64x84 become 14x19."""
    for k, kernel in ((1, 5), (2, 3)):
        bottom = n.data if k == 1 else n.pool1
        n[f'conv{k}'], n[f'relu{k}'] = conv_relu(bottom, 8, MSRA, kernel, 0)
        n[f'pool{k}'] = L.Pooling(n[f'relu{k}'], pool=P.Pooling.MAX, kernel_size=2, stride=2)
    return n.pool2


def classifier(data: dict | None = None):
    """The classifier, a NetParameter: 28x28 to the 10 scores score_cls (N,10).

    data: settings of the data layer (python_data) with tops data (N,1,28,28) and label (N,); None
    gives the deploy net, an Input (1,1,28,28) and no loss.
    """
    n = start(data, (1, 1, 28, 28))
    n.ip3 = L.InnerProduct(body(n), num_output=32, param=PARAM, weight_filler=MSRA)
    n.relu3 = L.ReLU(n.ip3, in_place=True)
    n.score_cls = L.InnerProduct(n.relu3, num_output=10, param=PARAM, weight_filler=MSRA)
    return classified(n, 'score_cls', data)


def upsample(bottom, kernel: int, name: str):
    """A learned Deconvolution by 2 from all 11 channels to all 11.

    It starts from random weights, as the tutorials' do, since digits are strokes and not smooth
    regions: from bilinear weights mean IU was 18 after 2000 iterations instead of 51."""
    return L.Deconvolution(bottom, name=name, param=PARAM, convolution_param={
        'num_output': 11, 'kernel_size': kernel, 'stride': 2, 'weight_filler': MSRA})


def fcn(data: dict | None = None, normalize: bool = False):
    """The FCN, a NetParameter: 64x84 to score (N,11,64,84), channel k the digit k, 10 background.

    data: as for classifier, data (N,1,64,84) and label (N,1,64,84); None gives the deploy net.
    Sizes on the way: 14x19 after the body, 30x40 and 64x84 after the deconvolutions.
    """
    n = start(data, (1, 1, 64, 84))
    n.conv3, n.relu3 = conv_relu(body(n), 32, MSRA, 1, 0)
    n.score_fr = L.Convolution(n.relu3, num_output=11, kernel_size=1, param=PARAM,
                               weight_filler=MSRA)
    n.upscore2 = upsample(n.score_fr, 4, 'upscore2')
    n.score = upsample(n.upscore2, 6, 'upscore4')
    if data is not None:
        n.loss = L.SoftmaxWithLoss(n.score, n.label, loss_param={'normalize': normalize})
    return n.to_proto()


def model(net, layer: str, folder: str, batch_sizes: tuple[int, int], val_images: int,
          **settings) -> Model:
    """A Model of this net on its data layer; batch_sizes: of train and of val."""
    train, val = (python_data('m2nist_layers', layer, split=split, seed=1337, batch_size=size)
                  for split, size in zip(('train', 'val'), batch_sizes, strict=True))
    recipe = Recipe(momentum=0.9, weight_decay=0.001, prefix=f'runs/{folder}/train', **settings)
    return Model(net, {}, train, val, val_images, (recipe,))


# The FCN's loss is summed over the pixels of a scene, as the release's is. With a mean loss, at the
# rate that makes equal steps, an L2 of 1e-3 outweighs the digits, which are a twentieth of the
# pixels: mean IU was 26 after 2000 iterations instead of 51.
MODELS = {
    'm2nist-classifier': model(classifier, 'M2nistDigitDataLayer', 'm2nist-classifier', (32, 32),
                               12, base_lr=1e-2, max_iter=1000, snapshot=500, normalize=None),
    'm2nist': model(fcn, 'M2nistDataLayer', 'm2nist', (16, 1), 500,
                    base_lr=summed_rate(0.2, 0.9, PIXELS, 0.9), max_iter=4000, snapshot=1000,
                    pixels=PIXELS),
}

STAGES = {
    'm2nist-classifier': Stage('m2nist', 'classifier', surgeries=(), accuracy=0.90,
                               takes=('mnist',)),
    'm2nist': Stage('m2nist', 'fcn', 'm2nist-classifier', trains_parent=True,
                    surgeries=('transplant',), score_every=1000, channels=True,
                    takes=('mnist', 'm2nist')),
}
