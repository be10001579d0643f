"""Caffe's branch `future`, in which a Crop without parameters aligns its two bottoms, and forks of
it: HED's (s9xie/hed) and CRF-RNN's two (torrvision/caffe, branches crfrnn and master; crfrnn crops
as BVLC does).

HED's texts use no field and, but for its data layer, no type that BVLC lacks, so they cannot be
told from BVLC's: the dialect has to be named.
"""

from . import Dialect

CROP_V1 = '''
V1LayerParameter
  enum LayerType NONE ABSVAL=35 ACCURACY=1 ARGMAX=30 BNLL=2 CONCAT CONTRASTIVE_LOSS=37
    CONVOLUTION=4 DATA DECONVOLUTION=39 DROPOUT=6 DUMMY_DATA=32 EUCLIDEAN_LOSS=7 ELTWISE=25
    EXP=38 FLATTEN=8 HDF5_DATA HDF5_OUTPUT HINGE_LOSS=28 IM2COL=11 IMAGE_DATA INFOGAIN_LOSS
    INNER_PRODUCT LRN MEMORY_DATA=29 MULTINOMIAL_LOGISTIC_LOSS=16 MVN=34 POOLING=17 POWER=26
    RELU=18 SIGMOID SIGMOID_CROSS_ENTROPY_LOSS=27 SILENCE=36 SOFTMAX=20 SOFTMAX_LOSS SPLIT
    SLICE=33 TANH=23 WINDOW_DATA THRESHOLD=31 CROP=40
'''
MEANFIELD_V1 = CROP_V1.rstrip() + ''' MULTI_STAGE_MEANFIELD=60041
  60346 multi_stage_meanfield_param MultiStageMeanfieldParameter
'''
STRINGS = '''
LayerParameter
  1000 multi_stage_meanfield_param MultiStageMeanfieldParameter
MultiStageMeanfieldParameter
  enum Mode POTTS
  1 compatibility_mode Mode=POTTS, 2 threshold float, 3 theta_alpha float!=10,
  4 theta_beta float!=10, 5 theta_gamma float!=10, 6 num_iterations uint32!=1,
  19 spatial_filter_weights_str string=, 20 bilateral_filter_weights_str string=,
  29 force_cpu bool=false
'''
FILES = '''
LayerParameter
  146 multi_stage_meanfield_param MultiStageMeanfieldParameter
MultiStageMeanfieldParameter
  enum Mode POTTS
  1 compatibility_mode Mode=POTTS, 2 threshold float, 3 theta_alpha float!=10,
  4 theta_beta float!=10, 5 theta_gamma float!=10, 6 num_iterations uint32!=1,
  7 spatial_filter_weight float=1, 8 bilateral_filter_weight float=1,
  9 forced_spatial_filter_weight float, 10 forced_bilateral_filter_weight float
'''
ALIGNED = {'Crop': 'fcn_repro.layers.hed.crop:AlignedCrop'}
FUTURE = Dialect('future', (CROP_V1,), detected=True, v1_types={'CROP': 'Crop'}, types=ALIGNED,
                 as_bvlc=('Crop',))
HED = Dialect('hed', (CROP_V1,), detected=True, v1_types={'CROP': 'Crop'}, types={
    **ALIGNED, 'SigmoidCrossEntropyLoss': 'fcn_repro.layers.hed.balancedloss:BalancedLoss'},
    lacking={'ImageLabelmapData': 'HED'}, as_bvlc=('Crop', 'SigmoidCrossEntropyLoss'), without=(
        'BatchNorm', 'Bias', 'Clip', 'ELU', 'Input', 'LSTM', 'Parameter', 'RNN', 'Scale',
        'Swish', 'crop_param', 'argmax_param.axis', 'convolution_param.axis',
        'convolution_param.dilation', 'infogain_loss_param.axis', 'inner_product_param.transpose',
        'loss_param.normalization', 'pooling_param.round_mode'))
CRFRNN = Dialect('crfasrnn', (STRINGS,), detected=True,
                 types={'MultiStageMeanfield':
                        'fcn_repro.layers.crfrnn.meanfield:OneImageMeanfield'},
                 aliases=('crfasrnn-crfrnn',), older={})
MASTER = Dialect('crfasrnn-master', (MEANFIELD_V1, FILES), detected=True, types={
    **ALIGNED, 'MultiStageMeanfield': 'fcn_repro.layers.crfrnn.meanfield:MultiStageMeanfield'},
                 as_bvlc=('Crop',), v1_types={
                     'CROP': 'Crop', 'MULTI_STAGE_MEANFIELD': 'MultiStageMeanfield'})
