"""Trained nets in the forms of other programs: ONNX, torch.export, safetensors, Caffe, Python."""

import re
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from ..data.image import MEAN
from ..errors import FcnError, nearest, short
from ..net.net import Net
from .caffe import Exported, write_caffe
from .forms import write_python, write_safetensors, write_torch_export
from .onnx_graph import write_onnx
from .source import Source, check_classes, check_mean, check_palette

__all__ = ['KINDS', 'SUFFIXES', 'Exported', 'check_free', 'export', 'files_of', 'target_of']

KINDS: dict[str, Callable[[Source, Path], list[Path]]] = {
    'onnx': write_onnx,
    'torch-export': write_torch_export,
    'safetensors': write_safetensors,
    'caffemodel': write_caffe,
    'python': write_python,
}
SUFFIXES = {        # of the files; the first is the one that is named
    'onnx': ('.onnx',),
    'torch-export': ('.pt2',),
    'safetensors': ('.safetensors',),
    'caffemodel': ('.caffemodel', '.prototxt'),
    'python': ('.py', '.pt'),
}


def export(net: Net, kind: str, path: str | PathLike[str], *,
           classes: Sequence[str] | None = None, mean: Sequence[float] = MEAN,
           palette: np.ndarray | None = None,
           size: tuple[int, int] | None = None, replace: bool = False) -> list[Path]:
    """Write a deploy net with its weights in another form; returns the files.

    kind: 'onnx' (standard operators, opset 13; needs the package onnx), 'torch-export' (an
    ExportedProgram), 'safetensors' (the state dict of 'python'), 'caffemodel' (and beside it the
    .prototxt), 'python' (one PyTorch module, and beside it its weights as .pt). path: the first of
    these files. classes: names by index; mean: subtracted from the pixels, BGR; both are written as
    metadata, and so is palette, the colours of the classes, (classes, 3) uint8 RGB (None: VOC's).
    size: (height, width), the only one that the export takes; by default it takes every size that
    the net does. replace: write over files that are there.

    The input is what the net's is: (N, 3, H, W) float32, BGR minus the mean. FcnError for a layer
    that has no such form, with its name and type; a train or val net; a file that is there; and
    what cannot be written.
    """
    check_kind(kind)
    target = Path(path)
    if target.suffix != SUFFIXES[kind][0]:
        raise FcnError(f"the file's name does not end in {SUFFIXES[kind][0]}", file=str(target),
                       do=f'Call it {target.stem or "net"}{SUFFIXES[kind][0]}.')
    if not replace:
        check_free(kind, target)
    source = Source(net, check_classes(classes), check_mean(mean), check_palette(palette), size)
    return KINDS[kind](source, target)


def target_of(kind: str, name: str, folder: Path) -> Path:
    """The first file of an export of a net of this name, which becomes one that Python can import.
    FcnError for an unknown form."""
    check_kind(kind)
    return folder / (re.sub(r'\W', '_', name, flags=re.ASCII) + SUFFIXES[kind][0])


def check_kind(kind: str) -> None:
    """FcnError for a form that there is not."""
    if kind not in KINDS:
        raise FcnError(f"unknown form '{short(str(kind), 60)}'",
                       do=f'{nearest(str(kind), KINDS)} Use {", ".join(KINDS)}.'.lstrip())


def files_of(kind: str, path: Path) -> list[Path]:
    """The files that an export to `path` writes."""
    return [path, *(path.with_suffix(suffix) for suffix in SUFFIXES[kind][1:])]


def check_free(kind: str, path: Path) -> None:
    """FcnError (code 'export-exists') where one of these files is there."""
    for file in files_of(kind, path):
        if file.exists() or file.is_symlink():
            raise FcnError('there is a file of this name', file=str(file), code='export-exists',
                           do='Give another path, or replace=True.')
