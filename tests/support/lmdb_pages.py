"""LMDB's file format, written by hand from its layout: meta, branch, leaf and overflow pages.

database(folder, {key: value}) makes a data.mdb that nothing of LMDB has touched. word and order
choose the machine whose layout it has: 8 or 4 bytes a page number, '<' or '>'.
"""

import struct
from itertools import pairwise

PAGE, MAGIC, VERSION = 4096, 0xBEEFC0DE, 1
BRANCH, LEAF, OVERFLOW, META = 1, 2, 4, 8       # flags of a page
BIG = 1                                         # flag of a node: its data are overflow pages


class Pages:
    """Pages of one file, numbered as they are added; the first two are the meta pages."""

    def __init__(self, word=8, order='<'):
        self.order, self.code, self.pages = order, {8: 'Q', 4: 'I'}[word], [b'', b'']
        self.counts = {BRANCH: 0, LEAF: 0, OVERFLOW: 0}

    def pack(self, codes, *values):
        return struct.pack(self.order + codes.replace('N', self.code), *values)

    def head(self, number, flags, bounds):
        return self.pack('NHH', number, 0, flags) + bounds

    def overflow(self, value):
        """The number of the first of the pages that hold a value alone."""
        number, size = len(self.pages), len(self.head(0, 0, bytes(4)))
        count = -(-(size + len(value)) // PAGE)
        raw = self.head(number, OVERFLOW, self.pack('I', count)) + value
        raw += bytes(count * PAGE - len(raw))
        self.pages += [raw[i:i + PAGE] for i in range(0, len(raw), PAGE)]
        self.counts[OVERFLOW] += count
        return number

    def node(self, size, flags, key, data):
        """A node; size: of its data, of which a branch's node stores a page number instead."""
        low, high = size & 0xFFFF, size >> 16 & 0xFFFF
        pair = (low, high) if self.order == '<' else (high, low)
        raw = self.pack('HHHH', *pair, flags, len(key)) + key + data
        return raw + bytes(len(raw) % 2)

    def leaf_node(self, key, value):
        if len(value) <= 1000:
            return self.node(len(value), 0, key, value)
        return self.node(len(value), BIG, key, self.pack('N', self.overflow(value)))

    def page(self, flags, nodes):
        """Add a branch or leaf page; its nodes lie at its end, the last one first."""
        number, body, at, places = len(self.pages), b'', PAGE, []
        for node in nodes:
            body, at = node + body, at - len(node)
            places.append(at)
        lower = len(self.head(0, 0, bytes(4))) + 2 * len(nodes)
        head = self.head(number, flags, self.pack('HH', lower, at)) + b''.join(
            self.pack('H', place) for place in places)
        self.pages.append(head + bytes(PAGE - len(head) - len(body)) + body)
        self.counts[flags] += 1
        return number

    def filled(self, flags, entries):
        """[(first key, page number), …] of (key, node) entries on as few pages as hold them."""
        groups, room = [], 0
        for key, node in entries:
            if not groups or room < len(node) + 2:
                groups.append([])
                room = PAGE - 16
            room -= len(node) + 2
            groups[-1].append((key, node))
        return [(group[0][0], self.page(flags, [node for _, node in group])) for group in groups]

    def tree(self, records):
        """(root page, depth) of the B+ tree of {key: value}."""
        level = self.filled(LEAF, [(key, self.leaf_node(key, value))
                                   for key, value in sorted(records.items())])
        depth = 1
        while len(level) > 1:
            groups = -(-len(level) // 100)          # of two nodes at least, as LMDB asserts
            bounds = [len(level) * i // groups for i in range(groups + 1)]
            level = [self.branch(level[i:j]) for i, j in pairwise(bounds)]
            depth += 1
        return level[0][1], depth

    def branch(self, children):
        """(first key, page number) of a page for [(first key, page number), …] below it. The key
        of its first node is not stored: everything smaller than the second is there."""
        nodes = [self.node(number, number >> 32, key if i else b'', b'')
                 for i, (key, number) in enumerate(children)]
        return children[0][0], self.page(BRANCH, nodes)

    def meta(self, number, transaction, root, depth, entries, map_size):
        none = (1 << struct.calcsize(self.order + self.code) * 8) - 1
        free = self.pack('IHHNNNNN', PAGE, 0, 0, 0, 0, 0, 0, none)
        main = self.pack('IHHNNNNN', 0, 0, depth, self.counts[BRANCH], self.counts[LEAF],
                         self.counts[OVERFLOW], entries, none if root is None else root)
        raw = self.head(number, META, bytes(4)) + self.pack('IINN', MAGIC, VERSION, 0, map_size) \
            + free + main + self.pack('NN', len(self.pages) - 1, transaction)
        return raw + bytes(PAGE - len(raw))


def database(folder, records, word=8, order='<'):
    """Write folder/data.mdb with {key: value} (bytes both); returns the folder."""
    made = Pages(word, order)
    root, depth = made.tree(records) if records else (None, 0)
    size = len(made.pages) * PAGE
    made.pages[0] = made.meta(0, 0, None, 0, 0, size)
    made.pages[1] = made.meta(1, 1, root, depth, len(records), size)
    folder.mkdir(exist_ok=True)
    (folder / 'new').write_bytes(b''.join(made.pages))
    (folder / 'new').rename(folder / 'data.mdb')    # threads may have the old one mapped
    return folder
