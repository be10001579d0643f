"""Fully convolutional networks (Long, Shelhamer, Darrell), faithful to Caffe, in PyTorch."""

__version__ = '0.1.0'
