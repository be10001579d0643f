"""Caffe's messages as classes: `from fcn_repro.proto import NetParameter, LayerParameter, TEST`.

They live in a descriptor pool of their own, so a real caffe_pb2 can be loaded beside them.
Every message of table.py is an attribute of this module under Caffe's name.
"""

from .schema import Schema
from .table import BVLC

CAFFE = Schema(BVLC)
TRAIN, TEST = CAFFE.enums['Phase']['TRAIN'], CAFFE.enums['Phase']['TEST']

BlobProto = CAFFE['BlobProto']
Datum = CAFFE['Datum']
FillerParameter = CAFFE['FillerParameter']
LayerParameter = CAFFE['LayerParameter']
NetParameter = CAFFE['NetParameter']
NetState = CAFFE['NetState']
SolverParameter = CAFFE['SolverParameter']
SolverState = CAFFE['SolverState']
V1LayerParameter = CAFFE['V1LayerParameter']
globals().update(CAFFE)
