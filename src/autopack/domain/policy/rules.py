"""The table of rules: each with its one name, and what happens where nothing else is said. Pure."""

from dataclasses import dataclass
from enum import StrEnum

RULES_VERSION = 2
"""Part of a policy's hash: raised when the same edit under the same settings may be judged in another way."""


class Action(StrEnum):
    REFUSE = "refuse"
    ASK = "ask"
    ALLOW = "allow"
    """Would be asked, and the policy itself says yes: recorded as `auto`, never under a person's name."""


@dataclass(frozen=True, kw_only=True)
class Violation:
    """A rule that an edit breaks; `reason` is in words for a person and for the model's next ask."""

    rule: str
    path: str
    reason: str
    action: Action = Action.REFUSE


@dataclass(frozen=True, kw_only=True)
class Rule:
    """`soft`: where the policy says `violations = "ask"`, a refusal is put to a person. Safety is never soft."""

    name: str
    action: Action = Action.REFUSE
    soft: bool = False
    auto: bool = False
    """Whether `auto_approve` may name it."""


def _safety(name: str) -> Rule:
    return Rule(name=name)


def _limit(name: str) -> Rule:
    return Rule(name=name, soft=True)


def _asked(name: str) -> Rule:
    return Rule(name=name, action=Action.ASK, auto=True)


EMPTY_PATH = _safety("empty path")
LONG_PATH = _safety("path too long")
INVISIBLE_IN_PATH = _safety("control, bidi or invisible character in the path")
NOT_NFC = _safety("path is not in Unicode normal form C")
ABSOLUTE = _safety("absolute or home path")
BACKSLASH = _safety("backslash")
COLON = _safety("colon (drive letter or NTFS stream)")
DOT_DOT = _safety("'..' component")
EMPTY_COMPONENT = _safety("empty or '.' component")
LONG_COMPONENT = _safety("component too long")
TRAILING_SPACE = _safety("leading/trailing space or trailing dot")
RESERVED_NAME = _safety("Windows reserved name")

PROTECTED_DIRECTORY = _safety("protected directory")
PROTECTED_FILE = _safety("protected file")
NESTED_REPOSITORY = _safety("inside a nested repository or submodule")
LINK_IN_PATH = _safety("symlink in the path")
TARGET_IS_LINK = _safety("target is a symlink")
TARGET_IS_SUBMODULE = _safety("target is a submodule")
NOT_A_FILE = _safety("target is not a regular file")
CLASH = _safety("case or normalisation clash with")
TWO_BY_CASE = _safety("two edits differ only by case")
NAMED_TWICE = _safety("file named twice")
LOOKS_PROTECTED = _safety("look-alike of a protected name")
LOOKS_EXISTING = Rule(name="look-alike of an existing name", action=Action.ASK)

LINK_MODE = _safety("symlink mode")
SUBMODULE_MODE = _safety("submodule mode")
MODE = _safety("file mode not allowed")
EXECUTABLE_BIT = _asked("executable bit")

FROZEN = _safety("frozen file (acceptance test)")
PROTECTED_BY_POLICY = _limit("protected by the policy")
OUTSIDE_SCOPE = _limit("outside the phase's scope")
READ_ONLY = _limit("read-only context")

MOVE_TARGET = _safety("move target exists")
CASE_RENAME = _safety("rename whose ends differ only by case")
NOT_SEEN = _safety("file exists and no base hash was given")
STALE = _safety("file changed since the model saw it")

TOO_LARGE = _limit("file too large")
TOO_MANY = _limit("too many files")
BINARY = _limit("binary content")
NOT_UTF8 = _limit("not UTF-8")
BIDI = _safety("bidirectional control character in the content (CVE-2021-42574)")
INVISIBLE = _safety("invisible character in the content")
SECRET = _safety("looks like a secret")
PLACEHOLDER = _limit("redaction placeholder in the content")
CONFLICT = _limit("conflict marker")

WEAKENS_TESTS = _limit("weakens tests")
WEAKENS_OWN_TESTS = Rule(name=WEAKENS_TESTS.name, action=Action.ASK)
"""The same in a phase of category `tests`, whose work tests are."""
UNREADABLE_TEST = Rule(name="test file cannot be parsed", action=Action.ASK)

ASKED_BY_POLICY = _asked("asked by the policy")
MARK = _asked("text direction mark or joiner in the content")
GIT_IGNORE = _asked("git ignore rules")
GIT_ATTRIBUTES = _asked("git attributes (filter drivers)")
CI = _asked("CI configuration")
DECIDES_TESTS = _asked("decides how tests run")
BUILDS = _asked("decides how the project is built or tested")
LOCK_FILE = _asked("lock file")
INSTRUCTS_AGENTS = _asked("instructs agents")
CONFIGURES_EDITOR = _asked("configures an editor")
IGNORED = _asked("ignored file")
DELETES_FILE = _asked("delete a file")
DELETES_HALF = _asked("deletes more than half of a file")
DELETES_LINES = _asked("deletes many lines")

RULES = {rule.name: rule for rule in list(globals().values()) if isinstance(rule, Rule)}
AUTO_APPROVABLE = frozenset(rule.name for rule in RULES.values() if rule.auto)
