"""`import caffe` means fcn_repro.pycaffe: for the whole process, or while a user's module loads."""

import importlib
import importlib.util
import sys
from contextlib import contextmanager
from importlib.machinery import ModuleSpec

from ..errors import FcnError

HERE = __package__


class Finder:
    """A meta-path finder and loader: `caffe.io` is the module object of `fcn_repro.pycaffe.io`."""

    def find_spec(self, name, path=None, target=None):
        ours = HERE + name.removeprefix('caffe')
        if not is_caffe(name) or importlib.util.find_spec(ours) is None:
            return None
        return ModuleSpec(name, self, loader_state=ours)

    def create_module(self, spec):
        module = importlib.import_module(spec.loader_state)
        spec.loader_state = module.__spec__         # the import machinery puts spec in its place
        return module

    def exec_module(self, module):
        module.__spec__ = module.__spec__.loader_state


FINDER = Finder()


def is_caffe(name):
    """Is this the name of Caffe's package, or of a module of it?"""
    return name.partition('.')[0] == 'caffe'


def installed():
    """Does `import caffe` mean this package?"""
    return FINDER in sys.meta_path and sys.modules.get('caffe') is sys.modules[HERE]


def install():
    """Let `import caffe`, and the import of any module of it, mean this package from now on.

    A Caffe on the path that was not imported yet yields. FcnError if one was imported already.
    """
    loaded = sys.modules.get('caffe')
    if loaded not in (None, sys.modules[HERE]):
        raise FcnError(f'another caffe is loaded already, {place_of(loaded)}',
                       do='Call fcn_repro.pycaffe.install() before anything imports caffe.')
    if FINDER not in sys.meta_path:
        sys.meta_path.insert(0, FINDER)
    sys.modules['caffe'] = sys.modules[HERE]


def uninstall():
    """Undo install."""
    if FINDER in sys.meta_path:
        sys.meta_path.remove(FINDER)
    for name in [name for name, module in sys.modules.items() if is_caffe(name)
                 and getattr(module, '__name__', '').startswith(HERE)]:
        del sys.modules[name]


def place_of(module):
    """Where a module lies, for a message."""
    return getattr(module, '__file__', None) or repr(module)


@contextmanager
def standing_in():
    """Let `import caffe` mean this package inside.

    Where there is another Caffe, loaded or on the path, it has the name again afterwards; where
    there is none, this package keeps it, for layers that import caffe when they run.
    """
    if installed():
        yield
        return
    others = {name: sys.modules.pop(name) for name in list(sys.modules) if is_caffe(name)}
    there_is_another = bool(others) or importlib.util.find_spec('caffe') is not None
    try:
        install()
        yield
    finally:
        if there_is_another:
            uninstall()
            sys.modules.update(others)
