"""Run a script written for pycaffe, without Caffe: in it `import caffe` means fcn_repro.pycaffe.

    fcn-repro pycaffe solve.py 0
    python -m fcn_repro.pycaffe solve.py 0
"""

import argparse
import os
import runpy
import sys
from pathlib import Path
from types import TracebackType

from .. import pycaffe
from ..errors import FcnError
from ..pycaffe.mode import init_log, set_dialect, set_user_code
from .arguments import add_dialect, add_max_pixels, add_user_code, dialect_of_args
from .reporting import remedy

CONVERT = 'python -m lib2to3 -w FOLDER, with a Python up to 3.12'


def place_of(trace: TracebackType | None, folder: Path) -> str:
    """'score.py:31' of the innermost line of a traceback that is in a file below `folder`."""
    found = ''
    while trace:
        path = Path(trace.tb_frame.f_code.co_filename).absolute()
        if folder in path.parents:
            found = f'{path.name}:{trace.tb_lineno}'
        trace = trace.tb_next
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_max_pixels(parser)
    add_dialect(parser)
    add_user_code(parser)
    parser.add_argument('script', type=Path)
    parser.add_argument('args', nargs=argparse.REMAINDER, help="the script's own arguments")


def run(args: argparse.Namespace) -> None:
    """FcnError for what the script cannot do, with the line of the script where it happened."""
    if not os.path.isfile(args.script):
        raise FcnError('there is no such script', file=str(args.script), do='Check the path.')
    folder = args.script.absolute().parent
    pycaffe.install()
    init_log()
    set_user_code(not args.no_user_code)
    set_dialect(**dialect_of_args(args))
    sys.argv = [str(args.script), *args.args]
    sys.path.insert(0, str(folder))
    try:
        runpy.run_path(str(args.script), run_name='__main__')
    except SyntaxError as error:
        raise FcnError(f'not valid Python 3: {error.msg}', file=error.filename, line=error.lineno,
                       do=f'Convert it from Python 2 first: {CONVERT}.') from None
    except FcnError as error:
        where, parser = place_of(error.__traceback__, folder), argparse.ArgumentParser()
        add_arguments(parser)
        text = str(error.with_remedy(remedy(error, parser)))
        raise FcnError(f'{text} (called at {where})' if where else text) from error
