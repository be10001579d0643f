"""What a file is that was given in another's place, told by its first bytes."""

import re

from .errors import FcnError

AGAIN = 'Copy or download it again.'
UNPACK = 'Unpack it first.'

# How files often given in the place of Caffe's begin, what they are, and what to do ('': give
# another).
KINDS = [(start.encode('latin-1'), what, do) for start, what, do in (
    ('version https://git-lfs', 'a Git LFS pointer, not the file itself', 'Run git lfs pull.'),
    ('<', 'a web page or XML', 'The download failed, or it saved the page about the file: fetch '
     'the file itself (on GitHub by the button Raw).'),
    ('\x1f\x8b', 'a gzip archive', UNPACK), ('BZh', 'a bzip2 archive', UNPACK),
    ('\xfd7zXZ', 'an xz archive', UNPACK), ('7z\xbc\xaf', 'a 7z archive', UNPACK),
    ('Rar!', 'a RAR archive', UNPACK),
    ('PK\x03\x04', 'a zip archive, as PyTorch and numpy write',
     'Unpack it, or give a file of Caffe.'),
    ('MATLAB 5.0 MAT-file', 'a MAT-file of MATLAB', ''),
    ('\x89HDF', 'an HDF5 file', ''), ('\x93NUMPY', 'a numpy array', ''),
    *((f'\x80{protocol}', 'a Python pickle, as PyTorch wrote before 1.6', '')
      for protocol in '\x02\x03\x04\x05'),
    ('\x89PNG', 'a PNG picture', ''), ('\xff\xd8\xff', 'a JPEG picture', ''))]

ONNX = re.compile(
    rb'\x08[\x03-\x10]\x12(\x07pytorch|\x07tf2onnx|\x0akeras2onnx|\x04onnx|\x06caffe2)')


def recognise(head: bytes) -> tuple[str, str] | None:
    """(what the file is, what to do) by its first 512 bytes; None for what is none of KINDS, no
    archive, no UTF-16 text and not empty."""
    if not head:
        return 'empty', AGAIN
    begin = head.removeprefix(b'\xef\xbb\xbf').lstrip()
    for start, what, do in KINDS:
        if begin.startswith(start):
            return what, do
    if ONNX.match(head):
        return 'an ONNX model', ''
    if head[257:262] == b'ustar':
        return 'a tar archive', UNPACK
    if head[:2] in (b'\xff\xfe', b'\xfe\xff'):
        return 'UTF-16 text', 'Save it as UTF-8.'
    if not head.strip(b'\0'):
        return 'all zeros at its beginning: it was never filled', AGAIN
    return None


def check_text(head: bytes, path: object, do: str) -> None:
    """FcnError for the first 512 bytes of a file that is read as text and is something else; do:
    the remedy where there is nothing better."""
    if found := recognise(head):
        raise FcnError(f'is {found[0]}', file=str(path), do=found[1] or do)
