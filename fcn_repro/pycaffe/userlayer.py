"""Layers written in Python by a user: subclasses of caffe.Layer with setup, reshape, forward and
backward on blobs (python_layer.hpp of BVLC Caffe)."""

import ast
import importlib
import os
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, ClassVar

import torch

from ..data import python_layers
from ..errors import FcnError, short
from ..layers.common.base import ANY, constant
from ..layers.common.base import Layer as EngineLayer
from ..layers.python import Python
from ..net import Net
from ..proto import TEST, TRAIN
from . import mode
from .alias import is_caffe, place_of, standing_in
from .arrays import Memory, settle
from .blob import Blob, Param


class MissingMethod(FcnError, AttributeError):
    """A method that a user's layer lacks; pycaffe raises AttributeError."""


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

    What the user's code raises while a net is made or runs by a plan becomes an FcnError with the
    layer, the class and the line; layer by layer it comes through as it is, as in pycaffe.
    """

    type = 'Python'
    bottoms = tops = (0, ANY)
    in_place = stateful = True
    replayable = False
    fields = 'python_param'

    def setup(self):
        kind = self.find()
        with self.reported('__init__'):
            self.instance = kind(self.node.param)
            self.instance.param_str = self.param.param_str
            self.instance.phase = TRAIN if self.train else TEST
            self.instance.blobs = BlobVec()
        self.bottom = [Blob(Memory('cpu')) for _ in self.node.bottoms]
        self.top = [Blob(Memory('cpu')) for _ in self.node.tops]
        self.seen = None                # the bottoms' shapes that reshape was called for

    def find(self):
        """The class that python_param names."""
        file = file_without(self.param.module, self.param.layer)
        if file is None:
            with standing_in(), self.reported('the import'):
                module = importlib.import_module(self.param.module)
                if not hasattr(module, self.param.layer):
                    file = getattr(module, '__file__', '?')
        if file is not None:
            raise self.error(f"module '{self.param.module}' ({file}) has no class "
                             f"'{self.param.layer}'", 'Correct python_param.')
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
            for name in ('reshape',) if self.seen is not None else ('setup', 'reshape'):
                with self.reported(name):
                    self.ask(name, list(self.bottom), list(self.top))
            blobs = self.instance.blobs
            if not isinstance(blobs, list) or not all(isinstance(blob, Blob) for blob in blobs):
                raise self.error(f'self.blobs of {self.class_name} is {short(repr(blobs), 80)}',
                                 'Add parameters by self.blobs.add_blob(*shape).')
            self.seen = shapes

    @property
    def class_name(self):
        return f"class '{self.param.layer}' of module '{self.param.module}'"

    def ask(self, name, *blobs):
        """Call a method of the user's layer."""
        method = getattr(self.instance, name, None)
        if not callable(method):
            wanted = 'top, propagate_down, bottom' if name == 'backward' else 'bottom, top'
            raise MissingMethod(f'{self.class_name} has no {name}', line=self.node.line,
                                do=f'Write def {name}(self, {wanted}).', layer=self.node.name,
                                type=self.type)
        method(*blobs)

    @contextmanager
    def reported(self, name):
        """Turn what the user's code raises inside into an FcnError; name: of its method."""
        try:
            yield
        except FcnError as error:
            if error.layer is None:
                error = FcnError(f'{name} of {self.class_name}: {error.what}', do=error.do,
                                 code=error.code, facts=error.facts, file=error.file,
                                 line=error.line)
            raise self.placed(error) from None
        except Exception as error:
            said = f': {error}' if str(error) else ''
            raise self.error(f'{name} of {self.class_name} raised {type(error).__name__}{said} '
                             f'(at {place_in(error)})', 'Correct the class.') from error

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
        with self.reported('forward'):
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
        with self.reported('backward'):
            self.run_back(propagate_down)
        return [blob._memory.diff.clone() for blob in (*self.bottom, *self.instance.blobs[:params])]

    def run(self):
        """The user's reshape and forward on the net's blobs; the tops' data."""
        self.ask('reshape', list(self.bottom), list(self.top))
        self.ask('forward', list(self.bottom), list(self.top))
        settle()
        self.seen = [blob.shape for blob in self.bottom]
        return [blob._memory.data for blob in self.top]

    def run_back(self, propagate_down):
        """The user's backward on the net's blobs."""
        self.ask('backward', list(self.top), propagate_down, list(self.bottom))
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
    auto_tops = 0
    fields, further_messages, dialect_fields, own_fields = 'python_param', (), (), ()

    def __new__(cls, node, state):
        param = node.param.python_param
        if mode.user_code() and on_path(param.module):
            return UserPython(node, state)
        if (param.module, param.layer) in python_layers:
            return Python(node, state)
        if not mode.user_code():
            raise FcnError(f"class '{param.layer}' of module '{param.module}' is user code, which "
                           'is switched off', line=node.line, layer=node.name, type=node.type,
                           code='user-code-off', do='If you trust it, call '
                           'fcn_repro.pycaffe.set_user_code(True) first.')
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
    """Can this module be imported? Nothing is imported to tell."""
    with standing_in():
        return module in sys.modules or found_module(module) is not None


def found_module(module):
    """The spec of a module, found without importing the packages that it is in; None without."""
    path, spec, parts = None, None, module.split('.')
    for i, part in enumerate(parts):
        name = '.'.join(parts[:i + 1])
        if not part or (i and path is None):
            return None                     # an empty or relative name; no package
        if sys.modules.get(name) is not None:
            spec, path = sys.modules[name].__spec__, getattr(sys.modules[name], '__path__', None)
            continue
        try:
            spec = next(filter(None, (finder.find_spec(name, path) for finder in sys.meta_path)),
                        None)
        except KeyError:                    # a namespace in a package that is not imported
            spec = None
            path = [place for place in (os.path.join(entry, part) for entry in path)
                    if os.path.isdir(place)] or None
            continue
        if spec is None:
            return None
        path = spec.submodule_search_locations
    return spec


def file_without(module, name):
    """The source file of a module that is not imported yet and that surely binds no such name;
    None where that cannot be told without running it."""
    spec = None if module in sys.modules or name.startswith('__') else found_module(module)
    if spec is None or not (spec.origin or '').endswith('.py'):
        return None
    try:
        tree = ast.parse(Path(spec.origin).read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None                         # the import tells
    return None if name in (bound := names_in(tree)) or bound & UNTOLD else spec.origin


# what may bind any name at run time
UNTOLD = {'*', 'globals', 'vars', 'locals', 'exec', 'eval', 'setattr', '__getattr__', 'modules',
          '__dict__'}


def names_in(tree):
    """All names that a module's source defines, assigns, imports or mentions, at any depth."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.alias):
            found.add((node.asname or node.name).split('.')[0])
        for field in 'id', 'attr', 'name':
            if isinstance(getattr(node, field, None), str) and not isinstance(node, ast.alias):
                found.add(getattr(node, field))
    return found


def place_in(error):
    """'mine.py:31', the innermost line that is not this project's own."""
    if isinstance(error, SyntaxError) and error.filename:
        return f'{error.filename}:{error.lineno}'
    here = str(Path(__file__).parents[1])
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith((here, '<frozen'))]
    frame = (theirs or frames)[-1]
    return f'{frame.filename}:{frame.lineno}'
