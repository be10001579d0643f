"""Writing a file whole or not at all."""

import os
from contextlib import suppress
from pathlib import Path

from .errors import FcnError


def write_bytes(data, path, failed='cannot write the file'):
    """Write bytes beside `path`, then move them there: a reader never sees half of them.

    FcnError, beginning with `failed`, where that is not possible; what was there before stays.
    """
    beside = Path(f'{path}.{os.getpid()}.part')
    try:
        beside.write_bytes(data)
        os.replace(beside, path)
    except OSError as error:
        raise FcnError(f'{failed}: {error.strerror}', file=str(path),
                       do='Check the folder, its rights and the space on the disk.') from None
    finally:
        with suppress(OSError):
            beside.unlink()


def write_text(text, path):
    """Write a text file, UTF-8, as write_bytes does."""
    write_bytes(text.encode(), path)
