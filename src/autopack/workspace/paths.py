"""Names inside a git tree: bytes to git, text to us, and never trusted."""

_CODEC = ("utf-8", "surrogateescape")


def to_text(name: bytes) -> str:
    """Names that are not UTF-8 survive the way there and back."""
    return name.decode(*_CODEC)


def to_bytes(name: str) -> bytes:
    return name.encode(*_CODEC)


def unsafe_reason(path: str) -> str | None:
    """Why this path must not be written below any root, or None."""
    if not path or "\0" in path:
        return "it is empty or holds a NUL"
    if path.startswith("/"):
        return "it is absolute"
    for part in path.split("/"):
        if part in ("", ".", ".."):
            return f"it has the component {part!r}"
        if part.lower() == ".git":
            return "it goes into a .git directory"
    return None


def link_stays_inside(path: str, target: str) -> bool:
    """Whether a symlink at `path` can only lead into the tree that holds it.

    `..` counts only at the start: after a name it is resolved through whatever that name links to.
    """
    if not target or target.startswith("/") or "\0" in target:
        return False
    parts = [part for part in target.split("/") if part not in ("", ".")]
    ups = 0
    while ups < len(parts) and parts[ups] == "..":
        ups += 1
    return ups <= path.count("/") and ".." not in parts[ups:]
