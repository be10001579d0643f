"""The forms that are made of a PyTorch module: its file, torch.export's, safetensors."""

import importlib.util
import json
import operator
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..errors import FcnError
from ..formats.atomic import replacing, write_text
from .source import Source
from .torch_code import write_module

METADATA = 'metadata.json'          # of torch.export's archive
TYPES = {torch.float32: 'F32'}


def write_python(source: Source, path: Path) -> list[Path]:
    """path: the module, importable if its name is a Python name; its weights beside it as .pt."""
    text, state = write_module(source, path.stem)
    weights = path.with_suffix('.pt')
    with replacing(weights, durable=False) as file:
        torch.save(state, file)
    write_text(text, path)
    return [path, weights]


def write_safetensors(source: Source, path: Path) -> list[Path]:
    """The state dict of write_python in the safetensors format, with the metadata: the length of a
    JSON header (8 bytes, little endian), the header, the values."""
    _, state = write_module(source, path.stem)
    header: dict[str, Any] = {'__metadata__': {'format': 'pt', **source.metadata()}}
    end = 0
    for name, tensor in state.items():
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {'dtype': TYPES[tensor.dtype], 'shape': list(tensor.shape),
                        'data_offsets': [start, end]}
    head = json.dumps(header, ensure_ascii=False).encode()
    head += b' ' * (-len(head) % 8)         # the values are aligned
    with replacing(path, durable=False) as file:
        file.write(struct.pack('<Q', len(head)) + head)
        for tensor in state.values():
            file.write(tensor.numpy().tobytes())
    return [path]


def write_torch_export(source: Source, path: Path) -> list[Path]:
    """An ExportedProgram with the metadata as a further file of its archive."""
    program = exported_program(source)
    with replacing(path, durable=False) as file:
        torch.export.save(program, file, extra_files={METADATA: json.dumps(source.metadata())})
    return [path]


def exported_program(source: Source) -> torch.export.ExportedProgram:
    """torch.export's program of the module; the axes that may have any length are dynamic, of
    a net with a global pooling the batch alone."""
    module = module_of(source)
    examples = tuple(torch.zeros([      # a free axis of 1 would be taken for a fixed one
        max(2, n) if free is None else n
        for n, free in zip(source.shapes[v], source.dims[v], strict=True)]) for v in source.inputs)
    fixed = any(node.type == 'Pooling' and node.param.pooling_param.global_pooling
                for node in source.net.graph.nodes)     # torch takes its window for a constant
    dynamic = tuple({i: torch.export.Dim.DYNAMIC for i, size in enumerate(source.dims[v])
                     if size is None and (i == 0 or not fixed)} for v in source.inputs)
    try:
        with torch.no_grad(), divisions_without_conditions():
            return torch.export.export(module, examples, dynamic_shapes=dynamic)
    except (RuntimeError, ValueError) as error:
        raise FcnError('torch.export does not take this net: ' + str(error).strip().split('\n')[0],
                       file=source.net.graph.file, do='Export it for one size, or as Python.') \
            from error


@contextmanager
def divisions_without_conditions() -> Iterator[None]:
    """torch 2.11 divides a pooling's size with a case that Python's // never has, and so binds the
    program to sizes with the example's remainder; later ones divide as here."""
    whole = torch._meta_registrations.div_rtn
    torch._meta_registrations.div_rtn = operator.floordiv
    try:
        yield
    finally:
        torch._meta_registrations.div_rtn = whole


def module_of(source: Source) -> torch.nn.Module:
    """The module of write_python, imported from a temporary file, with its weights."""
    text, state = write_module(source, 'exported')
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, 'exported.py')
        file.write_text(text)
        spec = importlib.util.spec_from_file_location('exported', file)
        assert spec is not None and spec.loader is not None
        made = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(made)
        net = made.Net()
        net.load_state_dict(state)
        return net.eval()
