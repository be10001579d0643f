"""Caffe's messages and enums under pycaffe's name, in a descriptor pool of their own."""

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from ...proto import CAFFE

globals().update(CAFFE)
for values in CAFFE.enums.values():     # TRAIN and TEST
    globals().update(values)
Phase = EnumTypeWrapper(CAFFE['NetState'].DESCRIPTOR.fields_by_name['phase'].enum_type)
