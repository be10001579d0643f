"""What the passes that fuse layers end with."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from ..net.graph import Graph, Node


def replaced(graph: Graph, fused: Mapping[Node, Node], gone: Collection[Node]) -> Graph:
    """The graph with each node of `fused` replaced, at its place, and without those that are gone;
    the graph itself where there are none."""
    if not fused:
        return graph
    return replace(graph, nodes=tuple(fused.get(node, node) for node in graph.nodes
                                      if node not in gone))
