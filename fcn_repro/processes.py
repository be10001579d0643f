"""Which process a file belongs to: its lock; host, process id and start; whether it still runs."""

import fcntl
import os
import re
import socket
from contextlib import suppress
from pathlib import Path


def host() -> str:
    """The name of this machine as a part of a file's name: letters, digits and '-', at most 32."""
    return re.sub('[^A-Za-z0-9-]', '-', socket.gethostname())[:32] or 'localhost'


def started(pid: int) -> str:
    """When a process of this machine started, in ticks since the boot; '' where /proc does not
    tell. With it a process is told from a later one of the same id."""
    with suppress(OSError, IndexError):
        stat = Path(f'/proc/{pid}/stat').read_bytes()
        return stat.rpartition(b')')[2].split()[19].decode('ascii', 'replace')
    return ''


def runs(pid: int, start: str = '') -> bool:
    """Whether a process of this machine runs; start: as `started` gave it, '' for any."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):     # an id too large for any process
        return False
    except PermissionError:                         # another user's
        pass
    now = started(pid)
    return not (start and now) or start == now


def take_lock(opened: int) -> bool | None:
    """Lock an open file for as long as it is open in this process (flock), without waiting. False
    if another opening of it has the lock; None if its file system has no locks."""
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
