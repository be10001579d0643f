"""The fork that Dilation's nets were trained with (fyu/caffe-dilation): a filler that makes layers
the identity, and data layers. Its deploy nets are BVLC's."""

from . import Dialect

TABLE = '''
LayerParameter
  1000 image_label_data_param ImageLabelDataParameter,
  1001 bin_label_data_param BinLabelDataParameter
FillerParameter
  9 num_groups int32
Slice
  1 dim uint32[], 2 stride uint32[], 3 offset uint32[]
ImageLabelDataParameter
  enum Padding ZERO REFLECT
  1 image_list_path string, 2 label_list_path string, 3 batch_size uint32=1, 4 rand_skip uint32=0,
  5 shuffle bool=false, 6 rand_scale bool=false, 7 min_scale float=1, 8 max_scale float=1,
  9 data_dir string=, 10 label_slice Slice, 11 image_dir string=, 12 label_dir string=,
  13 padding Padding=REFLECT
BinLabelDataParameter
  1 bin_list_path string, 2 label_list_path string, 3 bin_dir string=, 4 label_dir string=,
  5 batch_size uint32=1, 6 shuffle bool=false, 7 mirror bool=true, 8 label_slice Slice,
  9 bin_slice Slice
'''
DILATION = Dialect('dilation', (TABLE,), detected=True, aliases=('caffe-dilation',), lacking={
    'ImageLabelData': 'Dilation', 'BinLabelData': 'Dilation'})
