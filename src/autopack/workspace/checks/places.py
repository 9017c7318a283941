"""Folders that checks see beside the tree: kept from the workspace or made by a set-up, and what they drag in.

An editable install names the directory it was made from. Where the tree does not stand in that very place, such a
name would mean the person's checkout: it is answered by the tree's own directory first on Python's path, and where
that cannot be done the check is refused.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from autopack.errors import WorkspaceRefused
from autopack.workspace.checks.files import read_bounded

_LONGEST = 1 << 20
_MAPPED = re.compile(r"""(?:['"](\w[\w.]*)['"]\s*[:,]\s*\[?\s*)?['"](/[^'"\n]+)['"]""")


def kept_folders(root: Path, names: Sequence[str]) -> dict[Path, Path]:
    """Place in the tree, and the folder of the workspace that is to appear there."""
    found = {}
    for name in names:
        folder = root / name
        if not folder.is_dir():
            raise WorkspaceRefused(
                f"autopack.toml: [checks] keep names {name}, which is no folder of {root}: make it, or take the name out."
            )
        found[Path(name)] = folder.resolve()
    return found


def kept_facts(root: Path, names: Sequence[str]) -> list[list[object]]:
    """Equal as long as nothing was installed into, or removed from, the kept folders.

    Installers change the directories that hold packages; caches are written further down, and do not count.
    """
    watched: list[Path] = []
    for folder in kept_folders(root, names).values():
        watched += [
            folder,
            *(Path(entry) for entry in os.scandir(folder) if entry.is_dir()),
            *_site_packages(folder),
        ]
    return [[str(directory), directory.stat().st_mtime_ns] for directory in sorted(watched)]


def left_by_setup(directory: Path, tracked: Sequence[str], kept: Mapping[Path, Path]) -> dict[Path, Path]:
    """The folders at the top that the tree does not have: what the set-up made."""
    tops = {path.split("/", 1)[0] for path in (*tracked, *map(str, kept))}
    return {
        Path(entry.name): Path(entry.path)
        for entry in os.scandir(directory)
        if entry.name not in tops and entry.is_dir(follow_symlinks=False) and entry.name != ".git"
    }


def search_path(folders: Mapping[Path, Path], place: Path) -> list[str]:
    """The programs of these folders, as the command sees them."""
    return [
        str(place / name / programs)
        for name, folder in folders.items()
        for programs in ("bin", ".bin")
        if (folder / programs).is_dir()
    ]


def virtual_environment(folders: Mapping[Path, Path], place: Path) -> str | None:
    return next(
        (str(place / name) for name, folder in folders.items() if (folder / "pyvenv.cfg").is_file()), None
    )


def python_path(folders: Mapping[Path, Path], made_at: Sequence[Path], place: Path) -> list[str]:
    """What must come first on Python's path, so that editable installs made at `made_at` mean the tree at `place`."""
    found: dict[str, None] = {}
    for folder in folders.values():
        for packages in _site_packages(folder):
            for origin in made_at:
                if origin != place:
                    found |= dict.fromkeys(_redirected(packages, origin, place))
    return list(found)


def _site_packages(folder: Path) -> list[Path]:
    return sorted([*folder.glob("lib/python*/site-packages"), *folder.glob("Lib/site-packages")])


def _redirected(packages: Path, origin: Path, place: Path) -> list[str]:
    named = [path for path in _named(packages, origin) if packages not in path.parents]
    if not named and (project := _editable_project(packages, origin)):
        raise _not_understood(packages, project, origin)
    return [str(place / path.relative_to(origin)) for path in named]


def _named(packages: Path, origin: Path) -> Iterator[Path]:
    """The directories below `origin` from which Python would import because of these packages."""
    for file in sorted(packages.glob("*.pth")):
        for line in _text(file).splitlines():
            path = Path(os.path.normpath(line.strip()))
            if line.startswith("/") and _below(path, origin):
                yield path
            elif match := re.match(r"import\s+(\w+)", line):
                yield from _of_finder(packages / f"{match[1]}.py", origin)


def _of_finder(file: Path, origin: Path) -> Iterator[Path]:
    """A module that maps packages to places: `{'pkg': '/work/src/pkg'}` is as good as /work/src on the path."""
    for package, quoted in _MAPPED.findall(_text(file)):
        path = Path(os.path.normpath(quoted))
        if not _below(path, origin):
            continue
        names = tuple(package.split("."))
        module = path.parent if path.name == "__init__.py" else path.with_suffix("")
        if module.parts[-len(names) :] != names:
            raise _not_understood(file, package or quoted, origin)
        yield Path(*module.parts[: -len(names)])


def _below(path: Path, origin: Path) -> bool:
    return path == origin or origin in path.parents


def _not_understood(packages: Path, project: str, origin: Path) -> WorkspaceRefused:
    return WorkspaceRefused(
        f"{packages} holds {project} as an editable install of {origin}, in a way that cannot be turned to the tree "
        "under check: that checkout would be tested instead. Use a full sandbox, or install it in another way."
    )


def _editable_project(packages: Path, origin: Path) -> str | None:
    for file in sorted(packages.glob("*.dist-info/direct_url.json")):
        try:
            told = json.loads(_text(file))
            editable = bool(told.get("dir_info", {}).get("editable"))
            place = Path(unquote(urlsplit(str(told.get("url", ""))).path))
        except (ValueError, AttributeError):
            continue
        if editable and _below(place, origin):
            return file.parent.name
    return None


def _text(file: Path) -> str:
    return (read_bounded(file, _LONGEST) or b"").decode("utf-8", "replace")
