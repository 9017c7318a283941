"""Result trees, diffs and exports: exact bytes, modes and names; nothing outside is touched."""

import os
import stat
import threading
from pathlib import Path

import pytest

from autopack.domain.edits import EditPlan, FileEdit
from autopack.workspace.export import ExportFailed, TreeWriter
from autopack.workspace.git import GitWorkspace
from autopack.workspace.paths import link_stays_inside
from autopack.workspace.trees import EditNotApplicable

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


def plan(**files: str) -> EditPlan:
    return EditPlan(files=tuple(FileEdit(path=path, content=content) for path, content in files.items()))


@pytest.fixture
async def workspace(repository) -> GitWorkspace:
    return await GitWorkspace.open(repository.path)


async def content(workspace: GitWorkspace, tree: str, path: str) -> bytes:
    oid = (await workspace.list_tree(tree))[path].oid
    return (await workspace.read_blobs([oid]))[oid]


async def test_the_plan_is_applied_to_the_base_tree_and_modes_stay(workspace: GitWorkspace):
    base = await workspace.head_commit()
    tree = await workspace.result_tree(base, plan(**{"bin/tool": "#!/bin/sh\necho\n", "src/new.py": "x = 1"}))
    entries = await workspace.list_tree(tree)
    assert {path: entry.mode for path, entry in entries.items()} == {
        "README.md": "100644",
        "bin/tool": "100755",
        "src/app.py": "100644",
        "src/new.py": "100644",
    }
    assert entries["src/new.py"].size == 5
    assert await workspace.changed_paths(base, tree) == [("bin/tool", "M"), ("src/new.py", "A")]
    assert await workspace.result_tree(base, plan(**{"README.md": "hello\n"})) == await workspace.result_tree(
        base, EditPlan(files=())
    )


@pytest.mark.parametrize("text", ["", "no newline", "crlf\r\nlf\n", "\ufeffbom", "ünï\0nul", "\r"])
async def test_contents_are_kept_byte_for_byte(repository, workspace: GitWorkspace, text: str):
    repository.write(".gitattributes", "x.txt text eol=crlf ident working-tree-encoding=UTF-16\n")
    base = repository.commit_all()
    tree = await workspace.result_tree(base, plan(**{"x.txt": text}))
    assert await content(workspace, tree, "x.txt") == text.encode()


@pytest.mark.parametrize("path", ODD)
async def test_odd_names_come_through(repository, workspace: GitWorkspace, tmp_path: Path, path: str):
    base = await workspace.head_commit()
    tree = await workspace.result_tree(base, plan(**{path: "odd"}))
    assert await content(workspace, tree, path) == b"odd"
    assert await workspace.changed_paths(base, tree) == [(path, "A")]
    await workspace.export(tree, tmp_path / "out")
    assert (tmp_path / "out" / path).read_text() == "odd"


async def test_names_that_are_not_utf8_come_through(repository, workspace: GitWorkspace, tmp_path: Path):
    repository.write("latin-\udce9", "x")
    base = repository.commit_all()
    assert "latin-\udce9" in await workspace.list_tree(base)
    await workspace.result_tree(base, plan(new="x"))
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
        await workspace.result_tree(repository.git("rev-parse", "HEAD"), plan(**{path: "x"}))


async def test_a_plan_that_contradicts_itself_is_refused(workspace: GitWorkspace):
    base = await workspace.head_commit()
    for paths in (("a", "a"), ("a", "a/b"), ("a/b", "a")):
        edits = EditPlan(files=tuple(FileEdit(path=path, content="") for path in paths))
        with pytest.raises(EditNotApplicable):
            await workspace.result_tree(base, edits)


async def test_a_diff_shows_the_change_and_is_cut(repository, workspace: GitWorkspace):
    repository.write(".gitattributes", "*.py -diff\n")
    base = repository.commit_all()
    tree = await workspace.result_tree(base, plan(**{"src/app.py": "print('bye')\n"}))
    shown = await workspace.diff(base, tree, 10_000)
    assert "-print('hi')\n+print('bye')\n" in shown
    assert shown.startswith("diff --git a/src/app.py b/src/app.py")
    big = await workspace.result_tree(base, plan(big="line\n" * 200_000))
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
    with TreeWriter(root) as writer:
        thread.start()
        try:
            for number in range(800):
                try:
                    os.close(writer.new_file(f"d/e{number}/f", "100644"))
                    os.close(writer.new_file(f"g{number}", "100644"))
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
