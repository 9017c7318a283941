"""Which database a URL means: SQLite file or PostgreSQL, as an absolute location that can be shown."""

from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from autopack.errors import DatabaseRefused


@dataclass(frozen=True, kw_only=True)
class Location:
    """`path` is absolute with symlinks resolved, on SQLite only. `masked` never holds a password."""

    url: URL = field(repr=False)
    path: Path | None = None

    @property
    def masked(self) -> str:
        return masked(self.url)

    @property
    def dialect(self) -> str:
        return "sqlite" if self.path else "postgresql"


def masked(url: URL) -> str:
    """The URL without its password, wherever it stands."""
    if "password" in url.query:
        url = url.update_query_dict({"password": "***"})
    return url.render_as_string(hide_password=True)


def locate(url: str, directory: Path) -> Location:
    """The location that `url` means; a relative SQLite path starts at `directory`. Raises DatabaseRefused."""
    try:
        parsed = make_url(url.strip())
        backend = parsed.get_backend_name()
    except (ArgumentError, ValueError) as error:
        raise DatabaseRefused(
            "the database URL cannot be read; write sqlite:///FILE or postgresql://USER@HOST/NAME"
        ) from error
    if backend == "sqlite":
        return _locate_sqlite(parsed, directory)
    if backend in ("postgresql", "postgres"):
        if not parsed.database:
            raise DatabaseRefused(
                f"{parsed.render_as_string()} names no database; write postgresql://USER@HOST/NAME"
            )
        return Location(url=parsed.set(drivername="postgresql+psycopg"))
    raise DatabaseRefused(
        f"{backend!r} databases are not supported; write sqlite:///FILE or postgresql://USER@HOST/NAME"
    )


def _locate_sqlite(url: URL, directory: Path) -> Location:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise DatabaseRefused(f"{url} names no file; a queue must outlive its process. Write sqlite:///FILE")
    if url.query or url.host:
        raise DatabaseRefused(f"{url}: SQLite URLs take a path and nothing else; write sqlite:///FILE")
    if "\0" in url.database:
        raise DatabaseRefused("the database URL holds a NUL character")
    return located_file(directory / Path(url.database).expanduser())


def located_file(path: Path) -> Location:
    """A SQLite file by its path, whatever characters that has."""
    path = path.resolve()
    return Location(url=URL.create("sqlite", database=str(path)), path=path)
