"""THREATS.md section 1, row by row, on the plan and on the tree that results: the same outcome for the same reason."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from autopack.domain import policy
from autopack.domain.changes import Change, File
from autopack.domain.edits import EditPlan, FileEdit
from autopack.domain.edits.apply import apply
from autopack.domain.phases import FailureKind, Scope
from autopack.domain.policy import Action, Policy
from tests.domain.support_policy import (
    ANYWHERE,
    BASE,
    FILES,
    changes_of,
    deletes,
    essence,
    moves,
    on_plan,
    on_tree,
    writes,
)

INVISIBLE = "control, bidi or invisible character in the path"
REFUSED_PATHS = {
    "parent traversal": ("../x", "'..' component"),
    "nested traversal": ("src/../../x", "'..' component"),
    "traversal that stays inside": ("src/../b.py", "'..' component"),
    "absolute": ("/etc/passwd", "absolute or home path"),
    "absolute to own root": ("/home/me/project/src/b.py", "absolute or home path"),
    "home": ("~/.bashrc", "absolute or home path"),
    "home of another": ("~root/.bashrc", "absolute or home path"),
    "backslash traversal": ("..\\x", "backslash"),
    "backslash inside": ("src\\b.py", "backslash"),
    "drive": ("C:/x", "colon (drive letter or NTFS stream)"),
    "UNC": ("//host/share", "absolute or home path"),
    "NTFS stream": ("a.py:evil", "colon (drive letter or NTFS stream)"),
    "NUL byte": ("a\0.py", INVISIBLE),
    "newline in name": ("a\nb.py", INVISIBLE),
    "tab in name": ("a\tb.py", INVISIBLE),
    "empty path": ("", "empty path"),
    "dot": (".", "empty or '.' component"),
    "dot inside": ("src/./b.py", "empty or '.' component"),
    "double slash": ("src//b.py", "empty or '.' component"),
    "trailing slash": ("src/", "empty or '.' component"),
    "2000-char path": ("/".join(["abcd"] * 400), "path too long"),
    "300-byte component": ("a" * 300, "component too long"),
    "300 bytes in 100 characters": ("\u4e2d" * 100, "component too long"),
    "symlinked directory": ("linked/x.py", "symlink in the path"),
    "symlink that stays inside": ("inside.py/x.py", "symlink in the path"),
    "file used as a directory": ("README.md/x", "symlink in the path"),
    "symlink to a file outside": ("link.py", "target is a symlink"),
    "symlink to a file inside": ("inside.py", "target is a symlink"),
    "dangling symlink out": ("dangling", "target is a symlink"),
    "FIFO": ("pipe", "target is not a regular file"),
    "directory as a file": ("src", "target is not a regular file"),
    ".git hook": (".git/hooks/pre-commit", "protected directory .git"),
    ".git config": (".git/config", "protected directory .git"),
    ".git alone": (".git", "protected directory .git"),
    ".git below": ("src/.git/config", "protected directory .git"),
    ".GIT by case": (".GIT/config", "protected directory .GIT"),
    "8.3 name": ("git~1/config", "protected directory git~1"),
    "HFS ignorable": (".g\u200cit/config", INVISIBLE),
    "inside a submodule": ("vendor/lib/x.py", "inside a nested repository or submodule"),
    "hooks of a nested repository": ("vendor/lib/.git/hooks/post-checkout", "protected directory .git"),
    "hooks of a nested bare repository": ("bare/hooks/post-update", "inside a nested repository or submodule"),
    "a submodule itself": ("vendor/lib", "target is a submodule"),
    ".gitmodules": (".gitmodules", "protected file"),
    ".autopack state": (".autopack/demo/autopack.db", "protected directory .autopack"),
    "autopack.toml": ("autopack.toml", "protected file"),
    "AUTOPACK.TOML by case": ("Autopack.toml", "protected file"),
    ".env": (".env", "protected file"),
    ".env.local": (".env.local", "protected file"),
    ".env below": ("src/.ENV", "protected file"),
    ".env of nobody's example": (".env.example.local", "protected file"),
    "pip.conf": ("pip.conf", "protected file"),
    ".npmrc": (".npmrc", "protected file"),
    ".venv": (".venv/lib/x.pth", "protected directory .venv"),
    "__pycache__ poison": ("src/__pycache__/app.pyc", "protected directory __pycache__"),
    "reserved": ("CON", "Windows reserved name"),
    "reserved with suffix": ("src/nul.txt", "Windows reserved name"),
    "trailing space": ("a.py ", "leading/trailing space or trailing dot"),
    "leading space": ("src/ a.py", "leading/trailing space or trailing dot"),
    "trailing dot": ("a.py.", "leading/trailing space or trailing dot"),
    "trailing space on .git": (".git /config", "leading/trailing space or trailing dot"),
    "case clash": ("readme.md", "case or normalisation clash with README.md"),
    "case clash of a directory": ("SRC/new.py", "case or normalisation clash with src"),
    "not NFC": ("cafe\u0301.py", "path is not in Unicode normal form C"),
    "bidi override": ("a\u202egnp.py", INVISIBLE),
    "zero width": ("a\u200b.py", INVISIBLE),
    "line separator": ("a\u2028b.py", INVISIBLE),
    "lone surrogate": ("a\ud800.py", INVISIBLE),
    "frozen acceptance test": ("acceptance/test_it.py", "frozen file (acceptance test)"),
    "a new file among frozen ones": ("acceptance/test_new.py", "frozen file (acceptance test)"),
    "Cyrillic o in conftest.py": ("c\u043enftest.py", "look-alike of a protected name"),
    "fullwidth pyproject": ("\uff50yproject.toml", "look-alike of a protected name"),
    "fullwidth dots": ("\uff0e\uff0e/x", "look-alike of a protected name"),
    "a slash that is none": ("\u2024git\u2215config", "look-alike of a protected name"),
}  # fmt: skip

SECRET = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE\n"
REFUSED_CONTENTS = {
    "2 MiB": ("a" * 2 * 1024 * 1024, "file too large"),
    "2 MiB of wide characters": ("\u4e2d" * 700_000, "file too large"),
    "binary": ("a\0b\n", "binary content"),
    "a lone surrogate": ("a\ud800\n", "not UTF-8"),
    "Trojan Source": ("x = 1 # \u202e } \u2066\n", "bidirectional control character in the content (CVE-2021-42574)"),
    "a right-to-left mark": ("x = '\u200f'\n", "bidirectional control character in the content (CVE-2021-42574)"),
    "tag characters": ("hello\U000e0041\U000e0042\n", "invisible character in the content"),
    "zero-width space": ("if a\u200b:\n", "invisible character in the content"),
    "an invisible name": ("const {x,\u3164} = y\n", "invisible character in the content"),
    "a joiner inside a word": ("pass\u200dword\n", "invisible character in the content"),
    "bytes in variation selectors": ("a\ufe01\ufe0e\n", "invisible character in the content"),
    "private key": (SECRET, "looks like a secret"),
    "API key": ('KEY = "sk-' + "a1B2c3D4e5F6g7H8i9J0" + '"\n', "looks like a secret"),
    "cloud key": ("AKIA" + "ABCDEFGHIJKLMNOP\n", "looks like a secret"),
    "token of a forge": ("ghp_" + "a1" * 18 + "\n", "looks like a secret"),
    "API key of one case": ('KEY = "sk-' + "or-v1-" + "0f1e2d3c4b5a69788796" * 3 + '"\n', "looks like a secret"),
    "token of a chat": ("xoxb-" + "1234567890-abc\n", "looks like a secret"),
    "token of another forge": ("glpat-" + "a1B2c3D4e5F6g7H8i9J0\n", "looks like a secret"),
    "key of a bank": ("sk_live_" + "a1B2c3D4e5F6g7H8i9J0\n", "looks like a secret"),
    "a mark beside no other text": ("x = 'abc\u200e'\n", "bidirectional control character in the content (CVE-2021-42574)"),
    "a mark and an override": ("\u05d0\u200f\u202e\n", "bidirectional control character in the content (CVE-2021-42574)"),
    "a joiner at a word's end": ("pass\u200d\n", "invisible character in the content"),
    "a joiner before a word": ("\u0645\u200cpass\n", "invisible character in the content"),
    "a joiner beside nothing": (" \u200d \n", "invisible character in the content"),
    "conflict markers": ("<<<<<<< ours\na\n=======\nb\n>>>>>>> theirs\n", "conflict marker"),
    "what was hidden from the model": ("KEY = '[redacted:API_KEY]'\n", "redaction placeholder in the content"),
}  # fmt: skip

REFUSED_EDITS: dict[str, tuple[list[FileEdit], str]] = {
    "create a symlink": ([writes("new", "/etc/passwd", "120000")], "symlink mode"),
    "turn a file into a symlink": ([writes("README.md", "/etc/passwd", "120000")], "symlink mode"),
    "create a submodule": ([writes("new", "", "160000")], "submodule mode"),
    "setuid mode": ([writes("new.sh", "", "104755")], "file mode not allowed"),
    "world-writable mode": ([writes("README.md", "", "100666")], "file mode not allowed"),
    "delete a frozen test": ([deletes("acceptance/test_it.py")], "frozen file (acceptance test)"),
    "move a frozen test away": ([moves("acceptance/test_it.py", "tests/test_it.py")], "frozen file (acceptance test)"),
    "move out of the tree": ([moves("README.md", "../README.md")], "'..' component"),
    "move onto an existing file": ([moves("README.md", "src/app.py")], "move target exists"),
    "move into .git": ([moves("README.md", ".git/hooks/pre-commit")], "protected directory .git"),
    "rename by case only": ([moves("README.md", "readme.md")], "rename whose ends differ only by case"),
    "delete a symlink": ([deletes("link.py")], "target is a symlink"),
    "delete a submodule": ([deletes("vendor/lib")], "target is a submodule"),
    "two edits differing by case": ([writes("new.py"), writes("NEW.py")], "two edits differ only by case"),
    "two directories differing by case": ([writes("new/a.py"), writes("NEW/b.py")], "two edits differ only by case"),
    "two edits that fold alike": ([writes("stra\u00dfe.py"), writes("STRASSE.py")], "two edits differ only by case"),
    "60 files": ([writes(f"src/f{n}.py", "") for n in range(60)], "too many files"),
    "a repository made at once": (
        [writes("r/HEAD"), writes("r/config"), writes("r/hooks/post-update")], "inside a nested repository or submodule",
    ),
}  # fmt: skip

EDITOR, AGENTS = "configures an editor", "instructs agents"
TESTS, BUILD = "decides how tests run", "decides how the project is built or tested"
ASKED_PATHS = {
    ".gitattributes": "git attributes (filter drivers)", ".github/workflows/ci.yml": "CI configuration",
    ".gitlab/ci.yml": "CI configuration", ".gitlab-ci.yml": "CI configuration", "Jenkinsfile": "CI configuration",
    ".pre-commit-config.yaml": "CI configuration", ".husky/pre-commit": "CI configuration",
    ".gitlab-ci.yaml": "CI configuration", ".gitea/workflows/x.yml": "CI configuration", ".forgejo/x.yml": "CI configuration",
    ".woodpecker.yml": "CI configuration", ".woodpecker/x.yml": "CI configuration", "lefthook.yml": "CI configuration",
    "azure-pipelines.yaml": "CI configuration", "cloudbuild.yaml": "CI configuration", "Jenkinsfile.prod": "CI configuration",
    ".gitignore": "git ignore rules", "src/.gitignore": "git ignore rules", ".lfsconfig": "git attributes (filter drivers)",
    "tests/conftest.py": TESTS, "conftest.py": TESTS, "sitecustomize.py": TESTS, "src/usercustomize.py": TESTS,
    "lib/evil.pth": TESTS, "pyproject.toml": TESTS, "PYPROJECT.TOML": TESTS, "pytest.ini": TESTS, "tox.ini": TESTS,
    "setup.cfg": TESTS, "pytest.py": TESTS, "package.json": TESTS, "jest.config.js": TESTS,
    "setup.py": BUILD, "Makefile": BUILD, "requirements.txt": BUILD, "requirements-dev.txt": BUILD, "Dockerfile": BUILD,
    **dict.fromkeys((
        ".envrc", ".yarnrc.yml", ".pnpmfile.cjs", "compose.yml", "docker-compose.yaml", "docker-compose.dev.yml", "Containerfile",
        "Taskfile.yml", "Rakefile", "pom.xml", "build.gradle", "build.gradle.kts", "build.rs", "Cargo.toml", "go.mod",
        ".cargo/config.toml", ".mvn/jvm.config", "mise.toml", ".tool-versions", "flake.nix", "webpack.config.js",
        "ruff.toml", ".flake8", "mypy.ini", ".pylintrc", ".eslintrc.json", "eslint.config.js", "tsconfig.json", "tsconfig.app.json",
        "vite.config.ts", "biome.json", ".golangci.yml",
    ), BUILD),
    "nose2.cfg": TESTS, "unittest.cfg": TESTS, "cypress.config.ts": TESTS,
    **dict.fromkeys((".mcp.json", ".codex/config.toml", ".gemini/settings.json", ".windsurf/x.md", ".clinerules", ".clinerules/x"), AGENTS),
    **dict.fromkeys((".zed/tasks.json", "x.code-workspace", ".vs/x.json"), EDITOR),
    "AGENTS.md": AGENTS, "CLAUDE.md": AGENTS, ".cursor/mcp.json": AGENTS, ".vscode/settings.json": EDITOR,
    "uv.lock": "lock file", "package-lock.json": "lock file", "poetry.lock": "lock file", "yarn.lock": "lock file",
    "pnpm-lock.yaml": "lock file", "Cargo.lock": "lock file",
    "src/\u0430pp.py": "look-alike of an existing name",
}  # fmt: skip
ASKED_EDITS = {
    "delete a file": ([deletes("src/app.py")], "delete a file"),
    "a new executable file": ([writes("run.sh", mode="100755")], "executable bit"),
    "new mode 100755": ([writes("src/app.py", mode="100755")], "executable bit"),
    "a mark beside Hebrew": (
        [writes("he.json", '"a": "\u05d0\u05d1 x\u200f!"\n')],
        "text direction mark or joiner in the content",
    ),
    "a mark beside Arabic": (
        [writes("ar.json", '"a": "\u0645\u0631\u200e"\n')],
        "text direction mark or joiner in the content",
    ),
    "a joiner at the end of Persian": (
        [writes("fa.json", '"a": "\u0645\u06cc\u200c"\n')],
        "text direction mark or joiner in the content",
    ),
    "a joiner of Hindi before a blank": (
        [writes("hi.txt", "\u0915\u094d\u200d \u0937\n")],
        "text direction mark or joiner in the content",
    ),
    "the bit taken away": ([writes("bin/tool", "#!/bin/sh\n:\n", mode="100644")], "executable bit"),
}

ALLOWED = [
    "%2e%2e/x.py", "src/new.py", "src/app.py", "src/\u00fcbung.py", "docs/a name with spaces.md", "bin/tool", "a..b.py",
    "..a", ".env.example", ".env.sample", "src/.ENV.template", ".env.dist", ".github", "git/config", "environment.py", "console.py", "src/\u65e5\u672c.py", "docs/HEAD",
]  # fmt: skip


@pytest.mark.parametrize("judged", [on_plan, on_tree])
@pytest.mark.parametrize(("path", "reason"), REFUSED_PATHS.values(), ids=REFUSED_PATHS)
def test_a_path_from_the_table_is_refused_with_its_reason(judged, path: str, reason: str):
    (violation,) = judged([writes(path)])
    assert violation.action is Action.REFUSE
    assert violation.rule == reason
    assert reason in violation.reason
    violation.reason.encode()  # a person and the next prompt read it
    assert "\0" not in violation.reason


@pytest.mark.parametrize("judged", [on_plan, on_tree])
@pytest.mark.parametrize(("content", "reason"), REFUSED_CONTENTS.values(), ids=REFUSED_CONTENTS)
def test_a_content_from_the_table_is_refused_with_its_reason(judged, content: str, reason: str):
    (violation,) = judged([writes("src/new.py", content)])
    assert violation.action is Action.REFUSE
    assert violation.rule == reason
    assert content[:40] not in violation.reason or len(content) < 10, "a secret is not repeated"


@pytest.mark.parametrize("judged", [on_plan, on_tree])
@pytest.mark.parametrize(("edits", "reason"), REFUSED_EDITS.values(), ids=REFUSED_EDITS)
def test_an_edit_from_the_table_is_refused_with_its_reason(judged, edits: Sequence[FileEdit], reason: str):
    refused = {each for each in essence(judged(edits)) if each[1] is Action.REFUSE}
    assert refused == {(reason, Action.REFUSE)}


@pytest.mark.parametrize("judged", [on_plan, on_tree])
@pytest.mark.parametrize(("path", "rule"), ASKED_PATHS.items(), ids=ASKED_PATHS)
def test_what_configures_tools_builds_or_tests_asks_a_person(judged, path: str, rule: str):
    assert essence(judged([writes(path)])) == {(rule, Action.ASK)}


@pytest.mark.parametrize("judged", [on_plan, on_tree])
@pytest.mark.parametrize(("edits", "rule"), ASKED_EDITS.values(), ids=ASKED_EDITS)
def test_an_edit_that_a_person_decides(judged, edits: Sequence[FileEdit], rule: str):
    assert essence(judged(edits)) == {(rule, Action.ASK)}


@pytest.mark.parametrize("judged", [on_plan, on_tree])
@pytest.mark.parametrize("path", ALLOWED)
def test_an_ordinary_path_is_allowed(judged, path: str):
    assert judged([writes(path)]) == []


@pytest.mark.parametrize("judged", [on_plan, on_tree])
@pytest.mark.parametrize(
    "content",
    [
        "", "no newline at the end", "a\r\nb\r\n", "\ufeffx = 1\n", "=======\n", "a <<<<<<< b\n", "sk-short\n", "\u00fcber\n",
        "sk-" + "x" * 24, "KEY=sk-" + "your-api-key-goes-here-1234\n", "<i class='sk-" + "folding-cube-loader-big'>\n",
        "AKIA" + "IOSFODNN7EXAMPLE\n", "AKIA" + "X" * 16, "ghp_" + "x" * 36, "a heading\n=======\n", "<<<<<<< ours\n", ">>>>>>> theirs\n",
        "  <<<<<<< ours\n  =======\n  >>>>>>> theirs\n", ">>>>>>> a\n=======\n<<<<<<< b\n", "<<<<<<< a\n>>>>>>> b\n",
        "\U0001f469\u200d\U0001f4bb \u2764\ufe0f\n", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645\n",
    ],
)  # fmt: skip
def test_an_ordinary_content_is_allowed(judged, content: str):
    assert judged([writes("src/new.py", content)]) == []


@pytest.mark.parametrize("judged", [on_plan, on_tree])
def test_a_move_inside_the_tree_is_no_deletion(judged):
    assert judged([moves("src/app.py", "src/main.py")]) == []


def test_a_file_that_exists_under_a_name_of_another_normal_form_is_a_clash():
    plan = EditPlan(files=(FileEdit(path="caf\u00e9.py", content=""),))
    (found,) = policy.check_plan(plan, ANYWHERE, Policy(), {"cafe\u0301.py": "100644"})
    assert found.rule.startswith("case or normalisation clash with")


def test_a_name_that_only_looks_like_an_existing_one_asks_from_either_side():
    base = {"src/\u0430pp.py": "100644"}
    plan = EditPlan(files=(FileEdit(path="src/app.py", content=""),))
    (found,) = policy.check_plan(plan, ANYWHERE, Policy(), base)
    assert (found.rule, found.action) == ("look-alike of an existing name", Action.ASK)


def test_a_file_named_twice_is_refused():
    assert ("file named twice", Action.REFUSE) in essence(on_plan([writes("a.py"), writes("a.py")]))


# What the model was shown

SEEN = {"src/app.py": "1111", "README.md": "2222"}


@pytest.mark.parametrize(
    ("edit", "oids", "rule"),
    [
        (writes("src/app.py"), {**SEEN, "src/app.py": "9999"}, "file changed since the model saw it"),
        (deletes("src/app.py"), {**SEEN, "src/app.py": "9999"}, "file changed since the model saw it"),
        (moves("src/app.py", "src/b.py"), {**SEEN, "src/app.py": "9999"}, "file changed since the model saw it"),
        (writes("src/long.py"), SEEN, "file exists and no base hash was given"),
        (writes("src/app.py"), SEEN, None),
        (writes("src/new.py"), SEEN, None),
    ],
    ids=["stale write", "stale deletion", "stale move", "overwrite unseen", "plain change with the right base", "plain new file"],
)  # fmt: skip
def test_a_whole_file_is_only_written_over_what_the_model_saw(edit, oids, rule):
    found = policy.check_plan(EditPlan(files=(edit,)), ANYWHERE, Policy(), BASE, SEEN, oids)
    refused = [violation.rule for violation in found if violation.action is Action.REFUSE]
    assert refused == ([] if rule is None else [rule])


def test_stale_work_is_a_moved_base_and_no_breach():
    plan = EditPlan(files=(writes("src/app.py"),))
    found = policy.check_plan(plan, ANYWHERE, Policy(), BASE, SEEN, {"src/app.py": "9999"})
    assert policy.refusal_kind(found) is FailureKind.BASE_MOVED


# The phase's scope

SCOPE = Scope(
    paths=("src/", "exact.py", "uv.lock"), deliverables=("docs/made.md",), read_only_context=("README.md", "src/kept/", "src/app.py")
)  # fmt: skip


@pytest.mark.parametrize("judged", [on_plan, on_tree])
@pytest.mark.parametrize("path", ["src/a.py", "src/deep/b.py", "exact.py", "docs/made.md"])
def test_what_the_scope_names_may_be_written(judged, path: str):
    assert judged([writes(path)], SCOPE) == []


@pytest.mark.parametrize("judged", [on_plan, on_tree])
@pytest.mark.parametrize(
    "path", ["README.md", "srcx/a.py", "exact.pyc", "docs/other.md", "other/a.py", "exact.py2", "a.py"]
)
def test_what_the_scope_does_not_name_is_refused(judged, path: str):
    found = judged([writes(path)], SCOPE)
    assert essence(found) == {(policy.OUTSIDE, Action.REFUSE)}
    assert policy.refusal_kind(found) is FailureKind.OUT_OF_SCOPE


@pytest.mark.parametrize("judged", [on_plan, on_tree])
@pytest.mark.parametrize("path", ["src/app.py", "src/kept/a.py"])
def test_read_only_context_inside_the_scope_is_not_written(judged, path: str):
    assert essence(judged([writes(path)], SCOPE)) == {("read-only context", Action.REFUSE)}


def test_what_is_named_exactly_may_be_written_though_its_directory_is_context():
    scope = Scope(paths=("src/app.py",), read_only_context=("src/",))
    assert on_tree([writes("src/app.py")], scope) == []


@pytest.mark.parametrize("judged", [on_plan, on_tree])
def test_a_directory_of_the_base_is_named_with_all_below_it_though_it_has_no_slash(judged):
    assert "src/app.py" in BASE
    scope = Scope(paths=("src", "new"), read_only_context=("bare",))
    assert judged([writes("src/deep/b.py"), writes("new")], scope) == []
    for outside in ("srcx", "new/a.py"):
        assert essence(judged([writes(outside)], scope)) == {(policy.OUTSIDE, Action.REFUSE)}
    context = Scope(paths=("src/app.py",), read_only_context=("src",))
    assert judged([writes("src/app.py")], context) == []
    anywhere = Scope(read_only_context=("src",))
    assert essence(judged([writes("src/a.py")], anywhere)) == {("read-only context", Action.REFUSE)}


@pytest.mark.parametrize("judged", [on_plan, on_tree])
def test_a_lock_file_is_not_asked_about_where_the_scope_names_it(judged):
    assert judged([writes("uv.lock")], SCOPE) == []
    assert essence(judged([writes("src/uv.lock")], SCOPE)) == {("lock file", Action.ASK)}


@pytest.mark.parametrize("judged", [on_plan, on_tree])
def test_a_scope_cannot_allow_what_is_protected(judged):
    greedy = Scope(paths=(".git/", ".venv/", ".autopack/", "acceptance/"), deliverables=(".env", "../x"))
    for path in (".git/config", ".venv/x", ".autopack/x", ".env", "../x", "acceptance/test_it.py"):
        assert [violation.action for violation in judged([writes(path)], greedy)] == [Action.REFUSE]


@pytest.mark.parametrize("judged", [on_plan, on_tree])
def test_both_ends_of_a_move_are_in_scope(judged):
    scope = Scope(paths=("src/",))
    for edit in (moves("README.md", "src/README.md"), moves("src/app.py", "app.py")):
        assert (policy.OUTSIDE, Action.REFUSE) in essence(judged([edit], scope))


def test_missing_deliverables_are_exact_paths():
    scope = Scope(deliverables=("src/a.py", "src/b.py"))
    assert policy.missing_deliverables(scope, {"src/a.py": 1, "src/b.pyc": 1}) == ["src/b.py"]


# Properties


@given(st.text(max_size=60))
def test_a_path_that_is_called_safe_stays_inside_the_tree(path: str):
    if policy.unsafe_path(path) is None:
        parts = path.split("/")
        assert ".." not in parts
        assert "." not in parts
        assert "" not in parts
        assert path.encode()[:1] not in (b"/", b"~")
        assert not set(path) & {"\0", "\n", "\\", ":"}


PATHS = st.one_of(
    st.sampled_from([*BASE, *ALLOWED, *(path for path, _ in REFUSED_PATHS.values()), *ASKED_PATHS]),
    st.text(max_size=20),
)
SHORT = [content for content, _ in REFUSED_CONTENTS.values() if len(content) < 1000]
CONTENTS = st.one_of(st.sampled_from(SHORT), st.text(max_size=60))
EDITS = st.one_of(
    st.builds(writes, PATHS, CONTENTS, st.sampled_from([None, "100644", "100755", "120000"])),
    st.builds(deletes, st.sampled_from(sorted(BASE))),
    st.builds(moves, st.sampled_from(sorted(BASE)), PATHS),
)


@hypothesis_settings(deadline=None, max_examples=150)
@given(st.lists(EDITS, max_size=3), st.sampled_from([ANYWHERE, SCOPE]))
def test_judging_never_raises_and_what_the_plan_may_not_the_tree_may_not(edits: list[FileEdit], scope: Scope):
    paths = [path for edit in edits for path in (edit.path, edit.moved_to) if path is not None]
    if len(paths) != len(set(paths)):
        return
    plan, tree = on_plan(edits, scope), on_tree(edits, scope)
    refused = {each.path for each in plan if each.action is Action.REFUSE}
    assert refused <= {each.path for each in tree if each.action is Action.REFUSE}


def test_the_changes_that_a_plan_really_makes_are_judged_as_the_plan_is():
    """The hand-made changes of these tests are those that `edits.apply` makes, where it makes any."""
    edits = [
        writes("src/app.py", "z = 3\n"),
        deletes("README.md"),
        writes("docs/new.md"),
        moves("bin/tool", "bin/other"),
    ]
    applied = apply(EditPlan(files=tuple(edits)), FILES)
    assert applied.refused == ()
    by_hand = {change.path: change for edit in edits for change in changes_of(edit)}
    assert {change.path: change for change in applied.changes} == by_hand
    assert essence(policy.check_changes(applied.changes, ANYWHERE, Policy(), BASE, "docs")) == {
        ("delete a file", Action.ASK)
    }


def test_a_change_of_nothing_breaks_nothing():
    same = File(content=b"x\n")
    change = Change(path="a.py", before=same, after=same)
    assert policy.check_changes([change], ANYWHERE, Policy(), {"a.py": "100644"}, "docs") == []
