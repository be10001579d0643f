"""A net as one readable PyTorch module: its text, and its state dict.

Layers with parameters are submodules under their Caffe names, everything else is a statement of
forward, in the net's order, on variables that are called as the blobs are. The layers say what
these are (Layer.torch_code). The operations are those of a Net that has no passes and was not
placed, so the results are the same bits, on the same torch, machine and number of threads.
"""

import inspect
import keyword
import re
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from ..errors import located
from ..net.graph import Node
from .source import MEAN_LENGTH, Source

FARTHEST, WIDTH = 66, 100       # column of the comments, at most; length of a line
LONGEST = 120                   # of a statement's line, where it can be broken
RESERVED = {'self', 'torch', 'F', 'nn', 'np', 'Path', 'preprocess', 'load', 'Net', 'pool',
            'MEAN', 'CLASSES', 'PALETTE', 'float', 'super'}
HEAD = '''"""{name} as a PyTorch module, without fcn_repro.

    from {module} import {names}
    net = load()                                # the weights in {module}.pt
    scores = net({call:<29}  # {says}

{facts}
Written by {writer} from {source}: an export without passes.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

MEAN = {mean}       # subtracted from the pixels, BGR
'''
PREPROCESS = '''

def preprocess(image):
    """An (H, W, 3) uint8 RGB array -> (1, 3, H, W) float32, BGR minus MEAN."""
    pixels = torch.as_tensor(image).flip(-1) - torch.tensor(MEAN, dtype=torch.float64)
    return pixels.float().permute(2, 0, 1)[None].contiguous()
'''
LOAD = '''

def load(weights=Path(__file__).with_suffix('.pt')):
    """The net with its weights, in eval mode."""
    net = Net()
    net.load_state_dict(torch.load(weights, map_location='cpu', weights_only=True))
    return net.eval()
'''


def names_for(texts: list[str], taken: set[str]) -> dict[str, str]:
    """{text: a Python name like it}, all different and none of `taken`."""
    names: dict[str, str] = {}
    used = set(taken)
    for text in dict.fromkeys(texts):
        name = re.sub(r'\W', '_', text, flags=re.ASCII)
        if not name or name[0].isdigit():
            name = f'_{name}'
        if keyword.iskeyword(name) or name in taken:
            name += '_'
        base, count = name, 2
        while name in used:
            name, count = f'{base}_{count}', count + 1
        used.add(name)
        names[text] = name
    return names


@dataclass
class LayerCode:
    """The TorchCode (layers/common/exporting.py) of one layer."""
    text: 'ModuleText'
    node: Node
    bottoms: list[str]
    shapes: list[tuple[int, ...]]
    dims: list[tuple[int | None, ...]]
    blobs: list[np.ndarray]

    def module(self, call: str, *names: str, shape: tuple[int, ...] | None = None,
               **values: np.ndarray) -> str:
        name = self.text.attributes[self.node.unique_name]
        self.text.declared.append(f'self.{name} = {call}')
        for i, tensor in enumerate(names):
            self.text.keep(f'{name}.{tensor}', self.node, i, shape)
        for tensor, array in values.items():
            self.text.state[f'{name}.{tensor}'] = torch.from_numpy(array.copy())
        return f'self.{name}'

    def parameter(self) -> str:
        name = self.text.attributes[self.node.unique_name]
        shape = tuple(self.blobs[0].shape)
        self.text.declared.append(f'self.{name} = nn.Parameter(torch.zeros({shape}))')
        self.text.keep(name, self.node, 0)
        return f'self.{name}'

    def helper(self, source: Callable) -> str:
        self.text.helpers.setdefault(source.__name__, textwrap.dedent(inspect.getsource(source)))
        return source.__name__


@dataclass
class ModuleText:
    """The parts of a module, collected layer by layer. declared: lines of __init__; statements:
    (code, comment) of forward; state: the state dict; helpers: {name: source}; shared: {name:
    the tensor of the state dict that it is}."""
    source: Source
    attributes: dict[str, str]
    declared: list[str] = field(default_factory=list)
    statements: list[tuple[str, str]] = field(default_factory=list)
    state: dict[str, torch.Tensor] = field(default_factory=dict)
    helpers: dict[str, str] = field(default_factory=dict)
    owners: dict[int, str] = field(default_factory=dict)

    def keep(self, name: str, node: Node, index: int, shape: tuple[int, ...] | None = None) -> None:
        """Put a layer's parameter into the state dict, in its own shape or the one given; one that
        an earlier layer has becomes that one."""
        blob = self.source.net.layer_params[node.key][index]
        tensor = blob.data.detach().cpu().float().contiguous()
        tensor = tensor if shape is None else tensor.reshape(shape)
        owner = self.owners.setdefault(id(blob.parameter), name)
        if owner != name and self.state[owner].shape == tensor.shape:
            self.declared.append(f'self.{name} = self.{owner}')
            self.state[name] = self.state[owner]
        else:
            self.state[name] = tensor.clone()


def write_module(source: Source, module: str) -> tuple[str, dict[str, torch.Tensor]]:
    """(text of the module file, called `module`, and state dict) of a net. FcnError, with layer and
    type, for a layer that has no PyTorch form."""
    graph = source.net.graph
    taken = RESERVED | set(dir(nn.Module))
    text = ModuleText(source, names_for([node.unique_name for node in graph.nodes], taken))
    variables = names_for(list(graph.values), taken)
    held = {v: variables[graph.values[v]] for v in range(len(graph.values))}
    for node in graph.nodes:
        with located(graph.file, node):
            add_layer(text, node, held)
    return assembled(text, module, held), text.state


def add_layer(text: ModuleText, node: Node, held: dict[int, str]) -> None:
    """Add the statement of a layer. held: {value: its variable}; a Split's tops are its bottom."""
    source, layer = text.source, text.source.net.layer(node)
    if node.type == 'Input':
        return
    if layer.shares_data:
        held.update(dict.fromkeys(node.tops, held[node.bottoms[0]]))
        return
    expression = layer.torch_code(LayerCode(
        text, node, [held[v] for v in node.bottoms], [source.shapes[v] for v in node.bottoms],
        [source.dims[v] for v in node.bottoms], source.blobs(node)))
    if expression is not None:
        comment = f'{node.unique_name}: {", ".join(source.text_of(v) for v in node.tops)}'
        text.statements.append((f'{", ".join(held[v] for v in node.tops)} = {expression}', comment))


def assembled(text: ModuleText, module: str, held: dict[int, str]) -> str:
    """The file's text."""
    source, graph = text.source, text.source.net.graph
    facts = source.metadata()
    colour = [source.shapes[v][1:2] for v in source.inputs] == [(MEAN_LENGTH,)]
    parts = [HEAD.format(
        name=printable(source.name), module=printable(module), mean=source.mean,
        names='load, preprocess' if colour else 'load',
        call='preprocess(image))' if colour else ', '.join(held[v] for v in source.inputs) + ')',
        says='image: (H, W, 3) uint8 RGB, an array' if colour else 'float32 tensors',
        facts=described(source), writer=facts['writer'], source=printable(facts['source']))]
    if source.classes:
        colours = [str(tuple(colour)) for colour in source.palette.tolist()]
        parts.append(f'CLASSES = (\n{packed(map(ascii, source.classes))})\n'
                     f'PALETTE = (      # of the classes, RGB\n{packed(colours)})\n')
    parts += [f'\n\n{helper.rstrip()}\n' for helper in text.helpers.values()]
    inputs = ', '.join(held[v] for v in source.inputs)
    results = [held[v] for v in source.outputs]
    returned = results[0] if len(results) == 1 else '{' + ', '.join(
        f'{blob!r}: {name}' for blob, name in zip(graph.outputs, results, strict=True)) + '}'
    body = ['    def __init__(self):', '        super().__init__()',
            *(f'        {line}' for line in text.declared), '',
            f'    def forward(self, {inputs}):',
            *(f'        # {printable(graph.values[v])}: {source.text_of(v)}, as all sizes below'
              for v in source.inputs),
            *statements(text.statements), f'        return {returned}', '']
    parts.append('\n\nclass Net(nn.Module):\n' + '\n'.join(body))
    return ''.join([*parts, PREPROCESS if colour else '', LOAD])


def statements(pairs: list[tuple[str, str]]) -> list[str]:
    """The lines of forward, each comment beside its code, or above it where that is long."""
    lengths = [len(code) + 10 for code, _ in pairs]
    column = max((n for n in lengths if n <= FARTHEST), default=0)
    lines = []
    for code, comment in pairs:
        beside = f'{"        " + code:<{column}}# {printable(comment)}'
        lines += [beside] if len(code) + 10 <= column and len(beside) <= WIDTH else \
            [f'        # {printable(comment)}', *(f'        {line}' for line in wrapped(code))]
    return lines


def wrapped(code: str) -> list[str]:
    """A statement on several lines if it is too long for one and they can be broken in brackets,
    which a long value gets where it has none."""
    if len(code) + 8 <= LONGEST:
        return [code]
    name, equals, value = code.partition(' = ')
    if equals and not set('([{') & set(value):
        code = f'{name} = ({value})'
    first, *rest = textwrap.wrap(code, WIDTH - 8, subsequent_indent=' ' * 4,
                                 break_long_words=False, break_on_hyphens=False)
    opened = sum(map(first.count, '([{')) - sum(map(first.count, ')]}'))
    return [first, *rest] if opened > 0 else [code]


def packed(items: Iterable[str]) -> str:
    """Items of a tuple, as many a line as fit."""
    lines = ['']
    for item in items:
        if lines[-1] and len(f'    {lines[-1]} {item},') > WIDTH:
            lines.append('')
        lines[-1] += f' {item},' if lines[-1] else f'{item},'
    return ''.join(f'    {line}\n' for line in lines)


def described(source: Source) -> str:
    """Inputs and outputs, a line each."""
    graph = source.net.graph
    lines = [f'{what} {printable(graph.values[v])}: '
             + ' x '.join('any' if n is None else str(n) for n in source.dims[v])
             for what, values in (('Input', source.inputs), ('Output', source.outputs))
             for v in values]
    return '\n'.join(lines)


def printable(text: str) -> str:
    """A text that cannot end a comment or a docstring."""
    return ascii(text)[1:-1].replace('"', "'")
