"""The table of subcommands, and how one of them is run.

A subcommand's module is imported when it runs, so that `fcn-repro --help` does not load torch.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

import fcn_repro

from ..errors import FcnError, nearest
from .reporting import report_errors

PROG = 'fcn-repro'
COMMANDS = {        # the module is the name with _ for -
    'train': 'train a stage of the recipe, from its parent\'s weights to its score',
    'staged': 'train all stages with their controls: Table 2 of the paper in miniature',
    'paper': "the paper's tables and figures: its numbers beside ours",
    'zoo': 'train small nets of FCN and its successors, and put them side by side',
    'infer': 'label photographs, or draw the class grid of a classifier',
    'eval': 'score a net on a folder laid out as PASCAL VOC',
    'draw': 'draw a net as a page with shapes, receptive fields and costs',
    'export': 'write a trained net as ONNX, torch.export, safetensors, Caffe or Python',
    'data': 'check a data set of your own, convert images and masks for training',
    'doctor': 'say why a net does not learn: solver, net, weights and data together',
    'cast': 'turn a classifier into a fully convolutional net, prototxt and weights',
    'bn-statistics': "fold a data set's statistics into the BNs of SegNet or ENet",
    'bn-absorb': 'absorb the BNs of SegNet or ENet into their convolutions',
    'convert': 'convert a caffemodel to HDF5 and back, or list what a file of Caffe holds',
    'check-parity': 'compare a net blob by blob with what Caffe computed',
    'check-goldens': 'compare with every golden of Caffe below the folders given',
    'make-prototxt': 'write the nets and solvers, for a data set of your own too',
    'make-scenes': 'make scenes of handwritten digits in the layout of VOC',
    'caffe': "Caffe's own command and tools: train, test, time, convert_imageset, …",
    'pycaffe': 'run a Python script written for pycaffe, without Caffe',
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run `fcn-repro COMMAND ...`; argv: the words after fcn-repro, by default the process's.

    Ends with SystemExit where the status is not 0: 1 for an FcnError, 2 for wrong usage, 129,
    130, 141 and 143 for SIGHUP, Ctrl-C, a closed output and SIGTERM.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words and not words[0].startswith('-'):
        if words[0] not in COMMANDS:
            parser().error(unknown(words[0]))
        return run_command(words[0], words[1:], f'{PROG} {words[0]}', argv is None)
    parser().parse_args(words)              # ends the process for --help, --version and others
    parser().print_help()
    return None


def run_command(name: str, argv: Sequence[str] | None = None, prog: str | None = None,
                own_process: bool = False) -> None:
    """Parse the words of one command and run it; prog: its name in the usage line.

    own_process: the process has no other task, so the command may start it anew (prepare_process)
    where it needs another environment.
    """
    commands = argparse.ArgumentParser(prog=prog, allow_abbrev=False)
    with report_errors(commands):
        if any('\0' in word for word in argv or ()):
            raise FcnError('an argument has a NUL character', do='Remove it.')
        yield_cores()
        module = load(name)
        check_processes(name, module)
        if own_process and hasattr(module, 'prepare_process'):
            module.prepare_process()
        commands.description = module.__doc__
        commands.formatter_class = argparse.RawDescriptionHelpFormatter
        module.add_arguments(commands)
        if hasattr(module, 'run_words') and argv and argv[0] not in ('-h', '--help'):
            status = module.run_words(argv)         # in a grammar of its own
        else:
            status = module.run(set_limits(commands.parse_args(argv)))
    if status:
        sys.exit(status)


def check_processes(name: str, module: ModuleType) -> None:
    """FcnError for several processes, as torchrun starts, of a command that works alone."""
    size = os.environ.get('WORLD_SIZE', '1')
    if size != '1' and not getattr(module, 'SEVERAL_PROCESSES', False):
        together = [other for other in COMMANDS
                    if getattr(load(other), 'SEVERAL_PROCESSES', False)]
        raise FcnError(f'{name} runs in one process, and WORLD_SIZE is {size}',
                       do=f'Start it without torchrun, or unset WORLD_SIZE; {", ".join(together)} '
                          'run in several.')


def set_limits(args: argparse.Namespace) -> argparse.Namespace:
    """Take --max-pixels, where a command has it, from its options, and set the limit."""
    if hasattr(args, 'max_pixels'):
        from ..data.image import limit_pixels
        limit_pixels(args.max_pixels)
        del args.max_pixels
    return args


def yield_cores() -> None:
    """Have threads that wait for others of this process sleep instead of spin, unless the user's
    OMP_WAIT_POLICY says otherwise: where other programs want the cores too, spinning takes them
    from the very threads that are waited for. OpenMP reads it when torch is imported."""
    if 'torch' not in sys.modules:
        os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')


def load(name: str) -> ModuleType:
    """The module of a command."""
    return import_module(f'.{name.replace("-", "_")}', __package__)


def unknown(name: str) -> str:
    """What to say about a command that does not exist."""
    return f"unknown command '{name}'. {nearest(name, COMMANDS)} See {PROG} --help.".replace(
        '  ', ' ')


def parser() -> argparse.ArgumentParser:
    """The parser of `fcn-repro` without a command."""
    width = max(map(len, COMMANDS))
    table = '\n'.join(f'  {name:{width}}  {text}' for name, text in COMMANDS.items())
    made = argparse.ArgumentParser(
        prog=PROG, usage=f'{PROG} COMMAND ...',
        description='Fully convolutional networks, faithful to Caffe, in PyTorch.',
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f'commands:\n{table}\n\n{PROG} COMMAND --help lists the options of a command.')
    made.add_argument('--version', action='version', version=f'{PROG} {fcn_repro.__version__}')
    return made
