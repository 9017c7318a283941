"""The `[checks]` table of autopack.toml, read strictly: a word that is not known is refused, never passed over."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field

from autopack.errors import InvalidInput
from autopack.workspace.environment import refuse_names
from autopack.workspace.paths import unsafe_reason
from autopack.workspace.process import Limits

_KNOWN = ("commands", "keep", "setup", "env", "limits", "timeout_seconds")
_MIB = 1 << 20
# Key of [checks.limits]: the field of Limits, its unit, the most that can be meant.
_LIMITS = {
    "seconds": ("wall_seconds", 1, 86_400),
    "memory_mb": ("total_memory_bytes", _MIB, 1 << 20),
    "file_mb": ("file_bytes", _MIB, 1 << 20),
    "processes": ("processes", 1, 1 << 20),
    "open_files": ("open_files", 1, 1 << 20),
}


@dataclass(frozen=True, kw_only=True)
class CheckSettings:
    """What checks need beyond the tree. `keep` and what `setup` makes appear in the tree, read-only."""

    commands: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    named: frozenset[str] = frozenset()
    """The limits that the project names: the others may depend on the machine."""

    def facts(self) -> dict[str, object]:
        """What decides how a command behaves, as plain values: part of a baseline's key."""
        return {
            "keep": list(self.keep),
            "setup": list(self.setup),
            "env": dict(sorted(self.env.items())),
            "limits": {
                name: getattr(self.limits, name) for name, _, _ in _LIMITS.values() if name in self.named
            },
        }


def load_check_settings(text: str | None) -> CheckSettings:
    """From the text of an autopack.toml; None when there is no such file."""
    try:
        table = tomllib.loads(text or "").get("checks", {})
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"autopack.toml is not TOML: {error}") from error
    if not isinstance(table, dict):
        raise InvalidInput("autopack.toml: checks must be a table, [checks]")
    for key in table.keys() - set(_KNOWN):
        raise _wrong(f"{key} is not known; it has {', '.join(_KNOWN)}")
    limits = _limits(table)
    return CheckSettings(
        commands=_texts("commands", table.get("commands", [])),
        keep=tuple(_place(each) for each in _texts("keep", table.get("keep", []))),
        setup=_texts("setup", table.get("setup", [])),
        env=_env(table.get("env", {})),
        limits=Limits(**limits),  # type: ignore[arg-type]  # whole numbers where Limits wants them, see _number
        named=frozenset(limits),
    )


def _texts(key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(
        isinstance(each, str) and each.strip() and "\0" not in each for each in value
    ):
        raise _wrong(f"{key} must be a list of {'folders' if key == 'keep' else 'commands'}, each a text")
    return tuple(value)


def _place(path: str) -> str:
    """A folder below the workspace, by its plain relative name."""
    plain = path.removeprefix("./").rstrip("/")
    if reason := unsafe_reason(plain):
        raise _wrong(f"keep: {path!r} is not a folder of the workspace: {reason}")
    return plain


def _limits(table: Mapping[str, object]) -> dict[str, float]:
    value = table.get("limits", {})
    if not isinstance(value, dict):
        raise _wrong("limits must be a table, [checks.limits]")
    if "seconds" in value and "timeout_seconds" in table:
        raise _wrong("timeout_seconds and limits.seconds say the same: name one")
    numbers = {f"limits.{key}": (key, each) for key, each in value.items()}
    if "timeout_seconds" in table:
        numbers["timeout_seconds"] = ("seconds", table["timeout_seconds"])
    found: dict[str, float] = {}
    for name, (key, number) in numbers.items():
        if key not in _LIMITS:
            raise _wrong(f"limits has no {key}; it has {', '.join(_LIMITS)}")
        field_name, unit, most = _LIMITS[key]
        found[field_name] = _number(name, number, most, whole=key != "seconds") * unit
    return found


def _number(name: str, value: object, most: int, *, whole: bool) -> float:
    number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not number or not 0 < float(str(value)) <= most:
        kind = "a whole number" if whole else "a number"
        raise _wrong(f"{name} must be {kind} above 0, at most {most}")
    return int(str(value)) if whole else float(str(value))


def _env(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise InvalidInput("autopack.toml: [checks.env] must hold texts")
    try:
        refuse_names(value)
    except InvalidInput as error:
        raise InvalidInput(f"autopack.toml: [checks.env] {error}") from error
    return dict(value)


def _wrong(words: str) -> InvalidInput:
    return InvalidInput(f"autopack.toml: [checks] {words}")
