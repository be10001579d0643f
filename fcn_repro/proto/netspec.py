"""Nets written in Python the way pycaffe's NetSpec does (python/caffe/net_spec.py).

    n = NetSpec()
    n.data, n.label = L.Python(module='voc_layers', layer='VOCSegDataLayer', ntop=2, param_str='')
    n.conv1 = L.Convolution(n.data, num_output=64, kernel_size=3, pad=1)
    n.relu1 = L.ReLU(n.conv1, in_place=True)
    net = n.to_proto()

A keyword goes to the message of the layer's own type (num_output to convolution_param); keywords
that end in `param`, and those of the layer itself (name, loss_weight), stay where they are.
"""

from collections import Counter

from google.protobuf import text_format

from ..errors import FcnError
from . import CAFFE, LayerParameter, NetParameter
from .prototxt import nearest_or_all

# layer type -> its parameter field, where the message is named after the type
PARAM_FIELDS = {field.message_type.name.removesuffix('Parameter'): field.name
                for field in LayerParameter.DESCRIPTOR.fields if field.name.endswith('_param')}


class Top:
    """One output blob of a layer: fn is the Function, n counts its tops from 0."""

    def __init__(self, fn, n):
        self.fn, self.n = fn, n

    def to_proto(self):
        """The NetParameter of all layers that this blob needs, with names made up."""
        return to_proto(self)


class Function:
    """A layer to be: its type, its bottoms (Tops), its settings, its tops."""

    def __init__(self, type_name, inputs, params):
        for i, top in enumerate(inputs):
            if not isinstance(top, Top):
                raise FcnError(f'bottom {i} is a {type(top).__name__}, not a Top', type=type_name,
                               do='Give the result of another L.<Type>(...) call.')
        self.type_name, self.inputs, self.params = type_name, inputs, dict(params)
        self.in_place = self.params.pop('in_place', False)
        self.ntop = self.params.pop('ntop', 1)
        self.tops = tuple(Top(self, n) for n in range(self.ntop))

    def add_to(self, layers, names, counts):
        """Add this layer's message, after those of its bottoms, to layers {Function: message}."""
        if self in layers:
            return
        for top in self.inputs:
            top.fn.add_to(layers, names, counts)
        layer = LayerParameter(type=self.type_name)
        layer.bottom.extend(layers[top.fn].top[top.n] for top in self.inputs)
        named = [self._name(top, names, counts) for top in self.tops or (self,)]
        layer.name = named[0]
        layer.top.extend(layer.bottom if self.in_place else named[:self.ntop])
        for name, value in self.params.items():
            try:
                assign(self._home(layer, name), name, value)
            except FcnError as error:
                raise error.at(layer=layer.name, type=self.type_name) from None
        layers[self] = layer

    def _name(self, thing, names, counts):
        if thing not in names:
            counts[self.type_name] += 1
            names[thing] = f'{self.type_name}{counts[self.type_name]}'
        return names[thing]

    def _home(self, layer, name):
        """The message that a keyword belongs to."""
        field = PARAM_FIELDS.get(self.type_name)
        if name.endswith('param') or (name in LayerParameter.DESCRIPTOR.fields_by_name and (
                field is None or name not in getattr(layer, field).DESCRIPTOR.fields_by_name)):
            return layer
        if field is None:
            raise FcnError(f"'{name}' cannot be placed: this type has no message of its own name",
                           do=f"Name the message: convolution_param={{'{name}': ...}} or another.")
        return getattr(layer, field)


def assign(message, name, value):
    """Set a field from Python: lists and tuples for repeated fields (a single value is a list of
    one), dicts for messages, enum numbers or names. FcnError for an unknown field or wrong type."""
    kind = message.DESCRIPTOR.name
    field = message.DESCRIPTOR.fields_by_name.get(name)
    if field is None:
        raise FcnError(f"{kind} has no field '{name}'",
                       do=nearest_or_all(name, list(message.DESCRIPTOR.fields_by_name)))
    old = getattr(message, name)
    try:
        if hasattr(old, 'extend'):
            for item in value if isinstance(value, list | tuple) else [value]:
                if isinstance(item, dict):
                    _assign_all(old.add(), item)
                else:
                    old.append(item)
        elif isinstance(value, dict):
            old.SetInParent()
            _assign_all(old, value)
        elif hasattr(old, 'CopyFrom'):
            old.CopyFrom(value)
        else:
            setattr(message, name, value)
    except (TypeError, ValueError, AttributeError) as error:
        raise FcnError(f"{kind}.{name} cannot be {value!r} ({error})",
                       do='Give a value of the type that the field has.') from None


def _assign_all(message, values):
    for name, value in values.items():
        assign(message, name, value)


class NetSpec:
    """Tops by name, assigned as attributes or items; to_proto() gives the net that makes them."""

    def __init__(self):
        super().__setattr__('tops', {})

    def __setattr__(self, name, top):
        self.tops[name] = top

    def __getattr__(self, name):
        if name not in self.tops:
            raise AttributeError(f"the net has no top '{name}' yet")
        return self.tops[name]

    __setitem__ = __setattr__

    def __getitem__(self, name):
        return self.tops[name]

    def to_proto(self):
        """A NetParameter with one layer per Function, each after its bottoms."""
        return _net(self.tops.values(), {top: name for name, top in self.tops.items()})


def to_proto(*tops):
    """The NetParameter of all layers that the tops need, with names made up (Convolution1)."""
    return _net(tops, {})


def _net(tops, names):
    layers, counts = {}, Counter()
    for top in tops:
        getattr(top, 'fn', top).add_to(layers, names, counts)
    return NetParameter(layer=layers.values())


class Layers:
    """L.<Type>(*bottoms, **settings) makes a layer: its Top, a tuple of ntop Tops, or with
    ntop=0 the Function itself."""

    def __getattr__(self, type_name):
        def layer(*bottoms, **settings):
            fn = Function(type_name, bottoms, settings)
            return fn.tops[0] if fn.ntop == 1 else fn.tops or fn
        return layer


class Params:
    """P.<Name>.<VALUE>: the enum values of a message, such as P.Pooling.MAX."""

    def __getattr__(self, name):
        if f'{name}Parameter' not in CAFFE:
            raise AttributeError(f'there is no message {name}Parameter')
        return CAFFE[f'{name}Parameter']


L, P = Layers(), Params()


def net_text(message, comment=''):
    """Prototxt text of a message, under the comment's lines."""
    head = ''.join(f'# {line}'.rstrip() + '\n' for line in comment.splitlines())
    return head + text_format.MessageToString(message, as_utf8=True)
