"""A layered layout of a directed graph: ranks downwards, long edges in lanes of their own.

After Sugiyama, Tagawa and Toda (1981): ranks by the longest path, an order in each rank that makes
few crossings, by the barycentres of neighbours, then positions after Brandes and Köpf (Fast and
simple horizontal coordinate assignment, 2001), which keep chains and long edges straight. An edge
that passes ranks gets a lane in each of them, as if a thin box stood there, so it crosses no box.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ..errors import FcnError

GAP_X, GAP_Y = 22.0, 34.0       # between boxes of a rank, and between ranks
LANE = 10.0                     # width of a long edge's lane
MOST_LANES = 200_000            # a chain of 600 layers that all read the first one
SWEEPS = 12         # through the ranks, to order them
MOVES = 24          # of each line, to shorten what it is joined by


@dataclass(frozen=True)
class Box:
    """A node's size."""
    width: float
    height: float


@dataclass(frozen=True)
class Edge:
    """From one box to another, by their numbers; light: it does not pull them together."""
    source: int
    target: int
    light: bool = False


@dataclass
class Placed:
    """Where boxes and edges are. corners[i]: the upper left corner of box i; lines[i]: the points
    of edge i, each pair of which is joined: vertically within a rank, by a curve between ranks."""
    corners: list[tuple[float, float]]
    lines: list[list[tuple[float, float]]]
    width: float
    height: float


def place(boxes: Sequence[Box], edges: Sequence[Edge]) -> Placed:
    """Lay out boxes, whose numbers are in an order in which every edge leads forward."""
    return _Layout(boxes, edges).placed()


@dataclass
class _Layout:
    boxes: Sequence[Box]
    edges: Sequence[Edge]
    rank: list[int] = field(default_factory=list)       # of each node; lanes follow the boxes
    width: list[float] = field(default_factory=list)
    through: list[int] = field(default_factory=list)    # ranks on the longest way through a node
    above: list[list[int]] = field(default_factory=list)
    below: list[list[int]] = field(default_factory=list)
    lanes: list[list[int]] = field(default_factory=list)        # of each edge
    ranks: list[list[int]] = field(default_factory=list)        # nodes from left to right

    def placed(self) -> Placed:
        self.rank = ranked(len(self.boxes), self.edges)
        self.width = [box.width for box in self.boxes]
        self.through = longest_ways(len(self.boxes), self.edges)
        self.add_lanes()
        self.ranks = ordered(self.rank, self.above, self.below)
        x = positions(self.ranks, self.above, self.below, self.width, self.through,
                      len(self.boxes))
        return self.drawn(x)

    def add_lanes(self) -> None:
        """A node for each rank that an edge passes."""
        count = sum(self.rank[edge.target] - self.rank[edge.source] for edge in self.edges)
        if count > MOST_LANES:
            raise FcnError(f'the net is too large for a picture: its edges pass {count:,} boxes, '
                           f'and at most {MOST_LANES:,} are drawn', code='too-large-to-draw',
                           do='Print the table instead (viewer.text_of).')
        self.above, self.below = [[] for _ in self.boxes], [[] for _ in self.boxes]
        for edge in self.edges:
            lane, last = [], edge.source
            for rank in range(self.rank[edge.source] + 1, self.rank[edge.target]):
                node = len(self.rank)
                self.rank.append(rank)
                self.width.append(LANE)
                self.through.append(-1 if edge.light else min(self.through[edge.source],
                                                              self.through[edge.target]) - 1)
                self.above.append([last])
                self.below.append([])
                self.below[last].append(node)
                lane.append(node)
                last = node
            self.below[last].append(edge.target)
            self.above[edge.target].append(last)
            self.lanes.append(lane)

    def drawn(self, x: list[float]) -> Placed:
        """Boxes and lines from the centres of all nodes."""
        tall = [max((self.boxes[n].height for n in nodes if n < len(self.boxes)), default=0.0)
                for nodes in self.ranks]
        tops, y = [], 0.0
        for height in tall:
            tops.append(y)
            y += height + GAP_Y
        corners = [(x[i] - box.width / 2, tops[self.rank[i]]) for i, box in enumerate(self.boxes)]
        ports = self.ports(x)
        lines = []
        for i, (edge, lane) in enumerate(zip(self.edges, self.lanes, strict=True)):
            a = edge.source
            line = [(x[a], corners[a][1] + self.boxes[a].height),
                    (x[a], tops[self.rank[a]] + tall[self.rank[a]])]
            for node in lane:
                top = tops[self.rank[node]]
                line += [(x[node], top), (x[node], top + tall[self.rank[node]])]
            lines.append([*line, (ports[i], corners[edge.target][1])])
        width = max((c[0] + b.width for c, b in zip(corners, self.boxes, strict=True)), default=0)
        right = max((px for line in lines for px, _ in line), default=0.0) + LANE
        return Placed(corners, lines, max(width, right), max(y - GAP_Y, 0.0))

    def ports(self, x: list[float]) -> list[float]:
        """Where each edge enters its target: side by side in the order of where they come from, one
        from right above in the middle."""
        into: dict[int, list[int]] = {}
        for i, edge in enumerate(self.edges):
            into.setdefault(edge.target, []).append(i)
        ports = [0.0] * len(self.edges)
        for target, found in into.items():
            come = {i: x[self.lanes[i][-1] if self.lanes[i] else self.edges[i].source]
                    for i in found}
            found.sort(key=come.__getitem__)
            straight = [k for k, i in enumerate(found) if abs(come[i] - x[target]) < 0.5]
            middle = straight[0] if straight else (len(found) - 1) / 2
            step = min(18.0, 0.4 * self.boxes[target].width / max(middle, len(found) - 1 - middle,
                                                                  1))
            for k, i in enumerate(found):
                ports[i] = x[target] + (k - middle) * step
        return ports


# ---- ranks -----------------------------------------------------------------------------------

def ranked(count: int, edges: Sequence[Edge]) -> list[int]:
    """The rank of each node: below all that lead to it. One that nothing leads to is drawn down to
    the first that it leads to."""
    rank = [0] * count
    into: list[list[int]] = [[] for _ in range(count)]
    out: list[list[int]] = [[] for _ in range(count)]
    for edge in edges:
        into[edge.target].append(edge.source)
        out[edge.source].append(edge.target)
    for node in range(count):
        rank[node] = 1 + max((rank[other] for other in into[node]), default=-1)
    for node in reversed(range(count)):
        if out[node] and not into[node]:
            rank[node] = min(rank[other] for other in out[node]) - 1
    least = min(rank, default=0)
    return [each - least for each in rank]


def longest_ways(count: int, edges: Sequence[Edge]) -> list[int]:
    """The number of boxes on the longest way through each, light edges left out. The boxes of one
    of the longest ways of all, the spine, have `count` more."""
    before, after = [1] * count, [1] * count
    out: list[list[int]] = [[] for _ in range(count)]
    for edge in edges:
        if not edge.light:
            out[edge.source].append(edge.target)
    for node in range(count):
        for other in out[node]:
            before[other] = max(before[other], before[node] + 1)
    for node in reversed(range(count)):
        after[node] = 1 + max((after[other] for other in out[node]), default=0)
    through = [a + b for a, b in zip(before, after, strict=True)]
    ways = [node for node in range(count) if before[node] == 1 and through[node] == max(through)]
    while ways:
        node = ways[len(ways) // 2]
        through[node] += count
        ways = [other for other in out[node] if after[other] == after[node] - 1]
    return through


# ---- order in each rank ----------------------------------------------------------------------

def ordered(rank: Sequence[int], above: Sequence[Sequence[int]],
            below: Sequence[Sequence[int]]) -> list[list[int]]:
    """The nodes of each rank from left to right: the best of several sweeps down and up."""
    ranks = first_order(rank, below)
    best, fewest = [list(nodes) for nodes in ranks], crossings(ranks, below)
    for sweep in range(SWEEPS if fewest else 0):
        down = sweep % 2 == 0
        for nodes in ranks[1:] if down else ranks[-2::-1]:
            sort_by_neighbours(nodes, above if down else below, ranks, rank, down)
        count = crossings(ranks, below)
        if count < fewest:
            best, fewest = [list(nodes) for nodes in ranks], count
    return best


def first_order(rank: Sequence[int], below: Sequence[Sequence[int]]) -> list[list[int]]:
    """Nodes in the order of a walk in depth, from the first ones down."""
    ranks: list[list[int]] = [[] for _ in range(max(rank, default=-1) + 1)]
    seen = [False] * len(rank)
    for start in sorted(range(len(rank)), key=lambda node: rank[node]):
        waiting = [start]
        while waiting:
            node = waiting.pop()
            if not seen[node]:
                seen[node] = True
                ranks[rank[node]].append(node)
                waiting.extend(reversed(below[node]))
    return ranks


def sort_by_neighbours(nodes: list[int], near: Sequence[Sequence[int]], ranks: list[list[int]],
                       rank: Sequence[int], down: bool) -> None:
    """Sort a rank by the mean place of each node's neighbours in the rank before it; one without
    neighbours keeps its place."""
    if len(nodes) < 2:
        return
    other = ranks[rank[nodes[0]] + (-1 if down else 1)]
    place_of = {node: i for i, node in enumerate(other)}
    scale = len(other) / len(nodes)
    means = {}
    for i, node in enumerate(nodes):
        found = [place_of[n] for n in near[node]]
        means[node] = sum(found) / len(found) if found else i * scale
    nodes.sort(key=means.__getitem__)


def crossings(ranks: Sequence[Sequence[int]], below: Sequence[Sequence[int]]) -> int:
    """How many pairs of edges cross, by counting inversions with a binary indexed tree."""
    total = 0
    for upper, lower in pairwise(ranks):
        place_of = {node: i for i, node in enumerate(lower)}
        ends = [end for node in upper for end in sorted(place_of[n] for n in below[node])]
        tree = [0] * (len(lower) + 1)
        for before, end in enumerate(ends):
            k, not_right = end + 1, 0
            while k:
                not_right += tree[k]
                k &= k - 1
            total += before - not_right
            k = end + 1
            while k <= len(lower):
                tree[k] += 1
                k += k & -k
    return total


# ---- positions -------------------------------------------------------------------------------

def positions(ranks: Sequence[Sequence[int]], above: Sequence[Sequence[int]],
              below: Sequence[Sequence[int]], width: Sequence[float], through: Sequence[int],
              boxes: int) -> list[float]:
    """The centre x of each node, from 0 up: the median of four alignments."""
    if not width:
        return []
    marked = conflicts(ranks, above, boxes)
    found = []
    for down in (True, False):
        for left in (True, False):
            order = [nodes if left else nodes[::-1] for nodes in
                     (ranks if down else ranks[::-1])]
            root = aligned(order, above if down else below, marked, through)
            x = compacted(order, root, above if down else below, width)
            found.append(x if left else [-each for each in x])
    spans = [(min(x[n] - width[n] / 2 for n in range(len(x))),
              max(x[n] + width[n] / 2 for n in range(len(x)))) for x in found]
    narrow = min(range(4), key=lambda i: spans[i][1] - spans[i][0])
    for i, x in enumerate(found):
        side = i % 2
        shift = spans[narrow][side] - spans[i][side]
        found[i] = [each + shift for each in x]
    out = [sum(sorted(each)[1:3]) / 2 for each in zip(*found, strict=True)]
    least = min(x - w / 2 for x, w in zip(out, width, strict=True))
    return [x - least for x in out]


def conflicts(ranks, above, boxes: int) -> set[tuple[int, int]]:
    """The edges (upper, lower) that cross a lane, which shall be straight in their place."""
    marked = set()
    for upper, lower in pairwise(ranks):
        place_of = {node: i for i, node in enumerate(upper)}
        left, start = 0, 0
        for i, node in enumerate(lower):
            inner = next((n for n in above[node] if n >= boxes), None) if node >= boxes else None
            if inner is None and i < len(lower) - 1:
                continue
            right = place_of[inner] if inner is not None else len(upper)
            for other in lower[start:i + 1]:
                for n in above[other]:
                    if not left <= place_of[n] <= right and not (n >= boxes and other >= boxes):
                        marked.add((n, other))
            left, start = right, i + 1
    return marked


def aligned(order, near: Sequence[Sequence[int]], marked: set,
            through: Sequence[int]) -> dict[int, int]:
    """{node: the first node of the vertical line that it is in}: each joins the neighbour in the
    rank before through which the longest way leads, of several the median, if that is free and no
    line that is there already would be crossed. So the longest way is straight."""
    root = {node: node for nodes in order for node in nodes}
    joined: set[int] = set()
    for before, nodes in pairwise(order):
        place_of, last = {node: i for i, node in enumerate(before)}, -1
        best = {node: max((through[n] for n in near[node]), default=0) for node in nodes}
        claims: dict[int, int] = {}
        for node in nodes:
            for n in near[node]:
                claims[n] = max(claims.get(n, -1), through[node])
        for node in nodes:
            found = sorted((n for n in near[node] if through[n] == best[node]
                            and claims[n] == through[node]), key=place_of.__getitem__)
            middle = (len(found) - 1) / 2
            for k in range(math.floor(middle), math.ceil(middle) + 1) if found else ():
                n = found[k]
                if node not in joined and last < place_of[n] \
                        and (n, node) not in marked and (node, n) not in marked:
                    root[node] = root[n]
                    joined.add(node)
                    last = place_of[n]
    return root


def compacted(order, root: dict[int, int], near: Sequence[Sequence[int]],
              width: Sequence[float]) -> list[float]:
    """An x of each node that keeps lines straight and boxes apart: as far left as that goes, then
    each line moved towards what it is joined with, as far as its neighbours let it."""
    right_of = beside(order, root, width)
    left_of: dict[int, dict[int, float]] = {node: {} for node in right_of}
    for u, found in right_of.items():
        for v, apart in found.items():
            left_of[v][u] = apart
    joined: dict[int, list[int]] = {node: [] for node in right_of}
    for node, line in root.items():
        for other in near[node]:
            if root[other] != line:
                joined[line].append(root[other])
                joined[root[other]].append(line)
    sequence = topological(right_of)
    x = dict.fromkeys(right_of, 0.0)
    for u in sequence:
        x[u] = max((x[v] + apart for v, apart in left_of[u].items()), default=0.0)
    for turn in range(MOVES):
        for u in sequence if turn % 2 else reversed(sequence):
            if joined[u]:
                most = min((x[v] - apart for v, apart in right_of[u].items()), default=math.inf)
                least = max((x[v] + apart for v, apart in left_of[u].items()), default=-math.inf)
                wanted = sum(x[v] for v in joined[u]) / len(joined[u])
                x[u] = max(least, min(wanted, most))
    return [x[root[node]] for node in range(len(width))]


def beside(order, root: dict[int, int], width: Sequence[float]) -> dict[int, dict[int, float]]:
    """{line: {a line to its right: how far apart their centres have to be}}."""
    found: dict[int, dict[int, float]] = {node: {} for node in root.values()}
    for nodes in order:
        for a, b in pairwise(nodes):
            u, v = root[a], root[b]
            gap = GAP_X / 2 if LANE in (width[a], width[b]) else GAP_X
            found[u][v] = max(found[u].get(v, 0.0), (width[a] + width[b]) / 2 + gap)
    return found


def topological(after: dict[int, dict[int, float]]) -> list[int]:
    """The keys in an order in which each comes before those that it leads to."""
    waiting = dict.fromkeys(after, 0)
    for found in after.values():
        for node in found:
            waiting[node] += 1
    ready = [node for node, count in waiting.items() if not count]
    out = []
    while ready:
        node = ready.pop()
        out.append(node)
        for other in after[node]:
            waiting[other] -= 1
            if not waiting[other]:
                ready.append(other)
    return out


