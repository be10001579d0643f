"""The net as Caffe reads it: a deploy prototxt and its caffemodel."""

from pathlib import Path

from ..formats.atomic import write_text
from ..proto.netspec import net_text
from .source import Source


def write_caffe(source: Source, path: Path) -> list[Path]:
    """path: the caffemodel; the text beside it as .prototxt, with what a user has to know as
    comments. Caffe inserts the Splits itself."""
    text = path.with_suffix('.prototxt')
    write_text(net_text(message_of(source), comment(source)), text)
    source.net.save(path, {f'export_{name}': text for name, text in source.metadata().items()})
    return [path, text]


def message_of(source: Source):
    """The NetParameter of the net, its input at the export's size."""
    net, graph = source.net, source.net.graph
    message = graph.dialect['NetParameter'](name=graph.name)
    for node in graph.written:
        layer = message.layer.add()
        layer.CopyFrom(node.param)
        if node.type == 'Input':
            del layer.input_param.shape[:]
            for v in node.tops:
                layer.input_param.shape.add(dim=source.shapes[v])
    if net.graph.force_backward:
        message.force_backward = True
    return message


def comment(source: Source) -> str:
    """The metadata, a line each."""
    dialect = source.net.graph.dialect.name
    lines = [f'{key}: {value}' for key, value in source.metadata().items() if key != 'palette']
    return '\n'.join([*lines, f'dialect: {dialect}'])
