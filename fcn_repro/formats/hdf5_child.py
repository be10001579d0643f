"""The child process of child.py: everything that libhdf5 parses, away from the process that asks.

Run as a script, by its path, with nothing of the package: numpy and h5py only. Reads requests, a
line of JSON each, from its standard input until that ends, and answers on its standard output in
frames of a letter, a length (8 bytes, little-endian) and so many bytes: D, numbers as they are
stored; J, the JSON that ends an answer.

Each step (an object, an attribute, a block of numbers) has about a second of processor time, which
the kernel enforces by SIGPROF: libhdf5 loops for ever on some damaged files. The memory that a
request may take beyond what is in use is limited by RLIMIT_AS.
"""

import base64
import json
import os
import resource
import signal
import struct
import sys
import time

HEAD = struct.Struct('<cQ')
STEP = 0.8                  # seconds of processor time, and one for each
BYTES_A_SECOND = 20e6       # of the file, or of numbers read
BLOCK = 8 << 20             # bytes of a dataset that are read at once
LINKS = 64                  # soft links on the way to one object
DEPTH = 200                 # of groups in groups
PLAIN = 'Write it into this file itself.'


class Refused(Exception):
    """(what, do): a fault that is told to the user in these words."""


class Clock:
    """Processor time: a limit for each step, by the kernel, and one for the request."""

    def __init__(self, seconds, size):
        self.end = time.process_time() + seconds
        self.seconds, self.size = seconds, size

    def step(self, count=0):
        """Begin a step, which reads `count` bytes of numbers."""
        if time.process_time() > self.end:
            raise Refused(f'takes more than {self.seconds:.0f} s to read',
                          'It is damaged: copy or write it again.')
        signal.setitimer(signal.ITIMER_PROF, STEP + (self.size + count) / BYTES_A_SECOND)


class File:
    """An open file and the clock of the request. inode: (device, number) of the file meant."""

    def __init__(self, path, inode, clock):
        import h5py

        clock.step()
        try:
            self.file = h5py.File(path, 'r')
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            raise Refused([getattr(error, 'errno', None) or 0, str(error)],
                          'Copy or write it again.') from None
        found = os.stat(path)
        if [found.st_dev, found.st_ino] != inode:
            raise Refused('was replaced by another file while it was read', 'Read it again.')
        self.root, self.clock = h5py.h5g.open(self.file.id, b'/'), clock

    def resolve(self, group, path, budget=None):
        """The object of a path of links, step by step, so that none leads out of the file; None
        where there is none."""
        import h5py

        budget = [LINKS] if budget is None else budget
        item = self.root if path.startswith(b'/') else group
        for part in path.split(b'/'):
            if part in (b'', b'.'):
                continue
            if not isinstance(item, h5py.h5g.GroupID) or not item.links.exists(part):
                return None
            item = self.target(item, part, budget)
        return item

    def target(self, group, name, budget):
        """The object that one link leads to; None for a soft link to nothing."""
        import h5py

        self.clock.step()
        if b'/' in name or name in (b'', b'.'):
            raise Refused(f'a link has the name {name!r}', 'It is damaged: write it again.')
        kind = group.links.get_info(name).type
        if kind == h5py.h5l.TYPE_HARD:
            return h5py.h5o.open(group, name)
        if kind != h5py.h5l.TYPE_SOFT:
            raise Refused(f"'{place(group, name)}' is a link to another file", PLAIN)
        budget[0] -= 1
        if not budget[0]:
            raise Refused(f"'{place(group, name)}' is one of more than {LINKS} links that lead to "
                          'one another', PLAIN)
        return self.resolve(group, group.links.get_val(name), budget)

    def node(self, item, name, depth, values, seen):
        """What a group, with `depth` levels below it, or a dataset is. values: with attributes and
        the scalar texts."""
        import h5py

        self.clock.step()
        if isinstance(item, h5py.h5g.GroupID):
            found = {'kind': 'group'}
            if depth:
                found['members'] = self.members(item, name, depth, values, seen)
            if values and depth:
                found['attributes'] = self.attributes(h5py.Group(item))
            return found
        if isinstance(item, h5py.h5d.DatasetID):
            return self.dataset(item, name, values)
        return {'kind': 'nothing' if item is None else 'type'}

    def members(self, group, name, depth, values, seen):
        import h5py

        address = h5py.h5o.get_info(group).addr
        if address in seen:
            raise Refused(f"group '{name}' is linked to from a second place",
                          'Give a file in the layout that Caffe writes.')
        seen.add(address)
        if name.count('/') > DEPTH:
            raise Refused(f'has groups more than {DEPTH} deep', 'Write it again.')
        return {text(link): self.node(self.target(group, link, [LINKS]),
                                      f'{name.rstrip("/")}/{text(link)}', depth - 1, values, seen)
                for link in list(group)}

    def dataset(self, item, name, values):
        import h5py

        plist, dtype = item.get_create_plist(), item.dtype
        filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
        virtual = plist.get_layout() == h5py.h5d.VIRTUAL
        found = {'kind': 'dataset', 'type': dtype.str if dtype.kind in 'fiub' else '',
                 'says': str(dtype), 'shape': None,
                 'elsewhere': virtual or plist.get_external_count() > 0,
                 'filters': filters, 'stored': 0, 'offset': None, 'chunk': 0}
        if found['elsewhere']:
            return found
        if item.get_space().get_simple_extent_type() != h5py.h5s.NULL:
            found['shape'] = item.shape
        found['stored'] = item.get_storage_size()
        if plist.get_layout() == h5py.h5d.CONTIGUOUS and dtype.kind in 'fiu' and \
                item.get_type() == h5py.h5t.py_create(dtype):
            found['offset'] = item.get_offset()
        if plist.get_layout() == h5py.h5d.CHUNKED:
            found['chunk'] = dtype.itemsize
            for count in plist.get_chunk():
                found['chunk'] *= count
        if values:
            self.clock.step()
            if dtype.kind in 'SO' and found['shape'] == () and not filters and \
                    h5py.check_string_dtype(dtype):
                found['text'] = text(h5py.Dataset(item)[()])
            found['attributes'] = self.attributes(h5py.Dataset(item))
        return found

    def attributes(self, item):
        found = {}
        for name in item.attrs:
            self.clock.step()
            found[name] = encoded(item.attrs[name])
        return found


def place(group, name):
    import h5py

    return f'{text(h5py.h5i.get_name(group) or b"").rstrip("/")}/{text(name)}'


def text(raw):
    return raw.decode('utf-8', 'surrogateescape')


def encoded(value):
    """An attribute as JSON: a text, an array of texts or of numbers; what it is for others."""
    import h5py
    import numpy as np

    if isinstance(value, h5py.Empty):
        return {'other': 'empty'}
    array = np.asarray(value)
    if array.dtype.kind in 'fiub':
        return {'type': array.dtype.str, 'shape': array.shape,
                'data': base64.b64encode(array.tobytes()).decode()}
    parts = array.reshape(-1).tolist()
    if array.dtype.kind not in 'SUO' or not all(isinstance(part, (str, bytes)) for part in parts):
        return {'other': str(array.dtype)}
    return {'shape': array.shape,
            'texts': [text(part) if isinstance(part, bytes) else part for part in parts]}


def describe(send, clock, path, inode, wanted):
    """What is at some places of a file: [[name, depth, values], …]; None where nothing is."""
    file, found = File(path, inode, clock), []
    with file.file:
        for name, depth, values in wanted:
            item = file.resolve(file.root, name.encode('utf-8', 'surrogateescape'))
            found.append(None if item is None else file.node(item, name, depth, values, set()))
    return found


def read(send, clock, path, inode, names):
    """Send the numbers of datasets, one after another, in their own types."""
    import h5py

    file = File(path, inode, clock)
    with file.file:
        for name in names:
            item = file.resolve(file.root, name.encode('utf-8', 'surrogateescape'))
            for block in blocks(h5py.Dataset(item), clock):
                send(b'D', block.tobytes())


def blocks(dataset, clock):
    """The numbers in parts of whole chunks, each of about BLOCK bytes at least."""
    if not dataset.ndim:
        yield dataset[()]
        return
    row = max(1, dataset.nbytes // max(1, dataset.shape[0]))
    rows = dataset.chunks[0] if dataset.chunks else 1
    rows *= max(1, BLOCK // (rows * row))
    for first in range(0, dataset.shape[0], rows):
        clock.step(rows * row)
        yield dataset[first:first + rows]


FUNCTIONS = {'describe': describe, 'read': read}


def limit_memory(count, most):
    """Allow so many bytes beyond those in use, no more than (soft, hard) limits at the start."""
    with open('/proc/self/statm') as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    limits = [limit for limit in most if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([used + count, *limits]), most[1]))


def answer(send, most, function, args, seconds, memory, size):
    """Send the answer to a request."""
    try:
        limit_memory(memory, most)
        said = {'result': FUNCTIONS[function](send, Clock(seconds, size), *args)}
    except Refused as error:
        said = {'refused': error.args}
    except Exception as error:          # of h5py, which has no class of its own for damage
        said = {'failed': [getattr(error, 'errno', None) or 0,
                           str(error) or type(error).__name__]}
    signal.setitimer(signal.ITIMER_PROF, 0)
    send(b'J', json.dumps(said).encode())


def main():
    """Answer requests; the first line of the input is where modules are found."""
    out = os.dup(1)
    os.dup2(2, 1)                       # what a library prints is no answer
    requests, most = sys.stdin.buffer, resource.getrlimit(resource.RLIMIT_AS)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGPROF])

    def send(kind, data):
        for part in HEAD.pack(kind, len(data)), data:
            view = memoryview(part)
            while view:
                view = view[os.write(out, view):]

    sys.path[:] = json.loads(requests.readline())
    try:
        import h5py
    except ImportError as error:
        send(b'J', json.dumps({'failed': [0, str(error)]}).encode())
        return
    for kind in resource.RLIMIT_CORE, resource.RLIMIT_FSIZE:
        resource.setrlimit(kind, (0, 0))
    send(b'J', json.dumps({'result': h5py.__version__}).encode())
    for line in requests:
        answer(send, most, **json.loads(line))
    os._exit(0)


if __name__ == '__main__':
    main()
