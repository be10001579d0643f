"""SegNet's fork (alexgkendall/caffe-segnet), ENet's (TimoSaemann/caffe-enet), and DeconvNet's
(HyeonwooNoh/caffe), which knows old (V1) layers only. DeconvNet's own layers are not computed
here but for its BN, which is SegNet's."""

import ast

from ...errors import FcnError
from . import Dialect

MESSAGES = '''
BNParameter
  enum BNMode LEARN INFERENCE
  1 scale_filler FillerParameter, 2 shift_filler FillerParameter, 3 bn_mode BNMode=LEARN
DenseImageDataParameter
  1 source string, 2 batch_size uint32, 3 rand_skip uint32=0, 4 shuffle bool=false,
  5 new_height uint32=0, 6 new_width uint32=0, 7 is_color bool=true, 8 mean_file string,
  9 root_folder string=, 10 mirror bool=false, 11 crop_width uint32=0, 12 crop_height uint32=0
UpsampleParameter
  1 scale uint32=2, 2 scale_h uint32, 3 scale_w uint32, 4 pad_out_h bool=false,
  5 pad_out_w bool=false, 6 upsample_h uint32, 7 upsample_w uint32
LossParameter
  3 weight_by_label_freqs bool=false, 4 class_weighting float[]
DropoutParameter
  2 sample_weights_test bool=false
'''
NUMBERS = '''
LayerParameter
  45 bn_param BNParameter, 137 upsample_param UpsampleParameter,
  138 dense_image_data_param DenseImageDataParameter
'''
ENET_TABLE = '''
LayerParameter
  45 bn_param BNParameter, 46 dense_image_data_param DenseImageDataParameter,
  147 upsample_param UpsampleParameter
DenseImageDataParameter
  13 label_divide_factor uint32=1
LossParameter
  5 normalization NormalizationMode=VALID
ImageDataParameter
  13 label_divide_factor uint32=1
'''
DECONVNET_TABLE = '''
LayerParameter
  60345 bn_param BNParameter, 60346 unpooling_param UnPoolingParameter,
  60347 eltwise_accuracy_param EltwiseAccuracyParameter
BNParameter
  enum BNMode LEARN INFERENCE
  1 scale_filler FillerParameter, 2 shift_filler FillerParameter, 3 bn_mode BNMode=LEARN
UnPoolingParameter
  enum UnPoolMethod MAX AVE TILE
  1 unpool UnPoolMethod=MAX, 2 kernel_size uint32, 3 stride uint32=1, 4 unpool_size uint32
EltwiseAccuracyParameter
  1 top_k uint32=1, 2 ignore_label int32
ImageDataParameter
  enum LabelType NONE IMAGE PIXEL
  60316 label_type LabelType=IMAGE
V1LayerParameter
  enum LayerType NONE ABSVAL=35 ACCURACY=1 ARGMAX=30 BNLL=2 CONCAT CONTRASTIVE_LOSS=37
    CONVOLUTION=4 DATA DECONVOLUTION=39 DROPOUT=6 DUMMY_DATA=32 EUCLIDEAN_LOSS=7 ELTWISE=25
    EXP=38 FLATTEN=8 HDF5_DATA HDF5_OUTPUT HINGE_LOSS=28 IM2COL=11 IMAGE_DATA INFOGAIN_LOSS
    INNER_PRODUCT LRN MEMORY_DATA=29 MULTINOMIAL_LOGISTIC_LOSS=16 MVN=34 POOLING=17 POWER=26
    RELU=18 SIGMOID SIGMOID_CROSS_ENTROPY_LOSS=27 SILENCE=36 SOFTMAX=20 SOFTMAX_LOSS SPLIT
    SLICE=33 TANH=23 WINDOW_DATA THRESHOLD=31 CROP=40 ELTWISE_ACCURACY UNPOOLING BN
    IMAGE_SEG_DATA=46 WINDOW_SEG_DATA
  43 eltwise_accuracy_param EltwiseAccuracyParameter, 44 unpooling_param UnPoolingParameter,
  45 bn_param BNParameter
'''
SPATIAL = 'spatial_dropout', 'SpatialDropoutLayer'       # a Python layer of ENet's fork


def spatial_dropout(layer):
    """An upgrade rule: ENet's Python layer, which drops whole maps, becomes a Dropout, and what is
    for testing, where it multiplies by what training multiplies by, a Power. Its param_str, not the
    net's phase, says which it is."""
    p = layer.python_param
    if layer.type != 'Python' or (p.module, p.layer) != SPATIAL:
        return
    try:
        given = ast.literal_eval(p.param_str)
        phase, ratio = given['phase'], float(given['p'])
    except (ValueError, SyntaxError, KeyError, TypeError, RecursionError, MemoryError,
            OverflowError):
        raise spatial_error(f'param_str {p.param_str!r}') from None
    if not 0 < ratio < 1:
        raise spatial_error(f'p {ratio:g} is not between 0 and 1')
    layer.ClearField('python_param')
    if phase == 'TRAIN':
        layer.type = 'Dropout'
        layer.dropout_param.dropout_ratio = ratio
        layer.dropout_param.sample_weights_test = True
        layer.fcn_repro_param.per_channel = True
    else:
        layer.type = 'Power'
        layer.power_param.scale = 1 / (1 - ratio)


def spatial_error(what):
    return FcnError(what, do="Give {'phase': 'TRAIN', 'p': '0.1'}, or the same with 'TEST'.")


OWN = {name: f'fcn_repro.layers.segnet.{name.lower()}:{name}'
       for name in ('BN', 'Upsample', 'DenseImageData')}
CHANGED = {'SoftmaxWithLoss': 'fcn_repro.layers.segnet.softmaxwithloss:WeightedSoftmaxWithLoss',
           'Accuracy': 'fcn_repro.layers.segnet.accuracy:ForkAccuracy',
           'Dropout': 'fcn_repro.layers.segnet.dropout:SamplingDropout'}
SEGNET = Dialect('segnet', (MESSAGES, NUMBERS), detected=True, types=OWN | CHANGED,
                 as_bvlc=tuple(CHANGED), blobs={'BN': 2}, upgrades=(spatial_dropout,),
                 aliases=('caffe-segnet',))
ENET = Dialect('enet', (MESSAGES, ENET_TABLE), detected=True, types=OWN | CHANGED,
               as_bvlc=tuple(CHANGED), blobs={'BN': 2}, upgrades=(spatial_dropout,),
               aliases=('caffe-enet',))
DECONVNET = Dialect('deconvnet', (DECONVNET_TABLE,), detected=True, blobs={'BN': 2},
                    types={'Crop': 'fcn_repro.layers.hed.crop:AlignedCrop', 'BN': OWN['BN']},
                    lacking=dict.fromkeys(
                        ('Unpooling', 'ImageSegData', 'WindowSegData', 'EltwiseAccuracy'),
                        'DeconvNet'), as_bvlc=('Crop',), old=True,
                    v1_types={'CROP': 'Crop', 'ELTWISE_ACCURACY': 'EltwiseAccuracy',
                              'UNPOOLING': 'Unpooling', 'BN': 'BN',
                              'IMAGE_SEG_DATA': 'ImageSegData',
                              'WINDOW_SEG_DATA': 'WindowSegData'})
