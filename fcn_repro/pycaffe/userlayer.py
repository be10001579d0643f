"""Layers written in Python by a user: subclasses of caffe.Layer with setup, reshape, forward and
backward on blobs (python_layer.hpp of BVLC Caffe)."""

import importlib
import importlib.util
import os
import sys
from pathlib import PurePath
from typing import Any, ClassVar

import torch

from ..data import python_layers
from ..errors import FcnError, short
from ..layers.common.base import ANY, constant
from ..layers.common.base import Layer as EngineLayer
from ..layers.python import Python
from ..net import Net
from ..proto import TEST, TRAIN
from .alias import is_caffe, place_of, standing_in
from .arrays import Memory, settle
from .blob import Blob, Param


class Layer:
    """What a user's layer derives from.

    param_str: the text of the layer's python_param; phase: TRAIN or TEST; blobs: its parameters,
    which setup adds by self.blobs.add_blob(*shape). A layer has, on lists of Blobs:
    reshape(bottom, top), which gives the tops their shapes and is called before each forward;
    forward(bottom, top), which writes the tops' data; and where backward comes by
    backward(top, propagate_down, bottom), which writes the diffs of the bottoms that are asked for.
    """

    def __init__(self, param=None):
        self.param_str, self.phase, self.blobs = '', None, BlobVec()

    type = 'Python'

    def setup(self, bottom, top):
        """Called once, when the net is made."""


class BlobVec(list):
    def add_blob(self, *shape):
        """Append a blob of a shape, zeros."""
        self.append(Blob(Memory('cpu')))
        self[-1].reshape(*shape)


class UserPython(EngineLayer):
    """The engine's side of a user's layer.

    Layer by layer (pycaffe), `connect` makes its blobs those of the net, and `run` and `run_back`
    call the user's methods. In a plan (UserNet), `forward` calls them on blobs over the tensors,
    and autograd calls backward.
    """

    type = 'Python'
    bottoms = tops = (0, ANY)
    in_place = stateful = True
    replayable = False
    fields = 'python_param'

    def setup(self):
        self.instance = self.find()(self.node.param)
        self.instance.param_str = self.param.param_str
        self.instance.phase = TRAIN if self.train else TEST
        self.instance.blobs = BlobVec()
        self.bottom = [Blob(Memory('cpu')) for _ in self.node.bottoms]
        self.top = [Blob(Memory('cpu')) for _ in self.node.tops]
        self.seen = None                # the bottoms' shapes that reshape was called for

    def find(self):
        """The class that python_param names."""
        with standing_in():
            module = importlib.import_module(self.param.module)
        if not hasattr(module, self.param.layer):
            raise self.error(f"module '{self.param.module}' ({getattr(module, '__file__', '?')}) "
                             f"has no class '{self.param.layer}'", 'Correct python_param.')
        found = getattr(module, self.param.layer)
        if not (isinstance(found, type) and issubclass(found, Layer)):
            foreign = next((each.__module__ for each in getattr(found, '__mro__', ())
                            if is_caffe(each.__module__)), None)
            if foreign:
                raise self.error(f"'{self.param.layer}' of module '{self.param.module}' is a Layer "
                                 f'of another caffe, {place_of(sys.modules.get("caffe"))}',
                                 'Call fcn_repro.pycaffe.install() before the module is imported.')
            raise self.error(f"'{self.param.layer}' of module '{self.param.module}' is "
                             f'{short(repr(found), 80)}, no caffe.Layer',
                             f'Derive it: class {self.param.layer}(caffe.Layer).')
        return found

    def ready(self, shapes):
        """Call setup, the first time, and reshape, for bottoms of other shapes than before."""
        shapes = [tuple(shape) for shape in shapes]
        if shapes != self.seen:
            for blob, shape in zip(self.bottom, shapes, strict=True):
                blob.reshape(*shape)
            if self.seen is None:
                self.instance.setup(self.bottom, self.top)
            self.instance.reshape(self.bottom, self.top)
            self.seen = shapes

    def parameters(self, bottoms):
        self.ready(bottoms)
        return [(blob.shape, constant()) for blob in self.instance.blobs]

    def shape(self, bottoms):
        self.ready(bottoms)
        return [blob.shape for blob in self.top]

    @torch.no_grad()
    def connect(self, bottom, top, params):
        """Let the user's blobs be those of the net: Memories, Memories and ParamBlobs."""
        for blob, memory in zip(self.top, top, strict=True):
            memory.data.copy_(blob._memory.data)
        for blob, memory in zip(self.bottom + self.top, bottom + top, strict=True):
            blob._memory = memory
        for i, param in enumerate(params):
            param.data.copy_(self.instance.blobs[i]._memory.data)
            self.instance.blobs[i] = Param(param)

    @torch.no_grad()
    def adopt(self, params):
        """Let ParamBlobs begin with what the user's setup wrote into the layer's blobs."""
        for blob, param in zip(self.instance.blobs, params, strict=True):
            param.data.copy_(blob._memory.data)

    def forward(self, bottoms, params):
        if not self.top:
            self.call(bottoms, params)
            return []
        return list(UserCall.apply(self, len(bottoms), *bottoms, *params))

    def call(self, bottoms, params):
        """The user's reshape and forward on blobs over these tensors, C-contiguous; copies of the
        tops."""
        for blob, tensor in zip(self.bottom, bottoms, strict=True):
            plain = tensor.detach().contiguous()
            blob._memory.hold(plain.clone() if self.overwrites else plain)
        for blob, tensor in zip(self.instance.blobs, params, strict=True):
            blob._memory.hold(tensor.detach().contiguous())
        for i, name in enumerate(self.node.param.top):
            if name in self.node.param.bottom:          # one blob, as in Caffe
                self.top[i]._memory = self.bottom[list(self.node.param.bottom).index(name)]._memory
        tops = [top.clone() for top in self.run()]
        for blob, tensor in zip(self.instance.blobs, params, strict=True):
            if blob._memory.data.data_ptr() != tensor.data_ptr():       # another memory format
                tensor.data.copy_(blob._memory.data)
        return tops

    def call_back(self, diffs, propagate_down, params):
        """The user's backward for these diffs of the tops (None: zeros) on the blobs of the latest
        call; the bottoms' and the parameters' diffs."""
        for blob, diff in zip(self.top, diffs, strict=True):
            blob._memory.diff.zero_() if diff is None else blob._memory.diff.copy_(diff)
        for blob in (*self.bottom, *self.instance.blobs):
            if not any(blob._memory is top._memory for top in self.top):
                blob._memory.diff.zero_()
        self.run_back(propagate_down)
        return [blob._memory.diff.clone() for blob in (*self.bottom, *self.instance.blobs[:params])]

    def run(self):
        """The user's reshape and forward on the net's blobs; the tops' data."""
        self.instance.reshape(self.bottom, self.top)
        self.instance.forward(self.bottom, self.top)
        settle()
        self.seen = [blob.shape for blob in self.bottom]
        return [blob._memory.data for blob in self.top]

    def run_back(self, propagate_down):
        """The user's backward on the net's blobs."""
        self.instance.backward(self.top, propagate_down, self.bottom)
        settle()


class UserCall(torch.autograd.Function):
    """A user's layer as a function of tensors: UserPython.call, with call_back as its gradient."""

    @staticmethod
    def forward(ctx, layer, count, *tensors):
        ctx.layer, ctx.count = layer, count
        return tuple(layer.call(tensors[:count], tensors[count:]))

    @staticmethod
    def backward(ctx, *diffs):
        needed = ctx.needs_input_grad[2:]
        found = ctx.layer.call_back(diffs, list(needed[:ctx.count]), len(needed) - ctx.count)
        return (None, None, *(diff if wanted else None
                              for diff, wanted in zip(found, needed, strict=True)))


class Chosen:
    """The layer of a Python node: the user's, where the module is on the path, else one of this
    project's own data layers."""

    loss = internal = False
    fields, further_messages, dialect_fields = 'python_param', (), ()

    def __new__(cls, node, state):
        param = node.param.python_param
        if on_path(param.module):
            return UserPython(node, state)
        if (param.module, param.layer) in python_layers:
            return Python(node, state)
        check_name(param.module, node)
        known = ', '.join('.'.join(key) for key in python_layers)
        raise FcnError(f"there is no Python module '{param.module}' on the path, for its "
                       f"class '{param.layer}'", line=node.line,
                       layer=node.name, type=node.type,
                       do=f"Put {param.module}.py into the script's folder. "
                          f'Known without: {known}.')


class UserNet(Net):
    """A net that runs by plans, in which Python layers may be users' own."""

    own_types: ClassVar[dict[str, Any]] = {'Python': Chosen}

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        for node in self.graph.nodes:
            layer = self.layer(node)
            if isinstance(layer, UserPython):
                layer.adopt(self.layer_params.get(node.key, []))


def search_here():
    """Let modules of users' layers lie in the working directory, too; PYTHONPATH comes first."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def check_name(module, node):
    """FcnError where python_param.module is a file's path in place of a module's name."""
    path = PurePath(module.replace('\\', '/').removesuffix('.py'))
    if not module.endswith('.py') and not {'/', '\\'} & set(module):
        return
    parts = [part for part in path.parts if part not in (path.anchor, '..')]
    if path.anchor or '..' in path.parts or not on_path('.'.join(parts)):
        name = path.name
        where = f', and put {path.parent} on sys.path or PYTHONPATH' if len(path.parts) > 1 else ''
    else:
        name, where = '.'.join(parts), ''
    raise FcnError(f"python_param.module is the path '{module}'; Caffe imports a module by its "
                   'name', line=node.line, layer=node.name, type=node.type,
                   do=f'Write module: "{name}"{where}.')


def on_path(module):
    """Can this module be imported? An error in a package that it is in comes through."""
    try:
        with standing_in():
            return module in sys.modules or importlib.util.find_spec(module) is not None
    except ValueError:                          # an empty or relative name
        return False
    except ModuleNotFoundError as error:
        if error.name is None or module.startswith(error.name):
            return False                        # no such package
        raise
    except ImportError:                         # a relative name
        if module.startswith('.'):
            return False
        raise
