"""Exports that are used again: after a check, only what it altered and what differs between two trees is written.

What a hostile command did to a tree on disk is found by lstat alone. It can give a file its old size, inode and
modification time, but not its old change time: that is the kernel's, and no earlier than the file system's clock
was when the command started, which is later than that of every file that we wrote.
"""

import logging
import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import anyio
from anyio import CancelScope, to_thread

from autopack.workspace.export import DIRECTORY, TreeWriter, failing_in, refuse_unsafe, write_entries
from autopack.workspace.git import GitWorkspace
from autopack.workspace.scratch import remove_tree, scratch_directory
from autopack.workspace.trees import TreeEntry

log = logging.getLogger(__name__)
_TICK_SECONDS = 0.001
_LONGEST_TICK_SECONDS = 5.0
_DIRECTORY_MODE = 0o755
_Signature = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Export:
    """A tree on disk, and the symlinks of it that lead outside and are not there."""

    directory: Path
    skipped_links: tuple[str, ...]
    _slot: "_Slot" = field(repr=False)

    def altered(self) -> list[str]:
        """The files of the tree that are no longer as they were written; it may read, so run it in a thread."""
        return sorted(
            path for path, known in self._slot.signatures.items() if _now(self.directory / path) != known
        )


@dataclass(kw_only=True)
class _Slot:
    """A directory, and what was last written into it: never what is there now."""

    root: Path
    entries: Mapping[str, TreeEntry] = field(default_factory=dict)
    signatures: dict[str, _Signature] = field(default_factory=dict)
    skipped: frozenset[str] = frozenset()
    numbers: "count[int]" = field(default_factory=count)

    @property
    def tree(self) -> Path:
        return self.root / "tree"

    @property
    def trash(self) -> Path:
        return self.root / "trash"


@dataclass(kw_only=True)
class ExportPool:
    """Lives as long as a drain, in a private directory of its own."""

    git: GitWorkspace
    directory: Path
    _free: list[_Slot] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=count)

    @asynccontextmanager
    async def exported(self, tree: str, *, again: bool) -> AsyncIterator[Export]:
        """Exactly that tree. `again`: what runs in it is kept from the clock and from other directories, so that
        the next export may build on what is left; otherwise the directory is removed."""
        entries = await self.git.list_tree(tree)
        refuse_unsafe(entries)
        slot, untouched = await self._cleaned(entries, again=again)
        ended_well = False
        try:
            with failing_in(slot.root):
                await self._fill(slot, entries, untouched)
            yield Export(directory=slot.tree, skipped_links=tuple(sorted(slot.skipped)), _slot=slot)
            ended_well = True
        finally:
            if again and ended_well:
                self._free.append(slot)
            else:
                with CancelScope(shield=True):
                    await to_thread.run_sync(remove_tree, slot.root)

    async def restore(self, export: Export, *, stays: Callable[[str], bool]) -> None:
        """The tree's own files as they were; of what a command made beside them, only what may stay."""
        slot = export._slot
        with failing_in(slot.root):
            untouched = await to_thread.run_sync(_clean, slot, slot.entries, stays)
            await self._fill(slot, slot.entries, untouched)

    async def _cleaned(self, entries: Mapping[str, TreeEntry], *, again: bool) -> tuple[_Slot, set[str]]:
        """A directory, and the paths in it that are as they should be."""
        if again and self._free:
            slot = self._free.pop()
            try:
                return slot, await to_thread.run_sync(_clean, slot, entries)
            except OSError as error:  # a command closed its directories to us, say: then a new one is as good
                log.info("export cannot be used again", extra={"error": str(error)})
                await to_thread.run_sync(remove_tree, slot.root)
        return self._new_slot(), set()

    def _new_slot(self) -> _Slot:
        slot = _Slot(root=self.directory / f"export-{next(self._numbers)}")
        with failing_in(slot.root):
            for directory, mode in ((slot.root, 0o700), (slot.trash, 0o700), (slot.tree, _DIRECTORY_MODE)):
                directory.mkdir()
                directory.chmod(mode)
        return slot

    async def _fill(self, slot: _Slot, entries: Mapping[str, TreeEntry], kept: set[str]) -> None:
        missing = {path: entry for path, entry in entries.items() if path not in kept}
        # Until all is written nothing is known of the directory.
        skipped, signatures = (
            slot.skipped & kept,
            {path: slot.signatures[path] for path in kept & slot.signatures.keys()},
        )
        slot.entries, slot.signatures, slot.skipped = {}, {}, frozenset()
        with TreeWriter(slot.tree) as writer:
            exported = await write_entries(self.git.git, missing, writer)
        signatures |= {path: _signature(status) for path, status in writer.written.items()}
        if writer.written:
            await _outlive(slot.root / "clock", max(status.st_ctime_ns for status in writer.written.values()))
        slot.entries, slot.signatures = entries, signatures
        slot.skipped = frozenset({*skipped, *exported.skipped_links})


@asynccontextmanager
async def open_pool(git: GitWorkspace) -> AsyncIterator[ExportPool]:
    async with scratch_directory() as directory:
        yield ExportPool(git=git, directory=directory)


async def _outlive(probe: Path, written_ns: int) -> None:
    """Until the file system's clock has moved on: a change in the same tick would bear the same time."""
    with anyio.fail_after(_LONGEST_TICK_SECONDS):
        while True:
            if _clock_of(probe) > written_ns:
                return
            await anyio.sleep(_TICK_SECONDS)


def _clock_of(probe: Path) -> int:
    """What the file system writes now as the time of a change, in nanoseconds."""
    probe.unlink(missing_ok=True)
    probe.touch(mode=0o600, exist_ok=False)
    return probe.lstat().st_ctime_ns


def _signature(status: os.stat_result) -> _Signature:
    return (
        *(status.st_dev, status.st_ino, status.st_mode, status.st_nlink, status.st_uid, status.st_gid),
        *(status.st_size, status.st_mtime_ns, status.st_ctime_ns),
    )


def _now(path: Path) -> _Signature | None:
    """None where it is gone. A directory on the way that was swapped for a link leads to other files."""
    try:
        return _signature(path.lstat())
    except OSError:
        return None


def _clean(
    slot: _Slot, entries: Mapping[str, TreeEntry], stays: Callable[[str], bool] | None = None
) -> set[str]:
    """Removes everything that is not, untouched, what `entries` ask for; answers the paths that may stay.

    What is in nobody's place may stay where `stays` says so of its path.
    """
    cleaner = _Cleaner(slot=slot, entries=entries, directories=_directories(entries), stays=stays)
    with _opened(slot.tree) as top:
        cleaner.clean("", top)
    for directory in list(slot.trash.iterdir()):
        remove_tree(directory)
    absent = {path for path in slot.skipped if slot.entries.get(path) == entries.get(path)}
    return cleaner.kept | absent


def _directories(entries: Mapping[str, TreeEntry]) -> set[str]:
    """All that there are to be; an empty one stands where the tree has a submodule."""
    found = {""}
    for path, entry in entries.items():
        directory = path if entry.kind != "blob" else path.rpartition("/")[0]
        while directory not in found:
            found.add(directory)
            directory = directory.rpartition("/")[0]
    return found


@dataclass(frozen=True, kw_only=True)
class _Cleaner:
    slot: _Slot
    entries: Mapping[str, TreeEntry]
    directories: set[str]
    stays: Callable[[str], bool] | None
    kept: set[str] = field(default_factory=set)

    def clean(self, directory: str, opened: int) -> None:
        """Descends only into directories that belong here, so never deeper than the tree is."""
        if stat.S_IMODE(os.fstat(opened).st_mode) != _DIRECTORY_MODE:
            os.fchmod(opened, _DIRECTORY_MODE)
        with os.scandir(opened) as found:
            entries = list(found)
        for entry in entries:
            path = f"{directory}/{entry.name}" if directory else entry.name
            if path in self.directories and entry.is_dir(follow_symlinks=False):
                with _opened(entry.name, opened) as inside:
                    self.clean(path, inside)
            elif self._untouched(path, entry):
                self.kept.add(path)
            elif path in self.entries or path in self.directories or not (self.stays and self.stays(path)):
                self._remove(entry, opened)

    def _untouched(self, path: str, entry: "os.DirEntry[str]") -> bool:
        wanted, known = self.entries.get(path), self.slot.entries.get(path)
        if wanted is None or known is None or (wanted.oid, wanted.mode) != (known.oid, known.mode):
            return False
        return self.slot.signatures.get(path) == _signature(entry.stat(follow_symlinks=False))

    def _remove(self, entry: "os.DirEntry[str]", parent: int) -> None:
        """A directory goes into the trash first: from there it is removed however deep and closed it is."""
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.name, dir_fd=parent)
            return
        with _opened(entry.name, parent) as inside:
            os.fchmod(inside, 0o700)  # to move a directory, one must be able to write in it
        os.rename(entry.name, self.slot.trash / str(next(self.slot.numbers)), src_dir_fd=parent)


@contextmanager
def _opened(name: str | Path, parent: int | None = None) -> Iterator[int]:
    descriptor = os.open(name, DIRECTORY, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
