"""ParseNet's fork (weiliu89/caffe, branch fcn)."""

from . import OLDER, Dialect

TABLE = '''
LayerParameter
  132 parse_evaluate_param ParseEvaluateParameter, 133 unpooling_param UnPoolingParameter,
  134 norm_param NormalizeParameter, 137 bn_param BNParameter, 135 tile_param TileParameter,
  136 reshape_param ReshapeParameter
ResizeParameter
  enum Resize_mode WARP=1 FIT_SMALL_SIZE FIT_LARGE_SIZE_AND_PAD
  enum Pad_mode CONSTANT=1 MIRRORED REPEAT_NEAREST
  enum Interp_mode LINEAR=1 AREA NEAREST CUBIC LANCZOS4
  1 prob float=0, 2 resize_mode Resize_mode=WARP, 3 height uint32=0, 4 width uint32=0,
  5 pad_mode Pad_mode=CONSTANT, 6 pad_value float[], 7 interp_mode Interp_mode=LINEAR,
  8 center_object bool=false, 9 max_angle float=0
SaltPepperParameter
  enum SaltType relative=1 absolute
  1 fraction float=0, 2 value float[], 3 type SaltType!=relative
NoiseParameter
  1 prob float=0, 2 hist_eq bool=false, 3 inverse bool=false, 4 decolorize bool=false,
  5 gauss_blur bool=false, 6 jpeg float=-1, 7 posterize bool=false, 8 erode bool=false,
  9 saltpepper bool=false, 10 saltpepper_param SaltPepperParameter, 11 clahe bool=false
BNParameter
  1 scale_filler FillerParameter, 2 shift_filler FillerParameter, 3 var_eps float=1e-10,
  4 moving_average bool=false, 5 decay float=0.95, 6 across_spatial bool=true
NormalizeParameter
  1 across_spatial bool=true, 2 scale_filler FillerParameter, 3 channel_shared bool=true,
  4 fix_scale bool=true, 5 eps float=1e-10
ParseEvaluateParameter
  1 num_labels int32, 2 ignore_label int32[]
UnPoolingParameter
  enum UnPoolMethod FIXED DIV REP
  1 unpool UnPoolMethod=FIXED, 2 out_kernel_size uint32, 3 out_stride uint32=1,
  4 out_pad uint32=0, 5 out_kernel_h uint32, 6 out_kernel_w uint32, 7 out_stride_h uint32,
  8 out_stride_w uint32, 9 out_pad_h uint32=0, 10 out_pad_w uint32=0
SolverParameter
  37 eval_type string=classification, 38 test_before_snapshot bool=false,
  39 log_avg_gradient_norm bool=true
TransformationParameter
  6 resize_param ResizeParameter[], 7 noise_param NoiseParameter[],
  8 vertical_mirror bool=false, 9 random_90_deg_rot bool=false
ConvolutionParameter
  16 filter_stride uint32=1, 17 filter_stride_h uint32, 18 filter_stride_w uint32
DataParameter
  enum DB LEVELDB LMDB DATUMFILE
  10 shuffle_buffer_size uint32
MVNParameter
  3 eps float=1e-10
PoolingParameter
  13 bin_size uint32, 14 bin_h uint32, 15 bin_w uint32
V1LayerParameter
  enum LayerType NONE ABSVAL=35 ACCURACY=1 ARGMAX=30 BNLL=2 CONCAT CONTRASTIVE_LOSS=37
    CONVOLUTION=4 DATA DECONVOLUTION=39 DROPOUT=6 DUMMY_DATA=32 EUCLIDEAN_LOSS=7 ELTWISE=25
    EXP=38 FLATTEN=8 HDF5_DATA HDF5_OUTPUT HINGE_LOSS=28 IM2COL=11 IMAGE_DATA INFOGAIN_LOSS
    INNER_PRODUCT LRN MEMORY_DATA=29 MULTINOMIAL_LOGISTIC_LOSS=16 MVN=34 POOLING=17 POWER=26
    RELU=18 SIGMOID SIGMOID_CROSS_ENTROPY_LOSS=27 SILENCE=36 SOFTMAX=20 SOFTMAX_LOSS SPLIT
    SLICE=33 TANH=23 WINDOW_DATA THRESHOLD=31 CROP=40 PARSE_OUTPUT PARSE_EVALUATE
'''
PARSENET = Dialect('parsenet', (TABLE,), detected=True, aliases=('parsenet-fcn',),
                   older={**OLDER, 'MVN': 'its eps is added to the variance there, to the standard '
                          'deviation in BVLC Caffe'},
                   as_bvlc=('Crop',), blobs={'BN': 2},
                   types={'Crop': 'fcn_repro.layers.hed.crop:AlignedCrop',
                          **{name: f'fcn_repro.layers.parsenet.{name.lower()}:{name}'
                             for name in ('BN', 'Normalize', 'UnPooling')}},
                   lacking=dict.fromkeys(('ParseOutput', 'ParseEvaluate'), 'ParseNet'),
                   v1_types={'CROP': 'Crop', 'PARSE_OUTPUT': 'ParseOutput',
                             'PARSE_EVALUATE': 'ParseEvaluate'})
