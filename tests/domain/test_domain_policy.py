"""THREATS.md section 1, row by row: what is refused with which reason, what asks a person, what is allowed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopack.domain import policy
from autopack.domain.edits import EditPlan, FileEdit
from autopack.domain.phases import Scope
from autopack.domain.policy import Action, Violation

ANYWHERE = Scope()
BASE = {
    "README.md": "100644",
    "src/app.py": "100644",
    "src/caf\u00e9.py": "100644",
    "link.py": "120000",
    "linked": "120000",
    "dangling": "120000",
    "vendor/lib": "160000",
    "bin/tool": "100755",
}

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
    "symlink to a file outside": ("link.py", "target is a symlink"),
    "dangling symlink": ("dangling", "target is a symlink"),
    "directory as a file": ("src", "target is not a regular file"),
    "file used as a directory": ("README.md/x", "a file is used as a directory"),
    ".git hook": (".git/hooks/pre-commit", "protected directory .git"),
    ".git config": (".git/config", "protected directory .git"),
    ".git alone": (".git", "protected directory .git"),
    ".git below": ("src/.git/config", "protected directory .git"),
    ".GIT by case": (".GIT/config", "protected directory .git"),
    "8.3 name": ("git~1/config", "protected directory git~1"),
    "HFS ignorable": (".g\u200cit/config", INVISIBLE),
    "inside a submodule": ("vendor/lib/x.py", "inside a nested repository or submodule"),
    "a submodule itself": ("vendor/lib", "target is a submodule"),
    ".gitmodules": (".gitmodules", "protected file"),
    ".autopack state": (".autopack/demo/autopack.db", "protected directory .autopack"),
    "autopack.toml": ("autopack.toml", "protected file"),
    ".env": (".env", "protected file"),
    ".env.local": (".env.local", "protected file"),
    ".env below": ("src/.ENV", "protected file"),
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
}  # fmt: skip

SECRET = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE\n"
REFUSED_CONTENTS = {
    "2 MiB": ("a" * 2 * 1024 * 1024, "file too large"),
    "2 MiB of wide characters": ("\u4e2d" * 700_000, "file too large"),
    "binary": ("a\0b\n", "binary content"),
    "Trojan Source": (
        "x = 1 # \u202e } \u2066\n",
        "bidirectional control character in the content (CVE-2021-42574)",
    ),
    "tag characters": ("hello\U000e0041\U000e0042\n", "invisible character in the content"),
    "private key": (SECRET, "looks like a secret"),
    "API key": ('KEY = "sk-' + "a1B2c3D4e5F6g7H8i9J0" + '"\n', "looks like a secret"),
    "cloud key": ("AKIA" + "ABCDEFGHIJKLMNOP\n", "looks like a secret"),
    "conflict markers": ("<<<<<<< ours\na\n=======\nb\n>>>>>>> theirs\n", "conflict marker"),
}

ASKED = [
    ".gitattributes", ".github/workflows/ci.yml", ".gitlab/ci.yml", "tests/conftest.py", "conftest.py",
    "sitecustomize.py", "lib/evil.pth", "pyproject.toml", "PYPROJECT.TOML", "setup.py", "Makefile",
    "requirements.txt", "AGENTS.md", "CLAUDE.md", ".vscode/settings.json", ".cursor/mcp.json", "Dockerfile",
    "uv.lock", "package-lock.json", "poetry.lock", "yarn.lock", "pnpm-lock.yaml",
]  # fmt: skip

ALLOWED = [
    "%2e%2e/x.py", "src/new.py", "src/app.py", "src/\u00fcbung.py", "docs/a name with spaces.md", "bin/tool", "a..b.py",
    "..a", ".gitignore", ".github", "git/config", "environment.py", "console.py", "src/\u65e5\u672c.py",
]  # fmt: skip


def judged(path: str, content: str = "x = 1\n", scope: Scope = ANYWHERE) -> list[Violation]:
    return policy.check(EditPlan(files=(FileEdit(path=path, content=content),)), scope, BASE)


@pytest.mark.parametrize(("path", "reason"), REFUSED_PATHS.values(), ids=REFUSED_PATHS)
def test_a_path_from_the_table_is_refused_with_its_reason(path: str, reason: str):
    (violation,) = judged(path)
    assert violation.action is Action.REFUSE
    assert violation.rule == reason
    assert reason in violation.reason
    violation.reason.encode()  # a person and the next prompt read it
    assert "\0" not in violation.reason


@pytest.mark.parametrize(("content", "reason"), REFUSED_CONTENTS.values(), ids=REFUSED_CONTENTS)
def test_a_content_from_the_table_is_refused_with_its_reason(content: str, reason: str):
    (violation,) = judged("src/new.py", content)
    assert violation.action is Action.REFUSE
    assert violation.rule == reason
    assert content[:40] not in violation.reason or len(content) < 10, "a secret is not repeated"


@pytest.mark.parametrize("path", ASKED)
def test_what_configures_tools_builds_or_tests_asks_a_person(path: str):
    assert [violation.action for violation in judged(path)] == [Action.ASK]


@pytest.mark.parametrize("path", ALLOWED)
def test_an_ordinary_path_is_allowed(path: str):
    assert judged(path) == []


@pytest.mark.parametrize(
    "content",
    ["", "no newline at the end", "a\r\nb\r\n", "\ufeffx = 1\n", "=======\n", "a <<<<<<< b\n", "sk-short\n", "\u00fcber\n"],
)  # fmt: skip
def test_an_ordinary_content_is_allowed(content: str):
    assert judged("src/new.py", content) == []


def test_sixty_files_are_too_many():
    plan = EditPlan(files=tuple(FileEdit(path=f"src/f{n}.py", content="") for n in range(60)))
    assert [(found.rule, found.action) for found in policy.check(plan, ANYWHERE, BASE)] == [
        ("too many files", Action.REFUSE)
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("new.py", "NEW.py"),
        ("new/a.py", "NEW/b.py"),
        ("stra\u00dfe.py", "STRASSE.py"),
    ],
)
def test_two_edits_that_differ_only_by_case_are_refused(first: str, second: str):
    plan = EditPlan(files=(FileEdit(path=first, content=""), FileEdit(path=second, content="")))
    found = policy.check(plan, ANYWHERE, BASE)
    assert [violation.action for violation in found] == [Action.REFUSE]
    assert "differ only by case" in found[0].rule


def test_a_file_that_exists_under_a_name_of_another_normal_form_is_a_clash():
    plan = EditPlan(files=(FileEdit(path="caf\u00e9.py", content=""),))
    (found,) = policy.check(plan, ANYWHERE, {"cafe\u0301.py": "100644"})
    assert found.rule.startswith("case or normalisation clash with")


SCOPE = Scope(
    paths=("src/", "exact.py"), deliverables=("docs/made.md",), read_only_context=("README.md", "other/")
)


@pytest.mark.parametrize("path", ["src/a.py", "src/deep/b.py", "exact.py", "docs/made.md"])
def test_what_the_scope_names_may_be_written(path: str):
    assert judged(path, scope=SCOPE) == []


@pytest.mark.parametrize(
    "path", ["README.md", "srcx/a.py", "exact.pyc", "docs/other.md", "other/a.py", "exact.py2", "a.py"]
)
def test_what_the_scope_does_not_name_is_refused(path: str):
    (violation,) = judged(path, scope=SCOPE)
    assert (violation.rule, violation.action) == (policy.OUTSIDE, Action.REFUSE)


def test_a_scope_cannot_allow_what_is_protected():
    greedy = Scope(paths=(".git/", ".venv/", ".autopack/"), deliverables=(".env", "../x"))
    for path in (".git/config", ".venv/x", ".autopack/x", ".env", "../x"):
        assert [violation.action for violation in judged(path, scope=greedy)] == [Action.REFUSE]


def test_missing_deliverables_are_exact_paths():
    scope = Scope(deliverables=("src/a.py", "src/b.py"))
    assert policy.missing_deliverables(scope, {"src/a.py": 1, "src/b.pyc": 1}) == ["src/b.py"]


@given(st.text(max_size=60))
def test_a_path_that_is_called_safe_stays_inside_the_tree(path: str):
    if policy.unsafe_path(path) is None:
        parts = path.split("/")
        assert ".." not in parts
        assert "." not in parts
        assert "" not in parts
        assert path.encode()[:1] not in (b"/", b"~")
        assert not set(path) & {"\0", "\n", "\\", ":"}


@given(st.text(max_size=40), st.text(max_size=200))
def test_judging_never_raises(path: str, content: str):
    content = content.encode(errors="replace").decode()
    for violation in judged(path, content, SCOPE):
        assert violation.rule
