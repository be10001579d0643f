"""PSPNet's fork of DeepLab version 2 (hszhao/PSPNet), which ICNet uses too: BN with four blobs."""

from . import Dialect
from .deeplab import LACKING, MESSAGES, PUBLIC, TYPES, statistics_as_ever

TABLE = '''
LayerParameter
  152 bn_param BNParameter
BNParameter
  enum Engine DEFAULT CAFFE CUDNN
  1 slope_filler FillerParameter, 2 bias_filler FillerParameter, 3 momentum float=0.9,
  4 eps float=1e-05, 5 frozen bool=false, 6 engine Engine=DEFAULT
'''
PSPNET = Dialect('pspnet', (MESSAGES, PUBLIC, TABLE), detected=True, lacking=LACKING,
                 types={**TYPES, 'BN': 'fcn_repro.layers.pspnet.bn:BN'}, blobs={'BN': 4},
                 upgrades=(statistics_as_ever,), aliases=('icnet',))
