"""A private directory for one use, and its removal whatever a hostile command left in it."""

import logging
import os
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path

from anyio import CancelScope, to_thread

from autopack.errors import WorkspaceRefused
from autopack.workspace.liveness import identity, is_dead

log = logging.getLogger(__name__)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PREFIX = "autopack-check-"
INDEX_PREFIX = "autopack-index-"
_OWNER = ".owner"
_LONGEST_OWNER = 1024


@asynccontextmanager
async def scratch_directory(*, keep: bool = False) -> AsyncIterator[Path]:
    """Mode 0700, below the system's temporary directory, gone afterwards unless `keep`."""
    directory = _make()
    try:
        if not keep:
            mark_owner(directory)
        yield directory
    finally:
        if not keep:
            with CancelScope(shield=True):
                await to_thread.run_sync(_remove, directory)


def make_private(*directories: Path) -> None:
    for directory in directories:
        directory.mkdir(mode=0o700)


def mark_owner(directory: Path) -> None:
    """Writes down which process will remove it, so that another may once that one was killed."""
    (directory / _OWNER).write_text(identity(), encoding="utf-8")


def sweep_leftovers() -> int:
    """Removes what killed processes of ours left in the temporary directory; returns how many directories.

    Only such as this user owns and whose owner, written in them, is certainly dead on this machine.
    """
    swept = 0
    for directory in leftovers():
        _remove(directory)
        swept += not directory.exists()
    return swept


def leftovers() -> list[Path]:
    """What `sweep_leftovers` would remove."""
    found = []
    for directory in _ours(Path(tempfile.gettempdir()).resolve()):
        owner = _owner(directory)
        if owner and is_dead(owner):
            found.append(directory)
    return found


def _ours(temporary: Path) -> Iterator[Path]:
    try:
        entries = [each for each in os.scandir(temporary) if each.name.startswith((_PREFIX, INDEX_PREFIX))]
    except OSError:
        return
    for entry in entries:
        with suppress(OSError):
            facts = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid():
                yield Path(entry.path)


def _owner(directory: Path) -> str:
    """What is written in it; a check may have put a link, a pipe or anything else there."""
    with suppress(OSError):
        top = os.open(directory, _DIRECTORY)
        try:
            file = os.open(_OWNER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=top)
        finally:
            os.close(top)
        try:
            return os.read(file, _LONGEST_OWNER).decode("utf-8", "replace").strip()
        finally:
            os.close(file)
    return ""


def _make() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix=_PREFIX)).resolve()
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
