"""Which file a line names: the line above a fenced block, and what follows the fence itself. Pure.

A title is a path and nothing else, but for what models put around one: the sign of a heading or a list, a number, bold,
quotes, `File:`, and a remark such as "(new file)". A name with neither a slash nor an extension is a path only where it
is quoted, bold or labelled, or is known to stand alone (`Makefile`); one with blanks only where it is labelled.
"""

import re

from autopack.domain.edits.plan import plain_path

_LONGEST = 2000  # characters of a line
_GAP = re.compile(r"\s{9}")  # matching takes the square of it, and there is none in a title
_SIGN = re.compile(r"^(?:(?:#+|//+|--|[*+-]|\d{1,3}[.)])[ \t]+)+")
_LABEL = re.compile(
    r"^(?:(?:new|updated|modified|changed)[ \t]+)?(?:file|path|filename)(?:[ \t]*(?:path|name|#?\d{1,3}))?[ \t]*:[ \t]*",
    re.I,
)
_TITLE = re.compile(
    r"(?P<path>`[^`]+`|\"[^\"]+\"|'[^']+'|[^\s`\"']+?)[ \t]*:?(?:[ \t]+(?P<remark>[(\[].*[)\]]|[-–—][ \t].*?))?[ \t]*:?"
)
_WITH_BLANKS = re.compile(r"(?P<path>[^`\"'()]+?)[ \t]*:?(?P<remark>)")
_REMARK = re.compile(
    r"(?:\W|\b(?:a|added|changed|complete|contents?|created?|entire|file|final|full|modified|module|new|newly|replaced|"
    r"rewritten|scripts?|tests?|the|updated|version|whole)\b)*",
    re.I,
)
"""Others may say that the block is only a part of the file."""
_EXTENSION = re.compile(r"\.[^./]*[A-Za-z][^./]*$")
_ALONE = re.compile(
    r"Brewfile|CHANGELOG|CODEOWNERS|CONTRIBUTING|COPYING|Caddyfile|Containerfile|Dockerfile|Earthfile|GNUmakefile|Gemfile|"
    r"Jenkinsfile|[Jj]ustfile|LICEN[CS]E|[Mm]akefile|Pipfile|Procfile|README|Rakefile|Tiltfile|Vagrantfile"
)
_USUAL = re.compile(
    r"adoc|bash|bat|c|cc|cfg|[cm]?[jt]s|clj|cmake|conf|cpp|css?|csv|dart|env|erl|exs?|fish|go|gradle|graphql|h|hpp|hs|html|"
    r"ini|ipynb|j2|java|jinja|jsonl?|[jt]sx|kts?|less|lock|lua|markdown|mdx?|mk|ml|php|pl|po|proto|ps1|pyi?|rb?|rs|rst|"
    r"sass|scala|scss|sh|sql|svelte|svg|swift|tf|toml|tpl|tsv|txt|vue|xml|ya?ml|zig|zsh",
    re.I,
)
"""Extensions by which a word of a sentence is told from `os.path` or `e.g.`"""
_SCRIPT = re.compile(r".*\.(?:sh|bash|zsh|fish|ps1|bat)", re.S)
_SHELL = re.compile(r"bash|bat|cmd|console|fish|powershell|ps1|pwsh|sh|shell(?:-session)?|terminal|zsh")
_HOLDS_FENCES = re.compile(r"(?:.*/)?(?:readme|[^/]*\.(?:adoc|markdown|[qr]?md|mdx|rst|txt))", re.I | re.S)
_BETWEEN_WORDS = re.compile(r"[\s`\"'(){}\[\]<>,;=*]+")
_BETWEEN_SENTENCES = re.compile(r"[.!?][ \t]+")
_COMMENT = re.compile(
    r"^(?:#+|//+|--|/\*+|<!--|;+|%+|\"\"\"|''')[ \t]*(?P<inside>.*?)[ \t]*(?:\*/|-->|\"\"\"|''')?$"
)


def path_on(line: str) -> str | None:
    """The path that a line consists of, or None when the line is prose."""
    path, remark = _title(line)
    return path if _REMARK.fullmatch(remark) else None


def titled(line: str) -> str | None:
    """The same, whatever the remark says."""
    return _title(line)[0]


def _title(line: str) -> tuple[str | None, str]:
    line = line.strip()
    if len(line) > _LONGEST or _GAP.search(line):
        return None, ""
    bare = _SIGN.sub("", line).replace("**", "").strip("* \t")
    label = _LABEL.match(bare)
    bare = bare[label.end() :] if label else bare
    found = _TITLE.fullmatch(bare) or (_WITH_BLANKS.fullmatch(bare) if label else None)
    if found is None:
        return None, ""
    path = found["path"].strip()
    quoted = len(path) > 2 and path[0] == path[-1] and path[0] in "`\"'"
    path = path[1:-1].strip() if quoted else path
    named = label is not None or _is_path(path, marked=quoted or "**" in line)
    return (plain_path(path) if named else None), found["remark"] or ""


def _is_path(path: str, *, marked: bool = False) -> bool:
    if re.search(r"\s|://|:\d[\d:-]*$|^\d+:", path) or path.endswith(("/", ".")):
        return False
    return marked or "/" in path or _is_alone(path) or _EXTENSION.search(path) is not None


def path_in_info(info: str) -> str | None:
    """The path in what follows a fence: `python:src/a.py`, `python src/a.py`, `src/a.py`, `python title="src/a.py"`."""
    return next(
        (plain_path(path) for word in re.split(r"[\s,;()]+", info) if (path := _path_in_word(word))), None
    )


def _path_in_word(word: str) -> str | None:
    key, equals, value = word.partition("=")
    if equals:
        path = value.strip("\"'") if key.lower() in ("file", "filename", "filepath", "path", "title") else ""
    else:
        path = word.partition(":")[2] or word
    if not _is_path(path) or re.search(r"[:{}\"']", path):
        return None
    # `Makefile` alone is the name of a language here, as `text/plain` is that of a kind.
    sure = _EXTENSION.search(path) or ((path != word or "/" in path) and _is_alone(path.rpartition("/")[2]))
    return path if sure else None


def _is_alone(name: str) -> bool:
    return _ALONE.fullmatch(name) is not None


def language(info: str) -> str:
    return re.split(r"[\s:{}]", info.strip().lower())[0]


def often_holds_fences(path: str) -> bool:
    return _HOLDS_FENCES.fullmatch(path) is not None


def seems_to_be(*, above: tuple[str, ...], info: str, content: str, known: tuple[str, ...]) -> str | None:
    """The file that a block without a title was plainly meant to be, though no line names it as one must.

    `known` are the files that the answer gives: a sentence about one of them makes no file of the example below it.
    """
    named = mentioned(info)[:1] or [path for path in [_first_line(content)] if path]
    if not named and (title := titled(above[-1]) if above else None):
        named = [title]
    if not named:
        named = [path for path in _told_above(above) if not _is_known(path, known)]
        if _SHELL.fullmatch(language(info)) and not content.startswith("#!"):
            named = [path for path in named if _SCRIPT.fullmatch(path)]
    return named[0] if named else None


def _told_above(above: tuple[str, ...]) -> list[str]:
    titles = [path for line in above[:-1] if (path := titled(line)) and mentioned(path)]
    return [*(mentioned(above[-1]) if above else []), *titles]


def _is_known(path: str, known: tuple[str, ...]) -> bool:
    return any(each == path or each.endswith(f"/{path}") for each in known)


def mentioned(line: str) -> list[str]:
    """The words of the line's last sentence that read as files."""
    words = _BETWEEN_WORDS.split(_BETWEEN_SENTENCES.split(line[:_LONGEST].strip())[-1])
    return [plain_path(word.rstrip(".:!?")) for word in words if _reads_as_file(word.rstrip(".:!?"))]


def _reads_as_file(word: str) -> bool:
    if "://" in word:
        return False
    stem, _, extension = re.sub(r":\d[\d:-]*$", "", word).rpartition(".")
    usual = _USUAL.fullmatch(extension) is not None or ("/" in stem and extension.isalpha())
    return _is_alone(word.rpartition("/")[2]) or (usual and bool(stem))


def _first_line(content: str) -> str | None:
    """The path that a block's first line is, or that a comment there begins with; a list of files is no file."""
    lines = [line.strip() for line in content.split("\n") if line.strip()]
    if (
        not lines
        or len(lines[0]) > _LONGEST
        or (all(path_on(line) for line in lines) and not _COMMENT.match(lines[0]))
    ):
        return None
    comment = _COMMENT.match(lines[0])
    path = titled(comment["inside"] if comment else lines[0])
    if path is None and comment:
        path = comment["inside"].partition(" ")[0]
    return path if path and mentioned(path) else None
