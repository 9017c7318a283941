"""A result that goes to a file: there when it is whole, and not before."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from autopack.clock import Clock
from autopack.errors import NotReady, UsageError


@contextmanager
def whole_file(path: Path, *, overwrite: bool, option: str = "-o") -> Iterator[IO[bytes]]:
    """Written beside `path` under another name, and renamed at the end: what is interrupted leaves `path` as it was.

    `option` is what named it. Raises UsageError for a path that cannot become a file, NotReady where the disk refuses.
    """
    target = _meant(path, option)
    # A name that nobody else has: another machine, or container, may write into this directory too.
    beside = target.with_name(f".autopack-{Clock().new_id()}.part")
    try:
        _check(target, path, option, overwrite=overwrite)
        with beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _check(target, path, option, overwrite=overwrite)
        beside.replace(target)
    except OSError as error:
        raise NotReady(
            f"{path} cannot be written ({error.strerror}); nothing was left under that name"
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink()


def _meant(path: Path, option: str) -> Path:
    """The file that a link stands for, not the link."""
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise UsageError(f"{option} {path} leads nowhere ({error})") from error


def _check(target: Path, path: Path, option: str, *, overwrite: bool) -> None:
    if not target.parent.is_dir():
        raise UsageError(f"{option} {path}: there is no directory {target.parent}")
    if target.exists() and not target.is_file():
        raise UsageError(f"{option} {path} is no file; without {option} the result goes to stdout")
    if target.exists() and not overwrite:
        raise UsageError(f"{path} is there already; --overwrite replaces it")
