"""A result that goes to a file: there when it is whole, and not before."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from autopack.errors import NotReady, UsageError


@contextmanager
def whole_file(path: Path, *, overwrite: bool) -> Iterator[IO[bytes]]:
    """Written beside `path` under another name, and renamed at the end: what is interrupted leaves `path` as it was.

    Raises UsageError for a path that cannot become a file, NotReady where the disk refuses.
    """
    target = _meant(path)
    _check(target, path, overwrite=overwrite)
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _check(target, path, overwrite=overwrite)
        beside.replace(target)
    except OSError as error:
        raise NotReady(
            f"{path} cannot be written ({error.strerror}); nothing was left under that name"
        ) from error
    finally:
        beside.unlink(missing_ok=True)


def _meant(path: Path) -> Path:
    """The file that a link stands for, not the link."""
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise UsageError(f"-o {path} leads nowhere ({error})") from error


def _check(target: Path, path: Path, *, overwrite: bool) -> None:
    if not target.parent.is_dir():
        raise UsageError(f"-o {path}: there is no directory {target.parent}")
    if target.exists() and not target.is_file():
        raise UsageError(f"-o {path} is no file; without -o the result goes to stdout")
    if target.exists() and not overwrite:
        raise UsageError(f"{path} is there already; --overwrite replaces it")
