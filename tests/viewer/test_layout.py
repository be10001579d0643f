"""The layout: boxes apart, edges downwards and through no box, the longest way straight."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcn_repro.errors import FcnError
from fcn_repro.viewer.layout import Box, Edge, crossings, place, ranked


def check(boxes, edges):
    placed = place(boxes, edges)
    spots = [(x, y, x + box.width, y + box.height)
             for (x, y), box in zip(placed.corners, boxes, strict=True)]
    for (a, b, c, d), (e, f, g, h) in itertools.combinations(spots, 2):
        assert c <= e + 1e-6 or g <= a + 1e-6 or d <= f + 1e-6 or h <= b + 1e-6
    for edge, line in zip(edges, placed.lines, strict=True):
        assert line[0][1] == pytest.approx(spots[edge.source][3])
        assert line[-1][1] == pytest.approx(spots[edge.target][1])
        assert spots[edge.target][0] <= line[-1][0] <= spots[edge.target][2]
        for k, ((x1, y1), (x2, y2)) in enumerate(itertools.pairwise(line)):
            assert y2 >= y1 - 1e-6 and (k % 2 or x1 == x2)
            for a, b, c, d in spots:            # straight parts are beside all boxes,
                apart = max(y1, b) >= min(y2, d) - 1e-6         # curves between the ranks
                assert apart or (k % 2 == 0 and not a < x1 < c)
    assert all(a >= 0 and c <= placed.width and b >= 0 and d <= placed.height
               for a, b, c, d in spots)
    return placed


BOXES = st.builds(Box, st.integers(20, 200), st.integers(20, 90))


@settings(max_examples=60)
@given(st.data(), st.integers(0, 14))
def test_any_graph(data, count):
    boxes = data.draw(st.lists(BOXES, min_size=count, max_size=count))
    pairs = [(a, b) for b in range(count) for a in range(b)]
    edges = data.draw(st.lists(st.builds(lambda pair, light: Edge(*pair, light),
                                         st.sampled_from(pairs), st.booleans()), max_size=24)) \
        if pairs else []
    check(boxes, edges)


def test_a_chain_is_straight():
    """Also where it forks: the longest way stays where it is, the skip goes beside it."""
    boxes = [Box(100, 40)] * 8
    edges = [Edge(i, i + 1) for i in range(6)] + [Edge(1, 7), Edge(7, 5), Edge(0, 6, True)]
    placed = check(boxes, edges)
    assert len({x for x, _ in placed.corners[:7]}) == 1
    assert placed.corners[7][0] != placed.corners[0][0]


def test_sources_are_drawn_to_their_readers():
    assert ranked(4, [Edge(0, 2), Edge(2, 3), Edge(1, 3)]) == [0, 1, 1, 2]


def test_crossings():
    below = [[2, 3], [2, 3], [], []]
    assert crossings([[0, 1], [2, 3]], below) == 1
    assert crossings([[0, 1], [2, 3]], [[3], [2], [], []]) == 1
    assert crossings([[0, 1], [3, 2]], [[3], [2], [], []]) == 0


def test_branches_do_not_cross():
    """Four branches and their sum, twice."""
    edges = []
    for start in (0, 10):
        for k in range(1, 5):
            edges += [Edge(start, start + k), Edge(start + k, start + 4 + k),
                      Edge(start + 4 + k, start + 9)]
    placed = check([Box(90, 40)] * 20, [*sorted(edges, key=lambda e: e.source), Edge(9, 10)])
    assert placed.width < 4 * 90 + 5 * 22 + 90


def test_too_large():
    """A quadratic number of lanes is refused at once."""
    edges = [Edge(i, i + 1) for i in range(699)] + [Edge(0, i) for i in range(2, 700)]
    with pytest.raises(FcnError) as error:
        place([Box(90, 40)] * 700, edges)
    assert error.value.code == 'too-large-to-draw'
