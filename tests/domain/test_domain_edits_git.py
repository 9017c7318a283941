"""What `git diff` says of two trees, read and applied to the one, is exactly the other."""

import hashlib
import os
import subprocess
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from autopack.domain.changes import Change, File
from autopack.domain.edits import apply, parse

Tree = dict[str, File]
NAMES = [
    "a",
    "b c.txt",
    "d/e.py",
    "d/f g/h",
    "täst/日本.md",
    'q"uote',
    "back\\slash",
    "tab\there",
    "-dash",
    "b/b",
    "ends with ",
    "c b",
]
TEXTS = st.sampled_from(
    [
        "",
        "x",
        "y",
        " x",
        "x ",
        "def f():",
        "--- a/x",
        "+++ b/x",
        "-- ",
        "@@ -1 +1 @@",
        "```",
        "\\ No",
        "\x0c",
        "\u2028ü",
    ]
)
LINES = st.lists(st.tuples(TEXTS, st.sampled_from(["\n", "\n", "\n", "\r\n"])).map("".join), max_size=25)
CONTENTS = st.tuples(st.sampled_from(["", "", "\ufeff"]), LINES, st.sampled_from(["", "", "end", "end\r"])).map(
    lambda parts: (parts[0] + "".join(parts[1]) + parts[2]).encode()
)  # fmt: skip
FILES = st.builds(File, content=CONTENTS, mode=st.sampled_from(["100644", "100644", "100755"]))
TREES = st.dictionaries(st.sampled_from(NAMES), FILES, max_size=4)


@st.composite
def two_trees(draw: st.DrawFn) -> tuple[Tree, Tree]:
    """The second comes from the first by small changes, so that there are hunks and renames."""
    before = draw(TREES)
    after: Tree = {}
    for path, file in before.items():
        match draw(st.sampled_from(["keep", "edit", "edit", "move", "delete", "mode"])):
            case "keep":
                after[path] = file
            case "edit":
                after[path] = File(content=edited(draw, file.content), mode=file.mode)
            case "move":
                after[draw(st.sampled_from(NAMES))] = File(content=edited(draw, file.content), mode=file.mode)
            case "mode":
                after[path] = File(content=file.content, mode="100755")
    return before, after | draw(st.dictionaries(st.sampled_from(NAMES), FILES, max_size=1))


def edited(draw: st.DrawFn, content: bytes) -> bytes:
    lines = content.split(b"\n")
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(lines)))
        lines[at : at + draw(st.integers(0, 2))] = [
            text.encode() for text in draw(st.lists(TEXTS, max_size=2))
        ]
    return b"\n".join(lines)


class Store:
    """A bare repository whose objects are written by hand: one process for each diff."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
        subprocess.run(["git", "init", "-q", "--bare", str(path)], env=self.environment, check=True)

    def diff(self, before: Tree, after: Tree) -> str:
        command = ["git", "diff-tree", "-r", "-p", "-M", self.tree(before), self.tree(after)]
        done = subprocess.run(command, cwd=self.path, env=self.environment, capture_output=True, check=True)
        return done.stdout.decode()

    def tree(self, files: Tree) -> str:
        entries: list[tuple[bytes, bytes]] = []
        below: dict[str, Tree] = {}
        for path, file in files.items():
            top, _, rest = path.partition("/")
            if rest:
                below.setdefault(top, {})[rest] = file
            else:
                entry = file.mode.encode() + b" " + path.encode() + b"\0" + self.write("blob", file.content)
                entries.append((path.encode(), entry))
        for name, inner in below.items():
            oid = bytes.fromhex(self.tree(inner))
            entries.append((name.encode() + b"/", b"40000 " + name.encode() + b"\0" + oid))
        return self.write("tree", b"".join(entry for _, entry in sorted(entries))).hex()

    def write(self, kind: str, content: bytes) -> bytes:
        whole = f"{kind} {len(content)}\0".encode() + content
        oid = hashlib.sha1(whole)
        place = self.path / "objects" / oid.hexdigest()[:2] / oid.hexdigest()[2:]
        place.parent.mkdir(exist_ok=True)
        if not place.exists():
            place.write_bytes(zlib.compress(whole, 1))
        return oid.digest()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("objects"))


def carried_out(tree: Tree, changes: tuple[Change, ...]) -> Tree:
    kept = {path: file for path, file in tree.items() if path not in {change.path for change in changes}}
    return kept | {change.path: change.after for change in changes if change.after is not None}


@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(two_trees(), st.booleans())
@example(({"a": File(content=b"x\n" * 9)}, {"a": File(content=b"x\n" * 4 + b"y\n" + b"x\n" * 5)}), False)
@example(({"b/b": File(content=b"one\ntwo\nthree\n")}, {"c b": File(content=b"one\ntwo\nthree\n")}), True)
def test_a_diff_of_git_is_applied_exactly(store: Store, trees: tuple[Tree, Tree], fenced: bool):
    before, after = trees
    text = store.diff(before, after)
    if not text:
        assert before == after
        return
    plan = parse(f"Here:\n\n```diff\n{text}```\n" if fenced else text)
    made = apply(plan, {path: before[path] for path in plan.paths if path in before})
    assert made.refused == ()
    assert carried_out(before, made.changes) == after
