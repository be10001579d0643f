"""pycaffe's net_spec: nets written in Python."""

from ..errors import FcnError
from ..proto.netspec import Function, NetSpec, Top, to_proto
from ..proto.netspec import L as _layers
from ..proto.netspec import P as params

__all__ = ['Function', 'Layers', 'NetSpec', 'Top', 'layers', 'params', 'to_proto']


class NoTop(FcnError, TypeError):
    """A bottom that is not a Top, in pycaffe's wording."""


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
