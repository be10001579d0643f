"""pycaffe's draw: a net's layers and blobs as a graph (python/caffe/draw.py).

Text (.dot, .gv, .raw) needs pydot alone; pictures (png, svg, pdf, ...) need Graphviz's program
`dot`, too.
"""

from pathlib import Path

from ..errors import FcnError
from ..formats.atomic import write_bytes
from ..layers import TYPES
from .proto import caffe_pb2

CONVOLUTION, PRODUCT, POOLING = 'convolution_param', 'inner_product_param', 'pooling_param'
TEXT = 'dot', 'gv', 'raw'
COLORS = {CONVOLUTION: '#FF5050', POOLING: '#FF9900', PRODUCT: '#CC33FF'}
LAYER_STYLE_DEFAULT = {'shape': 'record', 'fillcolor': '#6495ED', 'style': 'filled'}
NEURON_LAYER_STYLE = {**LAYER_STYLE_DEFAULT, 'fillcolor': '#90EE90'}
BLOB_STYLE = {'shape': 'octagon', 'fillcolor': '#E0E0E0', 'style': 'filled'}


# ---- labels --------------------------------------------------------------------------------------

def drawn_as(kind):
    """The message by whose fields a layer type is drawn: convolutions', inner products' or
    pooling's; None for other types."""
    layer = TYPES.get(kind)
    drawn = layer is not None and (layer.product or layer.fields == POOLING)
    return layer.fields if drawn else None


def get_pooling_types_dict():
    """{number: name} of the ways to pool."""
    return {number: name for name, number in caffe_pb2.PoolingParameter.PoolMethod.items()}


def get_edge_label(layer):
    """What stands at a layer's tops: the batch size, or the number of outputs; '""' for none."""
    if layer.type == 'Data':
        return f'Batch {layer.data_param.batch_size}'
    message = drawn_as(layer.type)
    if message in (CONVOLUTION, PRODUCT):
        return str(getattr(layer, message).num_output)
    return '""'


def get_layer_lr_mult(layer):
    """The lr_mult of weights and bias. ValueError for a layer that does not learn, or with more
    than two `param`."""
    if drawn_as(layer.type) not in (CONVOLUTION, PRODUCT):
        raise ValueError(f'{layer.type} layers have no lr_mult')
    if len(layer.param) > 2:
        raise ValueError(f"layer '{layer.name}' has {len(layer.param)} param; at most 2 are drawn")
    weights, bias = ([param.lr_mult for param in layer.param] + [1.0, 1.0])[:2]
    return weights, bias


def get_layer_label(layer, rankdir, display_lrm=False):
    """A layer's node, quoted: name, type and window; with display_lrm what the layer learns by.

    In a graph from top to bottom (rankdir TB, BT) the parts stand side by side, else in lines.
    """
    kind = layer.type
    if drawn_as(kind) == POOLING:
        kind += ' ' + get_pooling_types_dict()[layer.pooling_param.pool]
    parts = [layer.name, f'({kind})', *window(layer)]
    if display_lrm and drawn_as(layer.type) in (CONVOLUTION, PRODUCT):
        weights, bias = get_layer_lr_mult(layer)
        if weights or bias:
            parts.append(f'lr mult: {weights:.1f}, {bias:.1f}')
    text = (' ' if rankdir in ('TB', 'BT') else r'\n').join(parts)
    return '"' + text.replace('"', r'\"') + '"'


def window(layer):
    """The kernel, stride and pad of a layer that has them, as Caffe draws them: the first value."""
    if drawn_as(layer.type) == POOLING:
        param = layer.pooling_param
        values = param.kernel_size, param.stride, param.pad
    elif drawn_as(layer.type) == CONVOLUTION:
        param = layer.convolution_param
        values = ([*param.kernel_size, 1][0], [*param.stride, 1][0], [*param.pad, 0][0])
    else:
        return []
    return [f'{name}: {value}' for name, value in zip(('kernel size', 'stride', 'pad'), values,
                                                      strict=True)]


def choose_color_by_layertype(layertype):
    """A layer's colour, '#RRGGBB'."""
    return COLORS.get(drawn_as(layertype), LAYER_STYLE_DEFAULT['fillcolor'])


# ---- the graph -----------------------------------------------------------------------------------

def included(layer, phase):
    """Is a layer in the net of a phase (None: of any)? Only the rules' phases count, as in Caffe.
    ValueError where include and exclude are both given."""
    if phase is None:
        return True
    if layer.include and layer.exclude:
        raise ValueError(f"layer '{layer.name}' has both include and exclude")
    return (not layer.include or any(rule.phase == phase for rule in layer.include)) and \
        not any(rule.phase == phase for rule in layer.exclude)


def get_pydot_graph(caffe_net, rankdir, label_edges=True, phase=None, display_lrm=False):
    """The pydot.Dot of a NetParameter, with a node for each layer and each blob.

    rankdir: LR, TB, BT or RL; phase: TRAIN, TEST or None for all layers.
    """
    pydot = import_pydot()
    graph = pydot.Dot(quoted(caffe_net.name or 'Net'), graph_type='digraph', rankdir=rankdir)
    nodes, edges = {}, []
    for layer in caffe_net.layer:
        if not included(layer, phase):
            continue
        key = f'{layer.name}_{layer.type}'
        in_place = len(layer.bottom) == len(layer.top) == 1 and layer.bottom[0] == layer.top[0]
        style = NEURON_LAYER_STYLE if in_place else {
            **LAYER_STYLE_DEFAULT, 'fillcolor': choose_color_by_layertype(layer.type)}
        nodes[key] = pydot.Node(get_layer_label(layer, rankdir, display_lrm), **style)
        for blob in (*layer.bottom, *layer.top):
            nodes[f'{blob}_blob'] = pydot.Node(quoted(blob), **BLOB_STYLE)
        label = get_edge_label(layer) if label_edges else '""'
        edges += [(f'{blob}_blob', key, '""') for blob in layer.bottom]
        edges += [(key, f'{blob}_blob', label) for blob in layer.top]
    for node in nodes.values():
        graph.add_node(node)
    for source, target, label in edges:
        graph.add_edge(pydot.Edge(nodes[source], nodes[target], label=label))
    return graph


def quoted(name):
    """A name in quotes, so that every character of it may stand in a graph's text."""
    return '"' + name.replace('"', r'\"') + '"'


def import_pydot():
    """The module pydot, which is imported when something is drawn."""
    try:
        import pydot
    except ImportError:
        raise FcnError('drawing a net needs the Python package pydot',
                       do='Install it: pip install pydot.') from None
    return pydot


def draw_net(caffe_net, rankdir, ext='png', phase=None, display_lrm=False):
    """The picture of a NetParameter as bytes, in the format `ext`; dot, gv and raw are text.
    FcnError where Graphviz is missing or cannot draw it."""
    graph = get_pydot_graph(caffe_net, rankdir, phase=phase, display_lrm=display_lrm)
    if ext in TEXT:
        return graph.to_string().encode()
    try:
        return graph.create(format=ext)
    except FileNotFoundError:
        raise FcnError(f"a picture in the format '{ext}' needs Graphviz, whose program dot is not "
                       'on the PATH',
                       do='Install Graphviz (apt install graphviz), or write text, NAME.dot, and '
                          'draw that elsewhere.') from None
    except (AssertionError, OSError) as error:      # dot ended with an error
        raise FcnError(f"Graphviz cannot draw the format '{ext}': {error}",
                       do='Use png, svg, pdf or dot.') from None


def draw_net_to_file(caffe_net, filename, rankdir='LR', phase=None, display_lrm=False):
    """Write the picture of a NetParameter; the file's ending is the format."""
    ext = Path(filename).suffix.removeprefix('.').lower()
    if not ext:
        raise FcnError(f"the file '{filename}' has no ending that says its format",
                       do='Name it .dot, .png, .svg or .pdf.')
    picture = draw_net(caffe_net, rankdir, ext, phase, display_lrm)
    write_bytes(picture, filename, 'cannot write the picture')
