"""python -m fcn_repro.pycaffe SCRIPT [ARGS]: run a script written for pycaffe, without Caffe."""

import argparse
import runpy
import sys
from pathlib import Path

from .. import pycaffe
from ..errors import FcnError, tool
from .mode import init_log

HERE = pycaffe.__name__
CONVERT = 'python -m lib2to3 -w FOLDER, with a Python up to 3.12'


def alias():
    """Let `import caffe`, and every module below it, mean this package."""
    for name in [name for name in sys.modules if name == HERE or name.startswith(HERE + '.')]:
        sys.modules['caffe' + name[len(HERE):]] = sys.modules[name]


def place_of(trace, folder):
    """'score.py:31' of the innermost line of a traceback that is in a file below `folder`."""
    found = ''
    while trace:
        path = Path(trace.tb_frame.f_code.co_filename).absolute()
        if folder in path.parents:
            found = f'{path.name}:{trace.tb_lineno}'
        trace = trace.tb_next
    return found


@tool
def main(argv=None):
    parser = argparse.ArgumentParser(prog=f'python -m {HERE}', description=__doc__)
    parser.add_argument('script', type=Path)
    parser.add_argument('args', nargs=argparse.REMAINDER, help='what the script takes')
    given = parser.parse_args(argv)
    if not given.script.is_file():
        raise FcnError('there is no such script', file=str(given.script), do='Check the path.')
    folder = given.script.absolute().parent
    alias()
    init_log()
    sys.argv = [str(given.script), *given.args]
    sys.path.insert(0, str(folder))
    try:
        runpy.run_path(str(given.script), run_name='__main__')
    except SyntaxError as error:
        raise FcnError(f'no Python 3: {error.msg}', file=error.filename, line=error.lineno,
                       do=f'Convert it from Python 2 first: {CONVERT}.') from None
    except FcnError as error:
        where = place_of(error.__traceback__, folder)
        raise FcnError(f'{error} (called at {where})' if where else str(error)) from error


if __name__ == '__main__':
    main()
