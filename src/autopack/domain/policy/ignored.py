"""Which paths a project's .gitignore files name, as git reads them: a builder's new file there is a surprise. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from autopack.domain.policy.paths import prefixes

IGNORE_FILE = ".gitignore"


@dataclass(frozen=True, kw_only=True)
class _Pattern:
    parts: tuple[re.Pattern[str] | None, ...]
    """One for each part of a path; None, written `**`, for any number of them."""
    included: bool
    """Written with `!`."""
    directories_only: bool

    def fits(self, parts: Sequence[str]) -> bool:
        """Walks all ways at once: no pattern takes more than length times length steps."""
        reached = {0}
        for pattern in self.parts:
            if pattern is None:
                reached = set(range(min(reached), len(parts) + 1)) if reached else reached
            else:
                reached = {at + 1 for at in reached if at < len(parts) and pattern.fullmatch(parts[at])}
        return len(parts) in reached


def ignored_paths(paths: Iterable[str], ignore_files: Mapping[str, str]) -> frozenset[str]:
    """Those of the paths that are ignored. `ignore_files` are the texts of the base's .gitignore files, by path."""
    patterns = {path.removesuffix(IGNORE_FILE): _read(text) for path, text in ignore_files.items()}
    return frozenset(path for path in paths if _is_ignored(path, patterns))


def _is_ignored(path: str, patterns: Mapping[str, list[_Pattern]]) -> bool:
    """What lies in an ignored directory is ignored, whatever is said about it."""
    names = prefixes(path)
    return any(_matches(name, name != path, patterns) for name in names)


def _matches(name: str, is_directory: bool, patterns: Mapping[str, list[_Pattern]]) -> bool:
    """The last pattern that fits decides, of the nearest file that has one."""
    for top in sorted(patterns, key=len, reverse=True):
        if not name.startswith(top):
            continue
        for pattern in reversed(patterns[top]):
            meant = is_directory or not pattern.directories_only
            if meant and pattern.fits(name.removeprefix(top).split("/")):
                return not pattern.included
    return False


def _read(text: str) -> list[_Pattern]:
    return [pattern for line in text.splitlines() if (pattern := _pattern(line)) is not None]


def _pattern(line: str) -> _Pattern | None:
    line = re.sub(r"(?<!\\) +$", "", line)
    if not line or line.startswith("#"):
        return None
    included = line.startswith("!")
    body = line[1:] if included else line
    directories_only = body.endswith("/")
    body = body.rstrip("/")
    if not body:
        return None
    written = body.removeprefix("/").split("/")
    anywhere = [] if "/" in body else ["**"]
    # `abc/**` is what lies in abc, and not abc.
    inside = ["*"] if written[-1] == "**" and len(written) > 1 else []
    try:
        parts = tuple(_part(each) for each in [*anywhere, *written, *inside])
    except re.error:
        return None  # such as a range that runs backwards: git, too, finds nothing with it
    return _Pattern(parts=parts, included=included, directories_only=directories_only)


_TOKEN = re.compile(r"\*+|\?|\[!?\]?[^\]]*\]|\\.|.", re.S)


def _part(written: str) -> re.Pattern[str] | None:
    if written == "**":
        return None
    chunks = [""]
    for token in _TOKEN.findall(written):
        if token.startswith("*"):
            chunks.append("")
        else:
            chunks[-1] += _means(token)
    first, *others = chunks
    # Atomic: what a star took is not given back, or a few stars would take minutes to find nothing.
    stars = "".join(f"(?>.*?{chunk})" for chunk in others[:-1]) + (f".*{others[-1]}" if others else "")
    return re.compile(first + stars, re.S)


def _means(token: str) -> str:
    if token == "?":
        return "."
    if token.startswith("[") and len(token) > 2:
        inner = token[1:-1].replace("\\", "\\\\").replace("[", "\\[")
        return f"[{'^' + inner[1:] if inner.startswith('!') else inner}]"
    return re.escape(token[1:] if token.startswith("\\") else token)
