"""A diff's lines by what they do, for colours that come from classes."""

MOST_LINES = 5000


def lines(diff: str, most: int = MOST_LINES) -> list[tuple[str, str]]:
    """(class, text) of each line; the last one says how many are left out."""
    found = diff.split("\n")
    told = [(_kind(line), line) for line in found[:most]]
    if len(found) > most:
        told.append(("cut", f"... {len(found) - most} more lines; `git diff` shows them all"))
    return told


def _kind(line: str) -> str:
    if line.startswith(("diff --git ", "--- ", "+++ ", "index ", "new file", "deleted file", "rename ")):
        return "file"
    for sign, kind in (("@@", "hunk"), ("+", "added"), ("-", "taken")):
        if line.startswith(sign):
            return kind
    return "same"
