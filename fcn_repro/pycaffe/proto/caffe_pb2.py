"""Caffe's messages and enums under pycaffe's name, in a descriptor pool of their own."""

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from ...proto import BVLC

globals().update(BVLC.schema)
for values in BVLC.schema.enums.values():     # TRAIN and TEST
    globals().update(values)
DESCRIPTOR = BVLC['NetParameter'].DESCRIPTOR.file
Phase = EnumTypeWrapper(BVLC['NetState'].DESCRIPTOR.fields_by_name['phase'].enum_type)
