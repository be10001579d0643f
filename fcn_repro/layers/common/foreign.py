"""Layer types of forks of Caffe that users meet, and what they are in BVLC's words."""

SSD = 'SSD (weiliu89/caffe)'
DEEPLAB = 'DeepLab and PSPNet'

# {type: how BVLC Caffe says the same}
REWRITE = {
    **dict.fromkeys(('DepthwiseConvolution', 'ConvolutionDepthwise', 'ConvolutionDepthWise',
                     'DepthWiseConvolution'),
                    'It is a Convolution with group: C, for the C channels of its bottom '
                    '(and num_output a multiple of C).'),
    **dict.fromkeys(('CuDNNBatchNorm', 'CudnnBatchNorm'),
                    'In NVIDIA\'s Caffe it is BatchNorm with scale and bias: a BatchNorm, then a '
                    'Scale with bias_term: true.'),
    **dict.fromkeys(('LeakyReLU', 'LReLU'), 'It is a ReLU with negative_slope.'),
    'ReLU6': 'It is a ReLU, then a Clip with min: 0 max: 6.',
    'Axpy': 'It is a Scale of the bottoms x and a (a as N x C) with axis: 0, then an Eltwise SUM '
            'with y.',
    'BatchNormalization': 'In BVLC Caffe it is a BatchNorm, then a Scale with bias_term: true.',
    'Sum': 'It is an Eltwise with operation: SUM.',
    'Add': 'It is an Eltwise with operation: SUM.',
    'Mul': 'It is an Eltwise with operation: PROD.',
    'Dense': 'It is an InnerProduct.', 'FullyConnected': 'It is an InnerProduct.',
    'Linear': 'It is an InnerProduct.',
    'ConvTranspose': 'It is a Deconvolution.', 'ConvolutionTranspose': 'It is a Deconvolution.',
    'MaxPool': 'It is a Pooling with pool: MAX.', 'MaxPooling': 'It is a Pooling with pool: MAX.',
    'AvgPool': 'It is a Pooling with pool: AVE.', 'AvgPooling': 'It is a Pooling with pool: AVE.',
}
# {type: the forks that have it}, for what BVLC's layers cannot say, or not alone
FORKS = {
    'Interp': DEEPLAB, 'SegAccuracy': DEEPLAB, 'ImageSegData': DEEPLAB, 'DenseCRF': DEEPLAB,
    'BN': 'PSPNet, SegNet and ENet (each its own)', 'SyncBN': 'PSPNet-like forks',
    'Upsample': 'SegNet and ENet', 'DenseImageData': 'SegNet and ENet',
    'Unpooling': 'DeconvNet', 'MultiStageMeanfield': 'CRF-RNN',
    'PriorBox': SSD, 'DetectionOutput': SSD,
    'MultiBoxLoss': SSD, 'AnnotatedData': SSD, 'DetectionEvaluate': SSD,
    'L2Normalization': 'forks for retrieval', 'L2Norm': 'forks for retrieval',
    'ROIPooling': 'Fast R-CNN', 'SmoothL1Loss': 'Fast R-CNN', 'PSROIPooling': 'R-FCN',
    'ROIAlign': 'forks of Fast R-CNN', 'ShuffleChannel': 'ShuffleNet',
    'HardSwish': 'forks for MobileNetV3',
    'HardSigmoid': 'forks for MobileNetV3', 'CReLU': 'forks', 'RReLU': 'forks', 'SELU': 'forks',
    'GELU': 'forks', 'CenterLoss': 'forks for face recognition', 'FocalLoss': 'forks',
}
PLAIN = {name.lower(): name for name in (*REWRITE, *FORKS)}


def foreign_remedy(name: str) -> str:
    """What an unknown layer type is in BVLC's words, or which fork has it; '' for one that this
    table lacks. Case does not count."""
    known = PLAIN.get(name.lower())
    if known in REWRITE:
        return REWRITE[known]
    if known:
        return (f'{known} is a layer of {FORKS[known]}, not of BVLC Caffe, and is not supported: '
                'write it as a Python layer or with other layers.')
    return ''
