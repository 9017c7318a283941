"""The `[policy]` table of the workspace's autopack.toml, as it is at the base commit. Pure."""

import hashlib
import json
import tomllib
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from autopack.domain.policy.paths import unsafe_path
from autopack.domain.policy.rules import AUTO_APPROVABLE, RULES_VERSION
from autopack.errors import InvalidInput

MAX_MINUTES = 60 * 24 * 366


class OnRefusal(StrEnum):
    """What becomes of a refusal that is not about safety."""

    FAIL = "fail"
    ASK = "ask"


class OnTimeout(StrEnum):
    """What becomes of a request for approval that nobody answered in time."""

    WAIT = "wait"
    REJECT = "reject"


class DualAuditor(StrEnum):
    """ALLOWED: risky phases and `--dual-auditor`; `--no-dual-auditor` turns it off. ALWAYS: every phase."""

    ALLOWED = "allowed"
    ALWAYS = "always"


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What a project decides itself. What is never allowed (`.git`, secrets, ...) is no setting."""

    protected: tuple[str, ...] = ()
    """Refused, besides what always is. An entry is a path, a directory (`docs/`) or a glob."""
    ask: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    """Acceptance tests: neither changed nor deleted, whatever a phase's scope says."""
    auto_approve: tuple[str, ...] = ()
    """Names of rules that would ask a person, and that this policy says yes to."""
    violations: OnRefusal = OnRefusal.FAIL
    max_files: int = 50
    max_file_bytes: int = 1024 * 1024
    max_deleted_lines: int = 200
    approval_timeout_minutes: int | None = None
    on_approval_timeout: OnTimeout = OnTimeout.WAIT
    dual_auditor: DualAuditor = DualAuditor.ALLOWED
    risky_categories: tuple[str, ...] = ("security", "schema_change")

    @property
    def hash(self) -> str:
        """SHA-256 over every setting and the version of the rules: equal hashes judge alike."""
        text = json.dumps({**asdict(self), "rules": RULES_VERSION}, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def load_policy(text: str | None) -> Policy:
    """From the text of an autopack.toml; None when there is no such file. Raises InvalidInput naming the key."""
    try:
        table = tomllib.loads(text or "").get("policy", {})
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"autopack.toml is not TOML: {error}") from error
    if not isinstance(table, dict):
        raise InvalidInput("autopack.toml: policy must be a table, [policy]")
    known = [each.name for each in fields(Policy)]
    for key in table:
        if key not in known:
            raise InvalidInput(f"autopack.toml: [policy] {key} is not known; it has {', '.join(known)}")
    return Policy(**{key: _value(key, value) for key, value in table.items()})


_CHOICES: dict[str, type[StrEnum]] = {
    "violations": OnRefusal,
    "on_approval_timeout": OnTimeout,
    "dual_auditor": DualAuditor,
}
_PATHS = ("protected", "ask", "frozen")
_NUMBERS = {
    "max_files": 10_000, "max_file_bytes": 64 * 1024 * 1024, "max_deleted_lines": 10_000_000,
    "approval_timeout_minutes": MAX_MINUTES,
}  # fmt: skip


def _value(key: str, value: object) -> Any:  # each key has a type of its own
    if key in _CHOICES:
        return _choice(key, value, _CHOICES[key])
    if key in _NUMBERS:
        return _number(key, value, _NUMBERS[key])
    texts = _texts(key, value)
    if key in _PATHS:
        for entry in texts:
            _check_entry(key, entry)
    if key == "auto_approve":
        _check_rules(texts)
    return texts


def _choice(key: str, value: object, choices: type[StrEnum]) -> StrEnum:
    if not isinstance(value, str) or value not in list(choices):
        raise _wrong(key, f"must be one of {', '.join(repr(str(each)) for each in choices)}")
    return choices(value)


def _number(key: str, value: object, largest: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= largest:
        raise _wrong(key, f"must be a whole number from 1 to {largest}")
    return value


def _texts(key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) and each.strip() for each in value):
        raise _wrong(key, "must be a list of texts")
    return tuple(value)


def _check_entry(key: str, entry: str) -> None:
    path = entry.removesuffix("/").replace("*", "x").replace("?", "x")
    if problem := unsafe_path(path):
        raise _wrong(key, f"holds {entry!r}, which names no path of a tree: {problem}")


def _check_rules(names: tuple[str, ...]) -> None:
    for name in names:
        if name not in AUTO_APPROVABLE:
            known = ", ".join(repr(each) for each in sorted(AUTO_APPROVABLE))
            raise _wrong("auto_approve", f"holds {name!r}; it can name {known}")


def _wrong(key: str, problem: str) -> InvalidInput:
    return InvalidInput(f"autopack.toml: [policy] {key} {problem}")
