"""Write nets in Python, as with pycaffe's NetSpec (python/caffe/net_spec.py).

    n = NetSpec()
    n.data, n.label = L.Python(module='voc_layers', layer='VOCSegDataLayer', ntop=2, param_str='')
    n.conv1 = L.Convolution(n.data, num_output=64, kernel_size=3, pad=1)
    n.relu1 = L.ReLU(n.conv1, in_place=True)
    net = n.to_proto()

A keyword goes to the message of the layer's own type (num_output to convolution_param); keywords
that end in `param`, and those of the layer itself (name, loss_weight), stay where they are.
`NetSpec(dialect)` writes a net in a fork's dialect, and `Params(dialect)` has its enum values.
"""

from collections import Counter
from functools import lru_cache
from typing import Any

from google.protobuf import text_format

from ..errors import FcnError
from .dialects import BVLC, Dialect, dialects_with, find_dialect, use_dialect
from .prototxt import nearest_or_all


@lru_cache
def param_fields(dialect: Dialect) -> dict[str, str]:
    """{layer type: its parameter field}, where the message is named after the type."""
    return {field.message_type.name.removesuffix('Parameter'): field.name
            for field in dialect['LayerParameter'].DESCRIPTOR.fields
            if field.name.endswith('_param')}


class Top:
    """One output blob of a layer: fn is the Function, n counts its tops from 0."""

    def __init__(self, fn, n):
        self.fn, self.n = fn, n

    def to_proto(self, dialect: Dialect | str = BVLC) -> Any:
        """The NetParameter of all layers that this blob needs, with names made up."""
        return to_proto(self, dialect=dialect)


class Function:
    """A layer before it has a message: its type, its bottoms (Tops), its settings, its tops."""

    def __init__(self, type_name, inputs, params):
        for i, top in enumerate(inputs):
            if not isinstance(top, Top):
                raise FcnError(f'bottom {i} is a {type(top).__name__}, not a Top', type=type_name,
                               do='Give the result of another L.<Type>(...) call.')
        self.type_name, self.inputs, self.params = type_name, inputs, dict(params)
        self.in_place = self.params.pop('in_place', False)
        self.ntop = self.params.pop('ntop', 1)
        self.tops = tuple(Top(self, n) for n in range(self.ntop))


class _Writer:
    """The messages of one net: names: {Top or Function without tops: its name}."""

    def __init__(self, names: dict, dialect: Dialect):
        self.names, self.dialect = names, dialect
        self.layers: dict[Function, Any] = {}
        self.counts: Counter[str] = Counter()

    def add(self, fn: Function) -> None:
        """Add a Function's message, after those of its bottoms."""
        if fn in self.layers:
            return
        for top in fn.inputs:
            self.add(top.fn)
        layer = self.dialect['LayerParameter'](type=fn.type_name)
        layer.bottom.extend(self.layers[top.fn].top[top.n] for top in fn.inputs)
        named = [self._name(thing, fn.type_name) for thing in fn.tops or (fn,)]
        layer.name = named[0]
        layer.top.extend(layer.bottom if fn.in_place else named[:fn.ntop])
        for name, value in fn.params.items():
            try:
                assign(self._home(layer, name), name, value)
            except FcnError as error:
                raise error.at(layer=layer.name, type=fn.type_name) from None
        self.layers[fn] = layer

    def _name(self, thing, type_name):
        if thing not in self.names:
            self.counts[type_name] += 1
            self.names[thing] = f'{type_name}{self.counts[type_name]}'
        return self.names[thing]

    def _home(self, layer, name):
        """The message that a keyword belongs to."""
        field = param_fields(self.dialect).get(layer.type)
        if name.endswith('param') or (name in layer.DESCRIPTOR.fields_by_name and (
                field is None or name not in getattr(layer, field).DESCRIPTOR.fields_by_name)):
            return layer
        if field is None:
            raise FcnError(f"'{name}' cannot be placed: this type has no message of its own name",
                           do=f"Name the message: convolution_param={{'{name}': ...}} or another.")
        return getattr(layer, field)


def assign(message: Any, name: str, value: Any) -> None:
    """Set a field from Python: lists and tuples for repeated fields (a single value is a list of
    one), dicts for messages, enum numbers or names. FcnError for an unknown field or wrong type."""
    kind = message.DESCRIPTOR.name
    field = message.DESCRIPTOR.fields_by_name.get(name)
    if field is None:
        known = list(message.DESCRIPTOR.fields_by_name)
        raise FcnError(f"{kind} has no field '{name}'",
                       do=use_dialect(dialects_with(kind, name)) or nearest_or_all(name, known))
    old = getattr(message, name)
    try:
        if hasattr(old, 'extend'):
            _extend(old, value if isinstance(value, list | tuple) else [value])
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


def _extend(repeated, items):
    for item in items:
        if isinstance(item, dict):
            _assign_all(repeated.add(), item)
        else:
            repeated.append(item)


def _assign_all(message, values):
    for name, value in values.items():
        assign(message, name, value)


class NetSpec:
    """Tops by name, assigned as attributes or items; to_proto() gives the net that makes them."""

    def __init__(self, dialect: Dialect | str = BVLC):
        super().__setattr__('tops', {})
        super().__setattr__('dialect', find_dialect(dialect))

    def __setattr__(self, name, top):
        self.tops[name] = top

    def __getattr__(self, name):
        if name not in self.tops:
            raise AttributeError(f"the net has no top '{name}' yet")
        return self.tops[name]

    __setitem__ = __setattr__

    def __getitem__(self, name):
        return self.tops[name]

    def to_proto(self) -> Any:
        """A NetParameter with one layer per Function, each after its bottoms."""
        return _net(self.tops.values(), {top: name for name, top in self.tops.items()},
                    self.dialect)


def to_proto(*tops: Top, dialect: Dialect | str = BVLC) -> Any:
    """The NetParameter of all layers that the tops need, with names made up (Convolution1)."""
    return _net(tops, {}, find_dialect(dialect))


def _net(tops, names, dialect):
    writer = _Writer(names, dialect)
    for top in tops:
        writer.add(getattr(top, 'fn', top))
    return dialect['NetParameter'](layer=writer.layers.values())


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

    def __init__(self, dialect: Dialect | str = BVLC):
        self._dialect = find_dialect(dialect)

    def __getattr__(self, name):
        if f'{name}Parameter' not in self._dialect.schema:
            raise AttributeError(f'there is no message {name}Parameter')
        return self._dialect[f'{name}Parameter']


L, P = Layers(), Params()


def net_text(message: Any, comment: str = '') -> str:
    """Prototxt text of a message, under the comment's lines."""
    head = ''.join(f'# {line}'.rstrip() + '\n' for line in comment.splitlines())
    return head + text_format.MessageToString(message, as_utf8=True)
