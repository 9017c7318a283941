"""Exports that are used again: exactly the tree, whatever a command did to the one before."""

import os
import stat
import sys
from pathlib import Path

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autopack.workspace.git import GitWorkspace
from autopack.workspace.pool import ExportPool, open_pool

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="modes and links"),
]
FILES = ("README.md", "src/app.py", "bin/tool", "src/deep/er/a.txt", "src/deep/b.txt", "link", "äö/x y")


def listing(directory: Path) -> dict[str, tuple[int, bytes]]:
    """Every path below with its mode and content or target."""
    found = {}
    for path in directory.rglob("*"):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            content = os.fsencode(path.readlink())
        else:
            content = path.read_bytes() if stat.S_ISREG(mode) else b""
        found[str(path.relative_to(directory))] = (
            0o777777 & (stat.S_IFLNK if stat.S_ISLNK(mode) else mode),
            content,
        )
    return found


@pytest.fixture
async def trees(repository) -> tuple[GitWorkspace, list[str]]:
    """Two trees that share most of their files."""
    for name in FILES:
        if name == "link":
            repository.path.joinpath(name).symlink_to("src/app.py")
        elif name not in ("README.md", "src/app.py", "bin/tool"):
            repository.write(name, f"content of {name}\n")
    first = repository.commit_all()
    repository.write("src/app.py", "print('changed')\n")
    repository.write("bin/tool", "#!/bin/sh\n", 0o644)
    repository.git("rm", "-q", "src/deep/b.txt", "link")
    repository.path.joinpath("src/new").mkdir()
    repository.write("src/new/c.txt", "new\n")
    repository.path.joinpath("outside").symlink_to("/etc/passwd")
    return await GitWorkspace.open(repository.path), [first, repository.commit_all()]


def same_size(root: Path) -> None:
    """A rewrite that restores size and modification time."""
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_size:
            before = path.stat()
            path.write_bytes(b"#" * before.st_size)
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def swapped_for_link(root: Path) -> None:
    file = root / "src" / "app.py"
    file.unlink(missing_ok=True)
    file.symlink_to("/etc/passwd")


def directory_for_link(root: Path) -> None:
    victim = root.parent.parent / "victim"
    victim.mkdir(exist_ok=True)
    (victim / "app.py").write_text("mine")
    (root / "src").rename(root / "was")
    (root / "src").symlink_to(victim)


def hard_link(root: Path) -> None:
    os.link(root / "README.md", root / "twin")
    (root / "twin").write_text("through the twin")


def hard_link_elsewhere(root: Path) -> None:
    """The name goes away again, the link count too: only the change time tells."""
    twin = root.parent / "twin"
    os.link(root / "README.md", twin)
    twin.write_bytes(b"HELLO\n")
    twin.unlink()


def closed(root: Path) -> None:
    (root / "made" / "in").mkdir(parents=True)
    (root / "made" / "in" / "file").write_text("x")
    (root / "made" / "in").chmod(0)
    (root / "made").chmod(0o500)
    (root / "bin").chmod(0o711)


def deep(root: Path) -> None:
    place = root / "src"
    for _ in range(60):
        place = place / "d"
    place.mkdir(parents=True)


DEEDS = {
    "same size": same_size,
    "a link for a file": swapped_for_link,
    "a link for a directory": directory_for_link,
    "hard link": hard_link,
    "hard link elsewhere": hard_link_elsewhere,
    "closed directories": closed,
    "deep directories": deep,
    "mode": lambda root: (root / "README.md").chmod(0o777),
    "setuid": lambda root: (root / "README.md").chmod(0o4755),
    "new file": lambda root: (root / "src" / "left").write_text("x"),
    "fifo": lambda root: os.mkfifo(root / "pipe"),
    "deleted": lambda root: (root / "README.md").unlink(missing_ok=True),
    "file for a directory": lambda root: ((root / "bin" / "tool").unlink(), (root / "bin").rmdir(), (root / "bin").write_text("x")),
    "directory for a file": lambda root: ((root / "README.md").unlink(), (root / "README.md" / "x").mkdir(parents=True)),
    "replaced by its equal": lambda root: (root / "README.md").write_bytes((root / "README.md").read_bytes()),
}  # fmt: skip


async def check_equal(pool: ExportPool, git: GitWorkspace, tree: str, fresh: Path) -> Path:
    if not await anyio.Path(fresh).exists():
        await git.export(tree, fresh)
    async with pool.exported(tree, again=True) as export:
        assert listing(export.directory) == listing(fresh)
        assert export.skipped_links == (("outside",) if "outside" in await git.list_tree(tree) else ())
        return export.directory


async def test_each_deed_is_undone(trees, tmp_path: Path):
    git, (first, second) = trees
    async with open_pool(git) as pool:
        for name, deed in DEEDS.items():
            directory = await check_equal(pool, git, first, tmp_path / "first")
            deed(directory)
            assert listing(directory) != listing(tmp_path / "first") or name == "replaced by its equal", name
            assert await check_equal(pool, git, first, tmp_path / "first") == directory
            deed(directory)
            await check_equal(pool, git, second, tmp_path / "second")


@settings(deadline=None, max_examples=15, suppress_health_check=list(HealthCheck))
@given(
    steps=st.lists(
        st.tuples(st.lists(st.sampled_from(sorted(DEEDS)), max_size=4), st.booleans()), min_size=1, max_size=4
    )
)
async def test_whatever_commands_do_the_next_export_is_exactly_its_tree(
    trees, tmp_path_factory, tmp_path: Path, steps
):
    git, (first, second) = trees
    async with open_pool(git) as pool:
        directory = await check_equal(pool, git, first, tmp_path / "first")
        for deeds, change in steps:
            for name in deeds:
                try:
                    DEEDS[name](directory)
                except OSError:
                    continue  # an earlier deed took away what this one wants
            await check_equal(
                pool, git, second if change else first, tmp_path / ("second" if change else "first")
            )


async def test_files_that_nothing_touched_are_left_alone(trees):
    git, (first, second) = trees
    async with open_pool(git) as pool:
        async with pool.exported(first, again=True) as export:
            kept = (export.directory / "README.md").lstat()
        async with pool.exported(second, again=True) as export:
            assert (export.directory / "README.md").lstat().st_ino == kept.st_ino
            assert (export.directory / "src" / "app.py").read_text() == "print('changed')\n"


async def test_where_what_ran_was_not_kept_apart_each_export_is_new_and_removed(trees):
    git, (first, _) = trees
    async with open_pool(git) as pool:
        async with pool.exported(first, again=False) as export:
            directory = export.directory
        assert not await anyio.Path(directory).exists()
        async with pool.exported(first, again=False) as export:
            assert export.directory != directory


async def test_two_at_once_have_their_own(trees):
    git, (first, second) = trees
    async with (
        open_pool(git) as pool,
        pool.exported(first, again=True) as one,
        pool.exported(second, again=True) as two,
    ):
        assert one.directory != two.directory
        assert (two.directory / "src" / "new" / "c.txt").is_file()


async def test_an_export_that_a_command_ended_with_an_error_is_not_used_again(trees):
    git, (first, _) = trees
    async with open_pool(git) as pool:
        with pytest.raises(RuntimeError):
            async with pool.exported(first, again=True) as export:
                raise RuntimeError
        assert not await anyio.Path(export.directory).exists()


async def test_one_that_cannot_be_cleaned_is_replaced(trees, monkeypatch):
    git, (first, _) = trees
    async with open_pool(git) as pool:
        async with pool.exported(first, again=True) as export:
            before = export.directory
        with monkeypatch.context() as patched:
            patched.setattr("autopack.workspace.pool._Cleaner.clean", refuse)
            async with pool.exported(first, again=True) as export:
                assert (export.directory / "README.md").read_text() == "hello\n"
        assert export.directory != before


def refuse(*_: object) -> None:
    raise PermissionError(13, "closed")
