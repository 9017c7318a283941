"""Which directories of this machine a check needs to see: the system's programs, and the tools on its PATH.

Never a person's home as a whole, nor anything that holds the workspace or what must stay unseen.
"""

import os
import tempfile
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from itertools import islice
from pathlib import Path

from autopack.workspace.environment import TOOL_HOMES

SYSTEM = tuple(Path("/", name) for name in ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"))
# What programs look up to run at all: libraries, certificates, names of zones and protocols. No key, no host's name.
CONFIGURATION = tuple(
    Path("/etc", name)
    for name in (
        *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime", "timezone"),
        *("ssl/certs", "ssl/openssl.cnf", "pki/tls/certs", "pki/tls/openssl.cnf", "pki/ca-trust/extracted"),
        *("ca-certificates", "ca-certificates.conf", "crypto-policies", "os-release", "debian_version"),
        *("protocols", "services", "mime.types", "perl", "fonts", "login.defs", "host.conf", "gai.conf"),
        *("java-8-openjdk", "java-11-openjdk", "java-17-openjdk", "java-21-openjdk"),
    )
)
PROCESSORS = Path("/sys/devices/system/cpu")
# A store holds programs only, and each of them needs others of it.
_STORES = (Path("/nix/store"), Path("/gnu/store"))
_MANY = 1000
_OF_PROJECTS = (".git", ".hg", ".svn", ".env", ".env.local", ".envrc")


def tools(
    environment: Mapping[str, str], *, workspace: Path, unseen: Collection[Path], given: Collection[Path] = ()
) -> tuple[Path, ...]:
    """Directories and files outside the system's that a check reads its programs from; none inside another.

    `given` are folders that the check sees anyway, whose interpreters may be elsewhere (a virtual environment's).
    """
    homes = tuple(environment[name] for name in TOOL_HOMES if name in environment)
    kept_away = (workspace, _home(), Path(tempfile.gettempdir()), *unseen)
    found = _tools(environment.get("PATH", os.defpath), homes, kept_away, tuple(given))
    return tuple(place for place in found if place.exists())


def _home() -> Path:
    """The person's; a user without one has nothing to keep away."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/")


@lru_cache(maxsize=32)
def _tools(
    path: str, homes: tuple[str, ...], kept_away: tuple[Path, ...], given: tuple[Path, ...]
) -> tuple[Path, ...]:
    rule = _Rule(kept_away)
    found = [place for home in homes for place in rule.whole(Path(home))]
    known = (*SYSTEM, *found)
    for entry in map(Path, path.split(os.pathsep)):
        if entry.is_dir() and not _below(entry, kept_away[:1]):
            found += rule.installation(entry)
            found += rule.installation(entry.resolve())
            found += [] if _below(entry, known) else rule.linked(entry)
    for folder in given:
        found += rule.linked(folder / "bin")
    return _outermost(found)


class _Rule:
    def __init__(self, kept_away: Collection[Path]) -> None:
        resolved = [place.resolve() for place in kept_away]
        self._kept_away = {*kept_away, *resolved, *(home / ".local" for home in resolved)}

    def whole(self, directory: Path) -> Iterator[Path]:
        yield from (place for place in (directory, directory.resolve()) if self._may_be_seen(place))

    def linked(self, directory: Path) -> Iterator[Path]:
        """What the links in a directory of programs lead to."""
        for link in islice(_links(directory), _MANY):
            target = link.resolve()
            if target.is_file():
                yield from self.installation(target.parent) if target.parent.name == "bin" else (target,)

    def installation(self, directory: Path) -> Iterator[Path]:
        """That which a directory of programs belongs to, else that directory alone."""
        for store in _STORES:
            if directory.is_relative_to(store):
                yield store
                return
        whole = directory.parent
        if directory.name == "bin" and _is_installation(whole) and self._may_be_seen(whole):
            yield whole
        elif self._may_be_seen(directory):
            yield directory

    def _may_be_seen(self, directory: Path) -> bool:
        holds = any(place == directory or directory in place.parents for place in self._kept_away)
        return directory.is_dir() and not holds


def _is_installation(directory: Path) -> bool:
    """Whether all that is in it are programs and what they need; a project may have a bin and a lib as well.

    Directly below / or a home it must be an environment for sure: /opt and ~/project hold what is nobody's business.
    """
    if any((directory / name).exists() for name in _OF_PROJECTS):
        return False
    sure, likely = ("pyvenv.cfg", "conda-meta"), ("lib", "lib64", "libexec")
    marks = sure if directory.parent in (Path("/"), _home(), _home().resolve()) else (*sure, *likely)
    return any((directory / name).exists() for name in marks)


def _links(directory: Path) -> Iterator[Path]:
    try:
        with os.scandir(directory) as entries:
            yield from [Path(entry.path) for entry in entries if entry.is_symlink()]
    except OSError:
        return


def _below(path: Path, places: Collection[Path]) -> bool:
    return any(path.is_relative_to(place) for place in places)


def _outermost(places: Collection[Path]) -> tuple[Path, ...]:
    kept: list[Path] = []
    for place in sorted(set(places), key=lambda each: len(each.parts)):
        if place.exists() and not _below(place, [*SYSTEM, *kept]):
            kept.append(place)
    return tuple(kept)
