"""python -m fcn_repro.pycaffe SCRIPT [ARGS]: the command `fcn-repro pycaffe`."""

from ..cli.main import run_command

if __name__ == '__main__':
    run_command('pycaffe', prog='python -m fcn_repro.pycaffe')
