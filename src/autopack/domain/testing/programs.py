"""Which files of the project a command runs: what a check is made of is not the phase's to change unseen.

What a command only reads (a module that it compiles, a folder that it lints) is the work, and is not meant.
"""

import json
import posixpath
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

MAKEFILES = ("GNUmakefile", "makefile", "Makefile")
_INTERPRETERS = re.compile(
    r"(python|pypy|node|ruby|perl|php|lua|pwsh|Rscript)[\d.]*|(ba|da|z|k)?sh|deno|bun|tsx|ts-node|source|\."
)
_BEFORE_A_COMMAND = frozenset(
    (
        "env",
        "exec",
        "time",
        "nice",
        "sudo",
        "npx",
        "uv",
        "poetry",
        "pdm",
        "hatch",
        "pipenv",
        "coverage",
        "run",
    )
)
_NAMES_A_FILE = frozenset(("-c", "-f", "--config", "--config-file", "--rcfile", "--makefile", "--file"))
_VARIABLE = (
    "python"  # in the place of a program a variable mostly names an interpreter: $(PYTHON) run_tests.py
)
_SETS = re.compile(r"[A-Za-z_]\w*=.*")
_OF_THE_SHELL = frozenset(
    (
        "!",
        "{",
        "}",
        "if",
        "then",
        "else",
        "elif",
        "fi",
        "for",
        "while",
        "until",
        "do",
        "done",
        "case",
        "esac",
        "in",
    )
)
_PLAIN = re.compile(r"[\w./+-]+")
_FROM_PYTHON = re.compile(r"python|pypy")
_BUILDS = re.compile(r"(?:^|[\s;&|(])(make|gmake|npm|pnpm|yarn|bun)(?=[\s;&|)]|$)")
_INCLUDES = re.compile(r"^\s*-?s?include\s+(.+)$", re.M)
_PLUGINS = re.compile(r"^pytest_plugins\s*(?::[^=]*)?=\s*([\[(][^\])]*[\])]|.*)", re.M)
_QUOTED = re.compile(r"""['"]([\w.]+)['"]""")
_OPTION_P = re.compile(r"""(?:^|[\s'"=\[])-p[\s'",]+((?!no:)[A-Za-z_][\w.]*)""", re.M)


def programs(command: str) -> frozenset[str]:
    """Paths of the tree that this command runs, or is told to take its settings from."""
    found: set[str] = set()
    directory = ""
    for words in _simple_commands(command):
        if words[0] == "cd" and len(words) == 2:
            directory = posixpath.join(directory, words[1])
        else:
            found |= {posixpath.normpath(posixpath.join(directory, each)) for each in _of(words)}
    return frozenset(found)


def started(command: str) -> list[str]:
    """The programs of its simple commands, as they are named there; what the shell works out itself is not among them."""
    found = []
    for words in _simple_commands(command):
        named = next(
            (word for word in words if not _SETS.fullmatch(word) and word not in _OF_THE_SHELL), None
        )
        if named is not None and _PLAIN.fullmatch(named):
            found.append(named)
    return list(dict.fromkeys(found))


def uses_a_build_file(command: str) -> bool:
    """Whether the command's own commands stand in a Makefile or in package.json."""
    return bool(_BUILDS.search(command))


def included(makefile: str) -> list[str]:
    return [name for line in _INCLUDES.findall(makefile) for name in line.split("#")[0].split()]


def recipes(makefile: str) -> list[str]:
    """The commands of every target."""
    joined = makefile.replace("\\\n", " ")
    lines = [line.lstrip("\t @-+") for line in joined.splitlines() if line.startswith("\t")]
    return [re.sub(r"\$[({]\w+[)}]|\$\w", _VARIABLE, line) for line in lines]


def scripts(package: str) -> list[str]:
    try:
        table = json.loads(package)
    except (ValueError, RecursionError):
        return []
    named = table.get("scripts") if isinstance(table, dict) else None
    return [each for each in named.values() if isinstance(each, str)] if isinstance(named, dict) else []


def plugins(texts: Iterable[str]) -> frozenset[str]:
    """The modules that a conftest.py, a configuration or a command names as plugins of pytest, as paths."""
    names: set[str] = set()
    for text in texts:
        names |= {name for value in _PLUGINS.findall(text) for name in _QUOTED.findall(value)}
        names |= set(_OPTION_P.findall(text))
    return frozenset(path for name in names for path in _of_module(name))


def _simple_commands(command: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(command, posix=True, punctuation_chars=";&|()<>\n")
    lexer.whitespace, lexer.commenters = " \t\r", ""
    words: list[str] = []
    try:
        for word in lexer:
            if set(word) <= set(";&|()\n"):
                if words:
                    yield words
                words = []
            else:
                words.append(word)
    except ValueError:  # an open quote: the shell will not run it either
        return
    if words:
        yield words


def _of(words: list[str]) -> Iterator[str]:
    """The program, if it is a file; what an interpreter is given; what options name."""
    rest = list(words)
    while rest and (_SETS.fullmatch(rest[0]) or rest[0] in _BEFORE_A_COMMAND or rest[0].startswith("-")):
        rest.pop(0)
    if rest and "/" in rest[0]:
        yield rest[0]
    if rest and _INTERPRETERS.fullmatch(posixpath.basename(rest[0])):
        yield from _script(rest)
    else:
        yield from _settings(rest)


def _script(words: list[str]) -> Iterator[str]:
    name, *rest = words
    while rest and (rest[0].startswith("-") or rest[0] == "run"):
        option = rest.pop(0)
        if option == "-m" and _FROM_PYTHON.match(posixpath.basename(name)):
            yield from _of_module(rest[0] if rest else "")
            yield from _settings(rest[1:])
            return
        if option in ("-c", "-e", "--eval"):
            return
        if option in ("-W", "-X", "-r", "--require") and rest:
            rest.pop(0)
    if rest:
        yield rest[0]
        yield from _settings(rest[1:])


def _settings(words: list[str]) -> Iterator[str]:
    for option, value in pairwise([*words, ""]):
        name, sign, given = option.partition("=")
        if name in _NAMES_A_FILE and (given or value):
            yield given if sign else value


def _of_module(name: str) -> list[str]:
    path = name.replace(".", "/")
    return [f"{path}.py", f"{path}/__init__.py", f"{path}/__main__.py"] if path else []


def build_files(texts: Mapping[str, str]) -> tuple[list[str], frozenset[str]]:
    """The commands that stand in these files, and the files that they include."""
    commands, also = [], set()
    for name, text in texts.items():
        if name == "package.json":
            commands += scripts(text)
        else:
            commands += recipes(text)
            also |= set(included(text))
    return commands, frozenset(also)
