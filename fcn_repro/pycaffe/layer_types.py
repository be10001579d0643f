"""pycaffe's layer_type_list."""

from ..layers import TYPES


def layer_type_list():
    """The names of Caffe's layer types, in alphabetical order; not those that passes make."""
    return sorted(name for name, layer in TYPES.items() if not layer.internal)
