"""A private directory for one use, and its removal whatever a hostile command left in it."""

import logging
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path

from anyio import CancelScope, to_thread

from autopack.errors import WorkspaceRefused

log = logging.getLogger(__name__)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@asynccontextmanager
async def scratch_directory(*, keep: bool = False) -> AsyncIterator[Path]:
    """Mode 0700, below the system's temporary directory, gone afterwards unless `keep`."""
    directory = _make()
    try:
        yield directory
    finally:
        if not keep:
            with CancelScope(shield=True):
                await to_thread.run_sync(_remove, directory)


def _make() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="autopack-check-")).resolve()
    except OSError as error:
        raise WorkspaceRefused(f"No temporary directory can be made: {error}") from error


def _remove(directory: Path) -> None:
    try:
        remove_tree(directory)
    except OSError as error:
        log.warning("scratch directory left behind", extra={"directory": str(directory), "error": str(error)})


def remove_tree(directory: Path) -> None:
    """Follows no symlink, and needs neither recursion nor many descriptors however deep the tree is.

    A directory that is not empty has its own directories moved up to the top, where their turn comes.
    """
    numbers = count()
    top = _open_owned(os.fsencode(directory.name), os.open(directory.parent, _DIRECTORY), close_parent=True)
    try:
        while names := [entry.name for entry in os.scandir(top)]:
            for name in names:
                _remove_entry(os.fsencode(name), top, numbers)
    finally:
        os.close(top)
    directory.rmdir()


def _remove_entry(name: bytes, top: int, numbers: "count[int]") -> None:
    if not _is_directory(name, top):
        os.unlink(name, dir_fd=top)
        return
    inside = _open_owned(name, top)
    try:
        for entry in [os.fsencode(entry.name) for entry in os.scandir(inside)]:
            if _is_directory(entry, inside):
                _move_up(entry, inside, top, numbers)
            else:
                os.unlink(entry, dir_fd=inside)
    finally:
        os.close(inside)
    os.rmdir(name, dir_fd=top)


def _move_up(entry: bytes, inside: int, top: int, numbers: "count[int]") -> None:
    os.close(_open_owned(entry, inside))  # to move a directory, one must be able to write in it
    while True:
        new = b".removing-%d" % next(numbers)
        try:
            os.stat(new, dir_fd=top, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(entry, new, src_dir_fd=inside, dst_dir_fd=top)
            return


def _is_directory(name: bytes, parent: int) -> bool:
    mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    return (mode & 0o170000) == 0o040000


def _open_owned(name: bytes, parent: int, *, close_parent: bool = False) -> int:
    """The directory, made readable and writable for us first; a descriptor, so that no name is followed."""
    try:
        with suppress(PermissionError):
            opened = os.open(name, _DIRECTORY, dir_fd=parent)
            os.fchmod(opened, 0o700)
            return opened
        _make_readable(name, parent)
        return os.open(name, _DIRECTORY, dir_fd=parent)
    finally:
        if close_parent:
            os.close(parent)


def _make_readable(name: bytes, parent: int) -> None:
    if not hasattr(os, "O_PATH"):
        os.chmod(name, 0o700, dir_fd=parent, follow_symlinks=False)
        return
    handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        Path(f"/proc/self/fd/{handle}").chmod(0o700)
    finally:
        os.close(handle)
