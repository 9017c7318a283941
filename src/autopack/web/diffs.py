"""A diff's lines by what they do, for colours that come from classes, with all that is in them to be seen."""

from autopack.domain.visible import visible

MOST_LINES = 5000
_HEADERS = (
    "diff --git ", "--- ", "+++ ", "index ", "new file", "deleted file", "old mode", "new mode", "rename ", "copy ",
    "similarity ", "dissimilarity ", "Binary files ", "GIT binary patch",
)  # fmt: skip
_SIGNS = (("@@", "hunk"), ("+", "added"), ("-", "taken"))


def lines(diff: str, command: str, most: int = MOST_LINES) -> list[tuple[str, str]]:
    """(class, text) of each line; the last one says how many are left out, and that `command` shows them."""
    found = diff.split("\n")
    told = []
    is_header = True
    for line in found[:most]:
        # Between the two a line is what it says; below them `-- x` that is removed looks as the name of a file does.
        is_header = line.startswith("diff --git ") or (is_header and not line.startswith("@@"))
        kind = "file" if is_header and line.startswith(_HEADERS) else _kind(line)
        told.append((kind, visible(line)))
    if left := left_out(diff, most):
        told.append(("cut", f"... {left} more {'line' if left == 1 else 'lines'}; `{command}` shows all"))
    return told


def left_out(diff: str, most: int = MOST_LINES) -> int:
    """How many lines of it `lines` does not show."""
    return max(0, diff.count("\n") + 1 - most)


def _kind(line: str) -> str:
    return next((kind for sign, kind in _SIGNS if line.startswith(sign)), "same")
