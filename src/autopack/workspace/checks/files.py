"""Files that a hostile command had its hands on: never through a link, never more than was asked for."""

import os
import stat
from pathlib import Path

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def read_bounded(file: Path, longest: int) -> bytes | None:
    """The content of an ordinary file of at most that many bytes, else None."""
    try:
        descriptor = os.open(file, _READ)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        data = bytearray()
        while len(data) <= longest:
            chunk = os.read(descriptor, min(1 << 20, longest + 1 - len(data)))
            if not chunk:
                return bytes(data)
            data += chunk
        return None
    except OSError:
        return None
    finally:
        os.close(descriptor)
