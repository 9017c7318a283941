"""Which edits may be made. Pure: judges paths and contents before any git object is written.

The answer of a model is data from outside. A refusal fails the attempt; an "ask" lets the work go on to
the gate, where a person decides.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from autopack.domain.edits import EditPlan, FileEdit
from autopack.domain.phases import Scope

OUTSIDE = "outside the phase's scope"
MAX_FILES = 50
MAX_FILE_BYTES = 1024 * 1024
MAX_PATH_CHARS = 1024
MAX_COMPONENT_BYTES = 255

PROTECTED_DIRECTORIES = frozenset({".git", "git~1", ".autopack", ".venv", "__pycache__", "node_modules"})
PROTECTED_FILES = frozenset({".gitmodules", ".env", "autopack.toml", "pip.conf", ".npmrc"})
ASK_FILES = frozenset({
    ".gitattributes", "conftest.py", "sitecustomize.py", "usercustomize.py", "pyproject.toml", "setup.py",
    "setup.cfg", "pytest.ini", "tox.ini", "makefile", "requirements.txt", "agents.md", "claude.md", "dockerfile",
    "package-lock.json", "pnpm-lock.yaml", "go.sum",
})  # fmt: skip
ASK_DIRECTORIES = frozenset({".github", ".gitlab", ".circleci", ".vscode", ".cursor", ".ci"})
_RESERVED = re.compile(r"^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?$", re.I)
_SECRET = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----|\bsk-[A-Za-z0-9_-]{20,}|\bAKIA[0-9A-Z]{16}\b")
_CONFLICT = re.compile(r"^(<{7} |>{7} )", re.M)
_NOT_REGULAR = {"120000": "target is a symlink", "160000": "target is a submodule"}
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class Action(StrEnum):
    REFUSE = "refuse"
    ASK = "ask"


@dataclass(frozen=True, kw_only=True)
class Violation:
    """A rule that an edit breaks; `reason` is in words for a person and for the model's next ask."""

    rule: str
    path: str
    reason: str
    action: Action = Action.REFUSE


def check(plan: EditPlan, scope: Scope, modes: Mapping[str, str]) -> list[Violation]:
    """Every rule that the plan breaks. `modes` are the git file modes of the base tree, by path."""
    found: list[Violation] = []
    if len(plan.files) > MAX_FILES:
        found.append(
            Violation(rule="too many files", path="", reason=f"{len(plan.files)} files; at most {MAX_FILES}")
        )
    base, written = _base(modes), dict[str, str]()
    for edit in plan.files:
        found.extend(_check_file(edit, scope, base, written))
        written.update((_fold(name), name) for name in _prefixes(edit.path))
    return found


def missing_deliverables(scope: Scope, paths_afterwards: Mapping[str, object]) -> list[str]:
    """The deliverables (exact paths) that would not exist in a tree that holds `paths_afterwards`."""
    return [path for path in scope.deliverables if path not in paths_afterwards]


def unsafe_path(path: str) -> str | None:
    """Why a path may never be written, wherever it lies; None when it may."""
    for problem in (_unsafe_text(path), _unsafe_shape(path)):
        if problem:
            return problem
    for part in path.split("/"):
        if problem := _unsafe_component(part):
            return problem
    return None


@dataclass(frozen=True, kw_only=True)
class _Base:
    """The tree that is edited: files by mode, their directories, and both by folded name."""

    modes: Mapping[str, str]
    directories: frozenset[str]
    folded: Mapping[str, str]

    def holds(self, name: str) -> bool:
        return name in self.modes or name in self.directories


def _base(modes: Mapping[str, str]) -> _Base:
    directories = frozenset(name for path in modes for name in _prefixes(path)[:-1])
    folded = {_fold(name): name for name in (*directories, *modes)}
    return _Base(modes=modes, directories=directories, folded=folded)


def _prefixes(path: str) -> list[str]:
    """`a/b/c` is reached through `a` and `a/b`, and is the last of them."""
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]


def _fold(name: str) -> str:
    """Equal for names that a file system without case, or with a Unicode normal form of its own, takes for one."""
    return unicodedata.normalize("NFC", name).casefold()


def _check_file(edit: FileEdit, scope: Scope, base: _Base, written: Mapping[str, str]) -> list[Violation]:
    path = edit.path
    if problem := unsafe_path(path):
        return [Violation(rule=problem, path=path, reason=f"{path!r}: {problem}")]
    problem = _protected(path) or _collision(path, base, written) or _content_problem(edit.content)
    if problem:
        return [Violation(rule=problem, path=path, reason=f"{path}: {problem}")]
    if not _in_scope(path, scope):
        allowed = ", ".join([*scope.paths, *scope.deliverables])
        return [
            Violation(
                rule=OUTSIDE,
                path=path,
                reason=f"{path} is outside the phase's scope ({allowed})",
            )
        ]
    if rule := _asks(path):
        return [Violation(rule=rule, path=path, reason=f"{path}: {rule}", action=Action.ASK)]
    return []


def _in_scope(path: str, scope: Scope) -> bool:
    if not scope.paths and not scope.deliverables:
        return True
    exact = path in scope.deliverables or path in scope.paths
    return exact or any(path.startswith(prefix) for prefix in scope.paths if prefix.endswith("/"))


def _unsafe_text(path: str) -> str | None:
    if not path:
        return "empty path"
    if len(path) > MAX_PATH_CHARS:
        return "path too long"
    if any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in path):
        return "control, bidi or invisible character in the path"
    if path != unicodedata.normalize("NFC", path):
        return "path is not in Unicode normal form C"
    return None


def _unsafe_shape(path: str) -> str | None:
    if path.startswith(("/", "~")):
        return "absolute or home path"
    if "\\" in path:
        return "backslash"
    if ":" in path:
        return "colon (drive letter or NTFS stream)"
    return None


def _unsafe_component(part: str) -> str | None:
    if part == "..":
        return "'..' component"
    if part in ("", "."):
        return "empty or '.' component"
    if len(part.encode(errors="replace")) > MAX_COMPONENT_BYTES:
        return "component too long"
    if part != part.strip() or part.endswith("."):
        return "leading/trailing space or trailing dot"
    if _RESERVED.match(part):
        return "Windows reserved name"
    return None


def is_protected(path: str) -> bool:
    """Whether the path is never written by a builder, nor shown to one."""
    return _protected(path) is not None


def _protected(path: str) -> str | None:
    parts = path.casefold().split("/")
    for part in parts[:-1]:
        if part in PROTECTED_DIRECTORIES:
            return f"protected directory {part}"
    name = parts[-1]
    if name in PROTECTED_DIRECTORIES:
        return f"protected directory {name}"
    if name in PROTECTED_FILES or name.startswith(".env."):
        return "protected file"
    return None


def _collision(path: str, base: _Base, written: Mapping[str, str]) -> str | None:
    modes, names = base.modes, _prefixes(path)
    for parent in names[:-1]:
        mode = modes.get(parent)
        if mode == "160000":
            return "inside a nested repository or submodule"
        if mode is not None:
            return "symlink in the path" if mode == "120000" else "a file is used as a directory"
    if path in base.directories:
        return "target is not a regular file"
    if modes.get(path) in _NOT_REGULAR:
        return _NOT_REGULAR[modes[path]]
    return _clash(names, base, written)


def _clash(names: Sequence[str], base: _Base, written: Mapping[str, str]) -> str | None:
    for name in names:
        if base.holds(name):
            continue
        if twin := base.folded.get(_fold(name)):
            return f"case or normalisation clash with {twin}"
        if written.get(_fold(name), name) != name:
            return "two edits differ only by case"
    return None


def _content_problem(content: str) -> str | None:
    if len(content.encode()) > MAX_FILE_BYTES:
        return "file too large"
    if "\0" in content:
        return "binary content"
    if _BIDI.intersection(content):
        return "bidirectional control character in the content (CVE-2021-42574)"
    if any("\U000e0000" <= char <= "\U000e007f" for char in content):
        return "invisible character in the content"
    if _SECRET.search(content):
        return "looks like a secret"
    if _CONFLICT.search(content):
        return "conflict marker"
    return None


def _asks(path: str) -> str | None:
    parts = path.casefold().split("/")
    if any(part in ASK_DIRECTORIES for part in parts[:-1]):
        return "configures tools or CI: a person decides"
    if parts[-1] in ASK_FILES or parts[-1].endswith((".pth", ".lock")):
        return "decides how the project is built or tested: a person decides"
    return None
