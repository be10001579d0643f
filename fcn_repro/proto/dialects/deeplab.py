"""DeepLab's forks: version 2 in two numberings, and version 1, which knows old (V1) layers only.

`deeplab-v2` is the rewrite on a newer Caffe (xmyqsh/deeplab-v2), `deeplab-public` the authors' own
(deeplab-public-ver2). Both accept batch_norm_param.update_global_stats and ignore it.
"""

from ...errors import FcnError
from . import Dialect

# What the two numberings of version 2 and PSPNet have in common
MESSAGES = '''
AdaptiveBiasChannelParameter
  1 num_iter int32=1, 2 bg_portion float=0.2, 3 fg_portion float=0.2,
  4 suppress_others bool=true, 5 margin_others float=1e-05
BiasChannelParameter
  enum LabelType IMAGE=1 PIXEL
  1 bg_bias float=1, 2 fg_bias float=2, 3 ignore_label int32[], 4 label_type LabelType=IMAGE,
  6 background_label int32=0
DenseCRFParameter
  1 max_iter int32=10, 2 pos_xy_std float[], 3 pos_w float[], 4 bi_xy_std float[],
  5 bi_rgb_std float[], 6 bi_w float[], 7 output_probability bool=true
DomainTransformParameter
  1 num_iter int32=3, 2 spatial_sigma float=50, 3 range_sigma float=5, 4 min_weight float=0
InterpParameter
  1 height int32=0, 2 width int32=0, 3 zoom_factor int32=1, 4 shrink_factor int32=1,
  5 pad_beg int32=0, 6 pad_end int32=0
MatReadParameter
  1 prefix string!, 2 source string=, 3 strip int32=0, 4 batch_size int32=1
MatWriteParameter
  1 prefix string!, 2 source string=, 3 strip int32=0, 4 period int32=1
SegAccuracyParameter
  enum AccuracyMetric PixelAccuracy ClassAccuracy PixelIOU
  1 metric AccuracyMetric=PixelAccuracy, 2 ignore_label int32[], 3 reset bool=true
UniqueLabelParameter
  1 max_labels int32!, 2 ignore_label int32[], 3 force_label float[]
TransformationParameter
  8 scale_factors float[], 9 crop_width uint32=0, 10 crop_height uint32=0
BatchNormParameter
  4 update_global_stats bool=false
ImageDataParameter
  enum LabelType NONE IMAGE PIXEL
  15 ignore_label int32=255, 16 label_type LabelType=IMAGE
'''
REWRITE = '''
LayerParameter
  147 domain_transform_param DomainTransformParameter,
  148 adaptive_bias_channel_param AdaptiveBiasChannelParameter,
  149 bias_channel_param BiasChannelParameter, 150 unique_label_param UniqueLabelParameter,
  151 mat_read_param MatReadParameter, 152 dense_crf_param DenseCRFParameter,
  153 interp_param InterpParameter, 154 seg_accuracy_param SegAccuracyParameter,
  155 mat_write_param MatWriteParameter
'''
PUBLIC = '''
LayerParameter
  143 interp_param InterpParameter, 144 seg_accuracy_param SegAccuracyParameter,
  145 mat_write_param MatWriteParameter, 146 dense_crf_param DenseCRFParameter,
  147 domain_transform_param DomainTransformParameter,
  148 adaptive_bias_channel_param AdaptiveBiasChannelParameter,
  149 bias_channel_param BiasChannelParameter, 150 unique_label_param UniqueLabelParameter,
  151 mat_read_param MatReadParameter
'''
# Version 1 has its layers as V1LayerParameter alone; the current form is this project's.
OLD = '''
LayerParameter
  60343 interp_param InterpParameter, 60344 seg_accuracy_param SegAccuracyParameter,
  60345 mat_write_param MatWriteParameter, 60346 dense_crf_param DenseCRFParameter,
  60348 adaptive_bias_channel_param AdaptiveBiasChannelParameter,
  60349 bias_channel_param BiasChannelParameter, 60350 unique_label_param UniqueLabelParameter,
  60351 softmaxloss_param SoftmaxLossParameter, 60352 padding_param PaddingParameter,
  60353 strict_dim bool=true
SoftmaxLossParameter
  16 weight_source string, 2 ignore_label int32[]
PaddingParameter
  1 pad_beg int32=0, 2 pad_end int32=0
ConvolutionParameter
  17 hole uint32[], 18 hole_h uint32, 19 hole_w uint32
ImageDataParameter
  60313 has_label bool
V1LayerParameter
  enum LayerType NONE ABSVAL=35 ACCURACY=1 ARGMAX=30 BNLL=2 CONCAT CONTRASTIVE_LOSS=37
    CONVOLUTION=4 DATA DROPOUT DUMMY_DATA=32 EUCLIDEAN_LOSS=7 ELTWISE=25 EXP=38 FLATTEN=8
    HDF5_DATA HDF5_OUTPUT HINGE_LOSS=28 IM2COL=11 IMAGE_DATA INFOGAIN_LOSS INNER_PRODUCT LRN
    MEMORY_DATA=29 MULTINOMIAL_LOGISTIC_LOSS=16 MVN=34 POOLING=17 POWER=26 RELU=18 SIGMOID
    SIGMOID_CROSS_ENTROPY_LOSS=27 SILENCE=36 SOFTMAX=20 SOFTMAX_LOSS SPLIT SLICE=33 TANH=23
    WINDOW_DATA THRESHOLD=31 IMAGE_SEG_DATA=39 SEG_ACCURACY INTERP PADDING MAT_WRITE MAT_READ
    DENSE_CRF DOMINANT_CHANNEL BIAS_CHANNEL UNIQUE_LABEL CENSOR_LABEL ADAPTIVE_BIAS_CHANNEL
    CHANNEL_AGGREGATOR
  42 seg_accuracy_param SegAccuracyParameter, 43 interp_param InterpParameter,
  44 softmaxloss_param SoftmaxLossParameter, 45 padding_param PaddingParameter,
  46 mat_write_param MatWriteParameter, 47 mat_read_param MatReadParameter,
  48 dense_crf_param DenseCRFParameter, 50 bias_channel_param BiasChannelParameter,
  51 unique_label_param UniqueLabelParameter,
  53 adaptive_bias_channel_param AdaptiveBiasChannelParameter, 1003 strict_dim bool=true
'''
TYPES = {
    'Interp': 'fcn_repro.layers.deeplab.interp:Interp',
    'SegAccuracy': 'fcn_repro.layers.deeplab.segaccuracy:SegAccuracy',
    'ImageSegData': 'fcn_repro.layers.deeplab.imagesegdata:ImageSegData',
    'DomainTransform': 'fcn_repro.layers.deeplab.domaintransform:DomainTransform',
    'DomainTransformForwardOnly':
        'fcn_repro.layers.deeplab.domaintransform:DomainTransformForwardOnly',
    'BiasChannel': 'fcn_repro.layers.deeplab.biaschannel:BiasChannel',
    'AdaptiveBiasChannel':
        'fcn_repro.layers.deeplab.adaptivebiaschannel:AdaptiveBiasChannel',
    'UniqueLabel': 'fcn_repro.layers.deeplab.uniquelabel:UniqueLabel',
    'SpatialProduct': 'fcn_repro.layers.deeplab.spatialproduct:SpatialProduct',
    'DenseCRF': 'fcn_repro.layers.deeplab.densecrf:DenseCRF',
}
LACKING = dict.fromkeys(('MatRead', 'MatWrite'), 'DeepLab')


def statistics_as_ever(layer):
    """An upgrade rule: the running statistics are updated whatever update_global_stats says."""
    if layer.batch_norm_param.HasField('update_global_stats'):
        layer.batch_norm_param.ClearField('update_global_stats')


def hole_to_dilation(layer):
    """An upgrade rule: `hole`, or hole_h and hole_w, is version 1's name of dilation."""
    p = layer.convolution_param
    if p.hole and (p.HasField('hole_h') or p.HasField('hole_w')):
        raise FcnError('both hole and hole_h / hole_w', do='Give one of the two.')
    found = list(p.hole)
    if p.HasField('hole_h') or p.HasField('hole_w'):
        found = [p.hole_h or 1, p.hole_w or 1]
    if found:
        p.dilation[:] = found
        for name in 'hole', 'hole_h', 'hole_w':
            p.ClearField(name)


def any_shape_by_count(layer):
    """An upgrade rule: `strict_dim: false` lets weights of another shape and of equal count in, as
    copying weights does anyway."""
    layer.ClearField('strict_dim')


def loss_labels(layer):
    """An upgrade rule: one softmaxloss_param.ignore_label becomes loss_param's."""
    p = layer.softmaxloss_param
    if p.HasField('weight_source'):
        raise FcnError('softmaxloss_param.weight_source is not supported',
                       do='Give the weights of the classes as fcn_repro_param.class_weight.')
    if len(p.ignore_label) > 1:
        raise FcnError(f'{len(p.ignore_label)} values of softmaxloss_param.ignore_label',
                       do='Give one, and map the other labels to it.')
    if p.ignore_label:
        layer.loss_param.ignore_label = p.ignore_label[0]
    layer.ClearField('softmaxloss_param')


V2 = Dialect('deeplab-v2', (MESSAGES, REWRITE), types=TYPES, lacking=LACKING,
             upgrades=(statistics_as_ever,), aliases=('deeplab',), detected=True)
PUBLIC_V2 = Dialect('deeplab-public', (MESSAGES, PUBLIC), types=TYPES, lacking=LACKING,
                    upgrades=(statistics_as_ever,), detected=True,
                    aliases=('deeplab-public-ver2', 'deeplab-public-ver2-drsleep'))
V1 = Dialect('deeplab-v1', (MESSAGES, OLD), detected=True,
             types={**TYPES, 'Padding': 'fcn_repro.layers.deeplab.padding:Padding',
                    'ArgMax': 'fcn_repro.layers.deeplab.argmax:ChannelArgMax'},
             as_bvlc=('ArgMax',),
             lacking=LACKING | dict.fromkeys(
                 ('DominantChannel', 'CensorLabel', 'ChannelAggregator'), 'DeepLab'), old=True,
             upgrades=(statistics_as_ever, hole_to_dilation, any_shape_by_count, loss_labels),
             v1_types={'IMAGE_SEG_DATA': 'ImageSegData', 'SEG_ACCURACY': 'SegAccuracy',
                       'INTERP': 'Interp', 'PADDING': 'Padding', 'MAT_WRITE': 'MatWrite',
                       'MAT_READ': 'MatRead', 'DENSE_CRF': 'DenseCRF',
                       'DOMINANT_CHANNEL': 'DominantChannel', 'BIAS_CHANNEL': 'BiasChannel',
                       'UNIQUE_LABEL': 'UniqueLabel', 'CENSOR_LABEL': 'CensorLabel',
                       'ADAPTIVE_BIAS_CHANNEL': 'AdaptiveBiasChannel',
                       'CHANNEL_AGGREGATOR': 'ChannelAggregator'})
