"""Random layers that compare the pixels of windows, and their tops by the double sum."""

import math

from double_sum import gated_crf, mean_field
from hypothesis import strategies as st
from layer_case import Case, distinct, ints
from torch.nn.functional import adaptive_avg_pool2d

KERNEL = 'kernel { place: 2 }'


@st.composite
def kernels(draw, least):
    def one():
        given = {'weight': draw(st.sampled_from([1, -0.5, 2]))}
        for name in draw(st.sampled_from([['place'], ['colour'], ['place', 'colour']])):
            given[name] = draw(st.sampled_from([0.5, 1.5]))
        return given
    return [one() for _ in range(ints(draw, least, 2))]


@st.composite
def local_mean_field(draw):
    shape = [ints(draw, 1, 2), ints(draw, 1, 3), ints(draw, 1, 6), ints(draw, 1, 6)]
    image = distinct([shape[0], ints(draw, 1, 3), *shape[2:]], 1)
    return Case('LocalMeanField', [distinct(shape), image], {'fcn_repro_param': {
        'kernel': draw(kernels(0)), 'radius': ints(draw, 1, 3), 'blur': ints(draw, 1, 4),
        'iterations': ints(draw, 1, 3), 'message_weight': 0.25,
        'align_corners': draw(st.booleans())}})


@st.composite
def gated_crf_loss(draw):
    """Perhaps with a larger image and a mask, of zeros and ones."""
    count, height, width = ints(draw, 1, 2), ints(draw, 1, 4), ints(draw, 2, 4)
    p = distinct([count, ints(draw, 1, 3), height, width]).softmax(1)
    image = distinct([count, ints(draw, 1, 2), height * ints(draw, 1, 2),
                      width + ints(draw, 0, 1)], 1)
    bottoms = [p, image]
    if draw(st.booleans()):
        bottoms.append((distinct([count, 1, height, width], 2) > -0.5).double())
    return Case('GatedCRFLoss', bottoms, {'fcn_repro_param': {
        'kernel': draw(kernels(1)), 'radius': ints(draw, 1, 3)}})


CASES = {'LocalMeanField': local_mean_field(), 'GatedCRFLoss': gated_crf_loss()}


def tuples(given):
    return [(k['weight'], k.get('place', math.inf), k.get('colour', math.inf)) for k in given]


def local_mean_field_reference(settings, bottoms, params):
    own = settings['fcn_repro_param']
    given = tuples(own['kernel']) or [(3, 3, math.inf), (10, math.inf, 13)]
    return [mean_field(*bottoms, params[0], given, own['radius'], own['blur'], own['iterations'],
                       own['align_corners'])]


def gated_crf_reference(settings, bottoms, params):
    own, (p, image, *mask) = settings['fcn_repro_param'], bottoms
    return [gated_crf(p, adaptive_avg_pool2d(image, p.shape[2:]), tuples(own['kernel']),
                      own['radius'], *mask)]


REFERENCES = {'LocalMeanField': local_mean_field_reference, 'GatedCRFLoss': gated_crf_reference}


def own(text):
    return f'fcn_repro_param {{ {text} }}'


REFUSED = [
    ('LocalMeanField', 'x', 'y', '', ('1 bottoms', '2')),
    ('LocalMeanField', 'x l', 'y', own('radius: 0'), ('radius 0', 'windows of one pixel',
                                                      'at least 1')),
    ('LocalMeanField', 'x l', 'y', own('blur: 0'), ('blur 0', 'Give 1')),
    ('LocalMeanField', 'x l', 'y', own('iterations: 0'), ('iterations 0',)),
    ('LocalMeanField', 'x l', 'y', own('message_weight: nan'), ('message_weight nan',)),
    ('LocalMeanField', 'x l', 'y', own('kernel { weight: 2 }'), ('kernel 0', 'neither place nor')),
    ('LocalMeanField', 'x l', 'y', own(f'{KERNEL} kernel {{ place: 0 }}'),
     ('place 0 of kernel 1',)),
    ('LocalMeanField', 'x l', 'y', own('kernel { colour: -3 }'), ('colour -3', 'positive')),
    ('LocalMeanField', 'x l', 'y', own('kernel { colour: inf }'), ('colour inf',)),
    ('LocalMeanField', 'x l', 'y', own('kernel { place: nan }'), ('place nan',)),
    ('LocalMeanField', 'x l', 'y', own('kernel { weight: inf place: 1 }'), ('weight inf',)),
    ('LocalMeanField', 'x l', 'y', own(f'{KERNEL} ' * 9), ('9 kernels', 'at most 8')),
    ('LocalMeanField', 'x l', 'y', own('output_size: 2'), ("'fcn_repro_param.output_size'",)),
    ('GatedCRFLoss', 'x', 'y', '', ('1 bottoms', '2 to 3')),
    ('GatedCRFLoss', 'x l', 'y', '', ('no kernel', 'place: 6')),
    ('GatedCRFLoss', 'x l', 'y', own(f'{KERNEL} radius: 0'), ('radius 0', 'one pixel')),
    ('GatedCRFLoss', 'x l', 'y', own('kernel { }'), ('neither place nor colour',)),
    ('GatedCRFLoss', 'x l x', 'y', own(KERNEL), ('a mask of 2x3x6x5', 'one channel')),
    ('GatedCRFLoss', 'x l', 'y', own(f'{KERNEL} blur: 2'), ("'fcn_repro_param.blur'", 'Remove it')),
]
