"""Result trees, diffs and exports: exact bytes, modes and names; nothing outside is touched."""

import os
import stat
import threading
from pathlib import Path

import pytest

from autopack.domain.changes import Change, File, inverse
from autopack.workspace.export import ExportFailed, TreeWriter
from autopack.workspace.git import ChangesTooLarge, GitWorkspace
from autopack.workspace.paths import link_stays_inside
from autopack.workspace.trees import EditNotApplicable
from tests.workspace.support_trees import written

pytestmark = pytest.mark.anyio
ODD = [
    "a b.txt",
    "täst/ünïcode.md",
    'quote".txt',
    "tab\there",
    "new\nline",
    "-dash",
    "*",
    "日本語/😀",
    ":(top)x",
]


@pytest.fixture
async def workspace(repository) -> GitWorkspace:
    return await GitWorkspace.open(repository.path)


async def content(workspace: GitWorkspace, tree: str, path: str) -> bytes:
    oid = (await workspace.list_tree(tree))[path].oid
    return (await workspace.read_blobs([oid]))[oid]


async def test_the_plan_is_applied_to_the_base_tree_and_modes_stay(workspace: GitWorkspace):
    base = await workspace.head_commit()
    tree = await written(workspace, base, {"bin/tool": "#!/bin/sh\necho\n", "src/new.py": "x = 1"})
    entries = await workspace.list_tree(tree)
    assert {path: entry.mode for path, entry in entries.items()} == {
        "README.md": "100644",
        "bin/tool": "100755",
        "src/app.py": "100644",
        "src/new.py": "100644",
    }
    assert entries["src/new.py"].size == 5
    assert await workspace.changed_paths(base, tree) == [("bin/tool", "M"), ("src/new.py", "A")]
    assert await written(workspace, base, {"README.md": "hello\n"}) == await workspace.result_tree(base, ())


@pytest.mark.parametrize("text", ["", "no newline", "crlf\r\nlf\n", "\ufeffbom", "ünï\0nul", "\r"])
async def test_contents_are_kept_byte_for_byte(repository, workspace: GitWorkspace, text: str):
    repository.write(".gitattributes", "x.txt text eol=crlf ident working-tree-encoding=UTF-16\n")
    base = repository.commit_all()
    tree = await written(workspace, base, {"x.txt": text})
    assert await content(workspace, tree, "x.txt") == text.encode()


@pytest.mark.parametrize("path", ODD)
async def test_odd_names_come_through(repository, workspace: GitWorkspace, tmp_path: Path, path: str):
    base = await workspace.head_commit()
    tree = await written(workspace, base, {path: "odd"})
    assert await content(workspace, tree, path) == b"odd"
    assert await workspace.changed_paths(base, tree) == [(path, "A")]
    await workspace.export(tree, tmp_path / "out")
    assert (tmp_path / "out" / path).read_text() == "odd"


async def test_names_that_are_not_utf8_come_through(repository, workspace: GitWorkspace, tmp_path: Path):
    repository.write("latin-\udce9", "x")
    base = repository.commit_all()
    assert "latin-\udce9" in await workspace.list_tree(base)
    await written(workspace, base, {"new": "x"})
    await workspace.export(base, tmp_path / "out")
    assert "latin-\udce9" in [entry.name for entry in (tmp_path / "out").iterdir()]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("link", "symbolic link"),
        ("link/x", "symbolic link"),
        ("README.md/x", "is a file"),
        ("src", "is a directory"),
        ("sub", "submodule"),
        ("sub/x", "submodule"),
        ("../x", "component"),
        ("a/../x", "component"),
        ("/etc/passwd", "absolute"),
        (".git/config", ".git"),
        ("a/.GIT/x", ".git"),
        ("a//b", "component"),
        ("", "empty"),
        ("a\0b", "NUL"),
        ("lone\ud800", "not text"),
    ],
)
async def test_what_cannot_be_applied_is_refused(repository, workspace, path: str, reason: str):
    (repository.path / "link").symlink_to("src")
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{await workspace.head_commit()},sub")
    repository.git("add", "link")
    repository.git("commit", "-qm", "link and submodule")
    with pytest.raises(EditNotApplicable, match=reason):
        await written(workspace, repository.git("rev-parse", "HEAD"), {path: "x"})


NEW = File(content=b"x")


def new(path: str) -> Change:
    return Change(path=path, before=None, after=NEW)


async def test_changes_that_contradict_each_other_are_refused(workspace: GitWorkspace):
    base = await workspace.head_commit()
    for paths in (("a", "a"), ("a", "a/b"), ("a/b", "a")):
        with pytest.raises(EditNotApplicable):
            await workspace.result_tree(base, [new(path) for path in paths])


async def test_files_are_deleted_and_moved_and_directories_go_with_their_last_file(workspace: GitWorkspace):
    base = await workspace.head_commit()
    app = (await workspace.read_files(base, ["src/app.py", "nothing"]))["src/app.py"]
    assert app == File(content=b"print('hi')\n")
    gone = Change(path="src/app.py", before=app, after=None)
    tree = await workspace.result_tree(base, [gone])
    assert set(await workspace.list_tree(tree)) == {"README.md", "bin/tool"}
    moved = Change(path="lib/app.py", before=None, after=app, moved_from="src/app.py")
    tree = await workspace.result_tree(base, [gone, moved])
    assert await workspace.changed_paths(base, tree) == [("lib/app.py", "A"), ("src/app.py", "D")]


async def test_a_file_takes_the_place_of_a_directory_and_back(workspace: GitWorkspace):
    base = await workspace.head_commit()
    app = (await workspace.read_files(base, ["src/app.py"]))["src/app.py"]
    changes = [new("src"), Change(path="src/app.py", before=app, after=None)]
    tree = await workspace.result_tree(base, changes)
    assert set(await workspace.list_tree(tree)) == {"README.md", "bin/tool", "src"}
    assert await workspace.result_tree(tree, inverse(changes)) == await workspace.result_tree(base, [])


async def test_modes_are_changed_between_the_two_that_are_written(workspace: GitWorkspace):
    base = await workspace.head_commit()
    tool = (await workspace.read_files(base, ["bin/tool"]))["bin/tool"]
    plain = Change(path="bin/tool", before=tool, after=File(content=tool.content))
    tree = await workspace.result_tree(base, [plain])
    assert (await workspace.list_tree(tree))["bin/tool"].mode == "100644"
    for mode in ("120000", "160000", "104755", "040000", "100664", "0", ""):
        odd = Change(path="bin/tool", before=tool, after=File(content=b"x", mode=mode))
        with pytest.raises(EditNotApplicable, match="mode"):
            await workspace.result_tree(base, [odd])


STALE = {
    "new, but there": (Change(path="README.md", before=None, after=NEW), "already"),
    "changed, but not there": (Change(path="nothing", before=NEW, after=NEW), "does not exist"),
    "another content": (Change(path="README.md", before=NEW, after=NEW), "no longer"),
    "another mode": (
        Change(path="README.md", before=File(content=b"hello\n", mode="100755"), after=None),
        "no longer",
    ),
    "deleted, but not there": (Change(path="src", before=NEW, after=None), "does not exist"),
}


@pytest.mark.parametrize(("change", "words"), STALE.values(), ids=STALE)
async def test_changes_for_another_base_are_refused_whole(workspace, change: Change, words: str):
    with pytest.raises(EditNotApplicable, match=words):
        await workspace.result_tree(await workspace.head_commit(), [new("fine"), change])


async def test_what_differs_is_read_from_the_trees_links_and_submodules_too(repository, workspace):
    base = await workspace.head_commit()
    (repository.path / "README.md").unlink()
    (repository.path / "README.md").symlink_to("src/app.py")
    repository.write("bin/tool", "#!/bin/sh\n", 0o644)
    repository.write("src/app.py", b"\0\xff")
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{base},sub")
    repository.git("add", "README.md", "bin", "src")
    repository.git("commit", "-qm", "odd")
    tree = repository.git("rev-parse", "HEAD")
    changes = await workspace.changes(base, tree, 1000)
    assert changes == (
        Change(
            path="README.md",
            before=File(content=b"hello\n"),
            after=File(content=b"src/app.py", mode="120000"),
        ),
        Change(
            path="bin/tool",
            before=File(content=b"#!/bin/sh\n", mode="100755"),
            after=File(content=b"#!/bin/sh\n"),
        ),
        Change(path="src/app.py", before=File(content=b"print('hi')\n"), after=File(content=b"\0\xff")),
        Change(path="sub", before=None, after=File(content=b"", mode="160000")),
    )
    stored = await workspace.stored_changes(base, tree)
    assert [each["path"] for each in stored] == [change.path for change in changes]
    assert stored[-1] == {"path": "sub", "before": None, "after": {"mode": "160000", "oid": base}}
    assert stored[0]["before"]["mode"] == "100644"
    assert await workspace.changes(tree, tree, 0) == ()
    assert await workspace.read_files(tree, ["sub", "README.md"]) == {
        "sub": File(content=b"", mode="160000"),
        "README.md": File(content=b"src/app.py", mode="120000"),
    }


async def test_more_than_is_to_be_read_is_refused_before_it_is_read(workspace: GitWorkspace):
    base = await workspace.head_commit()
    tree = await written(workspace, base, {"big": "x" * 5000})
    assert (await workspace.changes(base, tree, 5000))[0].path == "big"
    with pytest.raises(ChangesTooLarge, match="5000 bytes"):
        await workspace.changes(base, tree, 4999)


async def test_changes_and_then_their_inverse_are_the_base_again(repository, workspace: GitWorkspace):
    base = await workspace.head_commit()
    tree = await written(workspace, base, {"README.md": "bye\n", "a/b/c": "new"})
    back = await workspace.result_tree(tree, inverse(await workspace.changes(base, tree, 10_000)))
    assert back == repository.git("rev-parse", f"{base}^{{tree}}")


async def test_a_diff_shows_the_change_and_is_cut(repository, workspace: GitWorkspace):
    repository.write(".gitattributes", "*.py -diff\n")
    base = repository.commit_all()
    tree = await written(workspace, base, {"src/app.py": "print('bye')\n"})
    shown = await workspace.diff(base, tree, 10_000)
    assert "-print('hi')\n+print('bye')\n" in shown
    assert shown.startswith("diff --git a/src/app.py b/src/app.py")
    big = await written(workspace, base, {"big": "line\n" * 200_000})
    assert len(await workspace.diff(base, big, 1000)) < 1100
    assert "cut here" in await workspace.diff(base, big, 1000)


async def test_an_export_is_exactly_the_tree(repository, workspace: GitWorkspace, tmp_path: Path):
    repository.write(".gitattributes", "*.txt eol=crlf\nREADME.md export-ignore\n")
    repository.write("a.txt", "one\ntwo\n")
    repository.write("big.bin", os.urandom(300_000))
    repository.write("empty", "")
    (repository.path / "inside").symlink_to("src/app.py")
    (repository.path / "outside").symlink_to("../../etc/passwd")
    (repository.path / "absolute").symlink_to("/etc/passwd")
    repository.git("add", ".")
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{await workspace.head_commit()},src/sub")
    repository.git("commit", "-qm", "more")
    repository.write("a.txt", "dirty, and not exported")
    out = tmp_path / "out"
    exported = await workspace.export(repository.git("rev-parse", "HEAD"), out)
    assert exported.skipped_links == ("absolute", "outside")
    assert sorted(
        str(p.relative_to(out)) for p in out.rglob("*") if not p.is_dir() or p.name == "sub"
    ) == sorted(
        [
            ".gitattributes",
            "README.md",
            "a.txt",
            "big.bin",
            "bin/tool",
            "empty",
            "inside",
            "src/app.py",
            "src/sub",
        ]
    )
    assert (out / "a.txt").read_bytes() == b"one\ntwo\n"
    assert (out / "big.bin").read_bytes() == (repository.path / "big.bin").read_bytes()
    assert (out / "inside").readlink() == Path("src/app.py")
    assert stat.S_IMODE((out / "bin/tool").stat().st_mode) == 0o755
    assert stat.S_IMODE((out / "a.txt").stat().st_mode) == 0o644
    assert exported.files == 8


async def test_an_export_wants_a_fresh_directory(workspace: GitWorkspace, tmp_path: Path):
    with pytest.raises(ExportFailed):
        await workspace.export(await workspace.head_commit(), tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(ExportFailed):
        await workspace.export(await workspace.head_commit(), tmp_path / "link")


async def test_a_tree_with_an_unsafe_name_is_refused(repository, workspace: GitWorkspace, tmp_path: Path):
    blob = (await workspace.list_tree("HEAD"))["README.md"].oid
    raw = b"100644 ..\0" + bytes.fromhex(blob)
    tree = (
        await workspace.git.ask("hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=raw)
    ).decode()
    with pytest.raises(ExportFailed, match="component"):
        await workspace.export(tree.strip(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_directory_swapped_for_a_symlink_is_not_followed(tmp_path: Path):
    victim = tmp_path / "victim"
    victim.mkdir()
    root = tmp_path / "out"
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            try:
                (root / "d").rename(root / "moved")
                (root / "d").symlink_to(victim)
                (root / "d").unlink()
                (root / "moved").rename(root / "d")
            except OSError:
                (root / "d").is_symlink() and (root / "d").unlink(missing_ok=True)

    thread = threading.Thread(target=swap)
    with TreeWriter.new(root) as writer:
        thread.start()
        try:
            for number in range(800):
                try:
                    for path in (f"d/e{number}/f", f"g{number}"):
                        with writer.opened(path, "100644"):
                            pass
                except OSError:
                    continue  # refused; that is what must happen
        finally:
            stop.set()
            thread.join()
    assert list(victim.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "target", "inside"),
    [
        ("a", "b", True),
        ("d/a", "../b", True),
        ("d/a", "./x/./y", True),
        ("a", "../b", False),
        ("d/a", "../../b", False),
        ("a", "/etc", False),
        ("a", "", False),
        ("a", "x/../../y", False),
        ("d/e/a", "s/../../../x", False),  # s may itself be a link to a place higher up
    ],
)
def test_links_that_may_lead_outside_are_told_apart(path: str, target: str, inside: bool):
    assert link_stays_inside(path, target) is inside
