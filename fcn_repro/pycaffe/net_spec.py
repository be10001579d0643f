"""pycaffe's net_spec: nets written in Python."""

from ..errors import FcnError
from ..proto import BVLC
from ..proto.netspec import Function, NetSpec, Top, assign, param_fields, to_proto
from ..proto.netspec import L as _layers
from ..proto.netspec import P as params
from ..proto.netspec import Params as Parameters
from .proto import caffe_pb2

__all__ = ['Function', 'Layers', 'NetSpec', 'Parameters', 'Top', 'assign_proto', 'caffe_pb2',
           'layers', 'param_name_dict', 'params', 'to_proto']


class NoTop(FcnError, TypeError):
    """A bottom that is not a Top, in pycaffe's wording."""


def param_name_dict():
    """{layer type: the name of its parameter field without _param}, as 'InnerProduct':
    'inner_product'; by the messages' names."""
    return {type_name: field.removesuffix('_param')
            for type_name, field in param_fields(BVLC).items()}


def assign_proto(proto, name, val):
    """Set a field of a message from Python: lists for repeated fields (a single value is a list of
    one), dicts for messages. FcnError for an unknown field or a wrong type."""
    assign(proto, name, val)


class Layers:
    """layers.<Type>(*bottoms, **settings), as fcn_repro.netspec.L."""

    def __getattr__(self, type_name):
        def layer(*bottoms, **settings):
            for i, bottom in enumerate(bottoms):
                if not isinstance(bottom, Top):
                    raise NoTop(f'{type_name} input {i} is not a Top (type is {type(bottom)})')
            return getattr(_layers, type_name)(*bottoms, **settings)
        return layer


layers = Layers()
