"""Caffe's messages as classes: `from fcn_repro.proto import NetParameter, LayerParameter, TEST`.

They live in a descriptor pool of their own, so a real caffe_pb2 can be loaded in the same process.
Every message of table.py is an attribute of this module under Caffe's name, as BVLC has it; those
of a fork are its dialect's (dialects/).
"""

from .dialects import BVLC, Dialect, dialect_of, find_dialect

__all__ = ['BVLC', 'TEST', 'TRAIN', 'Dialect', 'dialect_of', 'find_dialect', *BVLC.schema]

TRAIN, TEST = BVLC.schema.enums['Phase']['TRAIN'], BVLC.schema.enums['Phase']['TEST']

BlobProto = BVLC['BlobProto']
Datum = BVLC['Datum']
FillerParameter = BVLC['FillerParameter']
LayerParameter = BVLC['LayerParameter']
LossParameter = BVLC['LossParameter']
NetParameter = BVLC['NetParameter']
NetState = BVLC['NetState']
SolverParameter = BVLC['SolverParameter']
SolverState = BVLC['SolverState']
V1LayerParameter = BVLC['V1LayerParameter']
globals().update(BVLC.schema)
