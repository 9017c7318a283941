"""A tree on disk: exact bytes, no filter, and never a step through a symlink."""

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from anyio import EndOfStream
from anyio.abc import ByteReceiveStream

from autopack.errors import WorkspaceRefused
from autopack.workspace.paths import link_stays_inside, to_bytes, unsafe_reason
from autopack.workspace.plumbing import Git, failure
from autopack.workspace.trees import EXECUTABLE, SYMLINK, TreeEntry

_TIME_LIMIT_SECONDS = 600.0
_LONGEST_LINK = 4096
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class ExportFailed(WorkspaceRefused):
    """The tree cannot be written to disk as it is, or the disk does not take it."""

    code = "export_failed"


@dataclass(frozen=True, kw_only=True)
class Exported:
    """How many files were written, and which symlinks were left out because they lead outside."""

    files: int
    skipped_links: tuple[str, ...]


async def export_tree(git: Git, entries: Mapping[str, TreeEntry], directory: Path) -> Exported:
    """Into `directory`, which must not exist yet."""
    refuse_unsafe(entries)
    with failing_in(directory), TreeWriter.new(directory) as writer:
        return await write_entries(git, entries, writer)


async def write_entries(git: Git, entries: Mapping[str, TreeEntry], writer: "TreeWriter") -> Exported:
    """All of them; none may be there yet, but for the directories on the way."""
    for path, entry in entries.items():
        if entry.kind != "blob":
            writer.make_directory(path)
    return await _write_blobs(
        git, {path: entry for path, entry in entries.items() if entry.kind == "blob"}, writer
    )


def refuse_unsafe(paths: Mapping[str, object]) -> None:
    for path in paths:
        if reason := unsafe_reason(path):
            raise ExportFailed(f"{path!r} is not written: {reason}")


@contextmanager
def failing_in(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ExportFailed(f"{directory} cannot be written: {error}") from error


async def _write_blobs(git: Git, blobs: Mapping[str, TreeEntry], writer: "TreeWriter") -> Exported:
    skipped: list[str] = []
    if not blobs:
        return Exported(files=0, skipped_links=())
    asked = "".join(f"{entry.oid}\n" for entry in blobs.values()).encode()
    arguments = ("cat-file", "--batch")
    async with git.running(*arguments, stdin=asked, time_limit_seconds=_TIME_LIMIT_SECONDS) as running:
        answer = _Answer(running.stdout)
        for path, entry in blobs.items():
            facts = (await answer.line()).split()
            if len(facts) != 3 or facts[1] != b"blob":
                output = await running.ended() if not facts else None
                raise failure(arguments, output) if output else ExportFailed(f"{path}: its object is missing")
            size = int(facts[2])
            if entry.mode == SYMLINK:
                skipped += await _write_link(answer, path, size, writer)
            else:
                with writer.opened(path, entry.mode) as file:
                    async for chunk in answer.blob(size):
                        _write_all(file, chunk)
    return Exported(files=len(blobs) - len(skipped), skipped_links=tuple(skipped))


async def _write_link(answer: "_Answer", path: str, size: int, writer: "TreeWriter") -> list[str]:
    target = b"".join([chunk async for chunk in answer.blob(size)])
    text = target.decode("utf-8", "surrogateescape")
    if size > _LONGEST_LINK or not link_stays_inside(path, text):
        return [path]
    writer.make_link(path, target)
    return []


@dataclass
class TreeWriter:
    """Writes below one directory through descriptors: a directory swapped for a symlink is not followed."""

    root: Path
    written: dict[str, os.stat_result] = field(default_factory=dict)
    """Each file and link as it was when it was done."""
    _open: list[tuple[str, int]] = field(default_factory=list)

    @classmethod
    def new(cls, directory: Path) -> "TreeWriter":
        directory.mkdir(mode=0o755)
        return cls(directory)

    def __enter__(self) -> "TreeWriter":
        self._open.append(("", os.open(self.root, DIRECTORY)))
        return self

    def __exit__(self, *_: object) -> None:
        self._close_to(0)

    def make_directory(self, path: str) -> None:
        self._enter(path.split("/"))

    def make_link(self, path: str, target: bytes) -> None:
        *parents, name = path.split("/")
        parent = self._enter(parents)
        os.symlink(target, to_bytes(name), dir_fd=parent)
        self.written[path] = os.stat(to_bytes(name), dir_fd=parent, follow_symlinks=False)

    @contextmanager
    def opened(self, path: str, mode: str) -> Iterator[int]:
        *parents, name = path.split("/")
        file = os.open(to_bytes(name), _NEW_FILE, 0o600, dir_fd=self._enter(parents))
        try:
            os.fchmod(file, 0o755 if mode == EXECUTABLE else 0o644)
            yield file
            self.written[path] = os.fstat(file)
        finally:
            os.close(file)

    def _enter(self, parts: list[str]) -> int:
        """The descriptor of that directory; those not on the way to it are closed."""
        shared = 0
        while shared < min(len(parts), len(self._open) - 1) and parts[shared] == self._open[shared + 1][0]:
            shared += 1
        self._close_to(shared + 1)
        for name in parts[shared:]:
            self._open.append((name, self._make(name, self._open[-1][1])))
        return self._open[-1][1]

    @staticmethod
    def _make(name: str, parent: int) -> int:
        """A listing names each directory's files together, but submodules were made before."""
        try:
            os.mkdir(to_bytes(name), 0o755, dir_fd=parent)
        except FileExistsError:
            return os.open(to_bytes(name), DIRECTORY, dir_fd=parent)
        with ExitStack() as on_error:
            made = os.open(to_bytes(name), DIRECTORY, dir_fd=parent)
            on_error.callback(os.close, made)
            os.fchmod(made, 0o755)
            on_error.pop_all()
        return made

    def _close_to(self, depth: int) -> None:
        while len(self._open) > depth:
            os.close(self._open.pop()[1])


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


class _Answer:
    """The stream of `cat-file --batch`, cut into lines and blobs without holding a blob whole."""

    def __init__(self, stream: ByteReceiveStream) -> None:
        self._stream = stream
        self._held = bytearray()

    async def line(self) -> bytes:
        """Without its newline; empty when git has ended."""
        while (end := self._held.find(b"\n")) < 0:
            if not await self._more():
                return b""
        line = bytes(self._held[:end])
        del self._held[: end + 1]
        return line

    async def blob(self, size: int) -> AsyncIterator[bytes]:
        left = size + 1  # git ends each blob with a newline of its own
        while left > 0:
            if not self._held and not await self._more():
                raise ExportFailed("git ended in the middle of a file")
            chunk = bytes(self._held[:left])
            del self._held[:left]
            left -= len(chunk)
            yield chunk if left > 0 else chunk[:-1]

    async def _more(self) -> bool:
        try:
            self._held += await self._stream.receive()
        except EndOfStream:
            return False
        return True
