"""Caffe's messages and enums under pycaffe's name, in a descriptor pool of their own."""

from ...proto import CAFFE

globals().update(CAFFE)
for values in CAFFE.enums.values():     # TRAIN and TEST
    globals().update(values)
