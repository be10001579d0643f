"""A server on loopback that misbehaves as asked, for tests of downloads."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GOOD, STALL, TRUNCATE, NO_RANGES, HTML, RESET = 'good', 'stall', 'truncate', 'no-ranges', 'html', \
    'reset'
NO_LENGTH, WRONG_PART, CHUNK_CUT = 'no-length', 'wrong-part', 'chunk-cut'


class Served:
    """files: {name: bytes}. behaviours: of the next requests, one each; then GOOD. A number is a
    status, ('redirect', URL) a redirection, and a function is called first. tags: whether there is
    an ETag. requests: (name, its Range or None, its If-Range or None) of each so far."""

    def __init__(self, files):
        self.files, self.behaviours, self.requests, self.tags = dict(files), [], [], True
        self.version, self.closing = 1, threading.Event()
        self.url = ''

    def replace(self, name, data):
        """Another version of a file."""
        self.files[name] = data
        self.version += 1

    def ranges(self):
        return [each[1] for each in self.requests]


class Handler(BaseHTTPRequestHandler):
    served: Served

    def log_message(self, *_):
        pass

    def do_GET(self):
        served, name = self.served, self.path.lstrip('/')
        wanted, condition = self.headers.get('Range'), self.headers.get('If-Range')
        served.requests.append((name, wanted, condition))
        how = served.behaviours.pop(0) if served.behaviours else GOOD
        if callable(how):
            how = how() or GOOD
        if isinstance(how, tuple):
            self.send_response(302)
            self.send_header('Location', how[1])
            self.send_header('Content-Length', '0')
            return self.end_headers()
        if isinstance(how, int) or name not in served.files:
            return self.send_error(how if isinstance(how, int) else 404)
        if how == RESET:
            return self.connection.close()
        return self.body(served.files[name], how, wanted, condition)

    def body(self, data, how, wanted, condition):
        tag = f'"v{self.served.version}"'
        start = int(wanted.removeprefix('bytes=').rstrip('-')) if wanted else 0
        if how == NO_RANGES or (condition and condition != tag):
            start = 0
        part = data[start:]
        self.send_response(206 if start else 200)
        if start:
            first = start + (how == WRONG_PART)
            self.send_header('Content-Range', f'bytes {first}-{len(data) - 1}/{len(data)}')
        if self.served.tags:
            self.send_header('ETag', tag)
        self.send_header('Content-Type', 'text/html' if how == HTML else 'application/x-tar')
        if how == CHUNK_CUT:
            self.send_header('Transfer-Encoding', 'chunked')
        elif how != NO_LENGTH:
            self.send_header('Content-Length', str(len(part)))
        self.end_headers()
        if how == CHUNK_CUT:
            part = b'%x\r\n' % len(part) + part[:len(part) // 2]
        elif how in (STALL, TRUNCATE):
            part = part[:len(part) // 2]
        self.wfile.write(part)
        if how == STALL:
            self.wfile.flush()
            self.served.closing.wait(600)


@contextmanager
def serving(files):
    """A Served with its address, while the block runs."""
    served = Served(files)
    server = ThreadingHTTPServer(('127.0.0.1', 0), type('H', (Handler,), {'served': served}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    served.url = f'http://127.0.0.1:{server.server_port}'
    try:
        yield served
    finally:
        served.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
