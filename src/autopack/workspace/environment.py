"""The environment of a check: built from an allow-list, never from ours."""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from autopack.errors import InvalidInput

_PASSED_ON = re.compile(r"LANG|LANGUAGE|LC_[A-Z]+|TZ")
_SECRET = re.compile(
    r"(TELEMETRY_)?DATABASE_URL|AUTOPACK_.*|(.*_)?API_KEY|(.*_)?TOKEN|(.*_)?SECRET|.*PASSWORD.*",
    re.IGNORECASE,
)
_OURS = {"HOME", "TMPDIR", "TMP", "TEMP"}
# Tool managers put small programs on PATH that look for the real ones below HOME, which a check does not have.
TOOL_HOMES = {
    "PYENV_ROOT": ".pyenv",
    "RBENV_ROOT": ".rbenv",
    "ASDF_DATA_DIR": ".asdf",
    "RUSTUP_HOME": ".rustup",
    "VOLTA_HOME": ".volta",
}


def check_environment(
    host: Mapping[str, str], *, home: Path, tmp: Path, extra: Mapping[str, str]
) -> dict[str, str]:
    """Built from nothing: only what is named here gets in, and `extra` cannot name secrets."""
    refuse_names(extra)
    environment = {name: value for name, value in host.items() if _PASSED_ON.fullmatch(name)}
    environment.setdefault("LANG", "C.UTF-8")
    return {
        **environment,
        **_tool_homes(host),
        "PATH": _path(host.get("PATH") or os.defpath),
        "TERM": "dumb",
        "PYTHONDONTWRITEBYTECODE": "1",
        **extra,
        "HOME": str(home),
        "TMPDIR": str(tmp),
    }


def refuse_names(extra: Mapping[str, str]) -> None:
    for name, value in extra.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or "\0" in value:
            raise InvalidInput(f"environment: {name!r} is not a name, or its value holds a NUL")
        if name in _OURS:
            raise InvalidInput(f"environment: {name} is set by Autopack, a check has its own")
        if _SECRET.fullmatch(name):
            raise InvalidInput(
                f"environment: {name} looks like a secret or a database, checks get none of these"
            )


def _path(path: str) -> str:
    """Without our own virtual environment, whose packages are not the project's; some python3 stays."""
    ours = None if sys.prefix == sys.base_prefix else Path(sys.prefix, "bin").resolve()
    entries = [
        entry
        for entry in path.split(os.pathsep)
        if Path(entry).is_absolute() and Path(entry).resolve() != ours
    ]
    fallback = str(Path(sys.base_prefix, "bin"))
    return os.pathsep.join([*entries, *([] if fallback in entries else [fallback])])


def _tool_homes(host: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for name, folder in TOOL_HOMES.items():
        default = Path(host["HOME"], folder) if host.get("HOME") else None
        place = Path(host[name]) if host.get(name) else default
        if place is not None and place.is_absolute() and place.is_dir():
            found[name] = str(place)
    return found
