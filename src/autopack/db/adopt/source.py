"""An earlier database, read. The file itself is only ever copied: whatever SQLite does to open it, it does to the copy."""

import hashlib
import json
import re
import sqlite3
import string
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from autopack.db.adopt.values import Value, as_json
from autopack.errors import DatabaseRefused

_SIDECARS = ("-wal", "-journal")
_CHUNK_BYTES = 1 << 20
# Rows that break a rule of their table can be read all the same; anything else means that rows may be missing.
_DIRT = re.compile(r"NULL value in |CHECK constraint failed in |(TEXT|NUMERIC|non-\w+) value in |ok$")
_EARLIER_RUNS = frozenset({"safety_profile", "run_scope", "token_cap", "max_phases", "goal_anchor", "tokens_used"})  # fmt: skip
_EARLIER_PHASES = frozenset({"tier_id", "phase_index", "task_category", "builder_attempts", "description"})
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_ROWID = ("rowid", "_rowid_", "oid")
_UNCHANGED = "Nothing was changed."
_DAMAGED = "Nothing was changed. `sqlite3 FILE .recover | sqlite3 NEW` saves what can be saved; then adopt the new file."


@dataclass(frozen=True, kw_only=True)
class Row:
    """`number` is the row's number in its table (SQLite's rowid). Names of columns are folded."""

    number: int
    values: dict[str, Value]

    def get(self, *names: str) -> Value:
        """The first of these columns that is there and not NULL."""
        for name in names:
            if (found := self.values.get(name)) is not None:
                return found
        return None


@dataclass(frozen=True, kw_only=True)
class Definition:
    """What made a table, view, index or trigger; `can_be_read` says whether it holds rows that are its own."""

    kind: str
    name: str
    sql: str | None

    @property
    def can_be_read(self) -> bool:
        return self.kind == "table" and not (self.sql or "").upper().startswith("CREATE VIRTUAL")


class Source:
    """A copy that is ours to read. `label` names the content: the same file has the same label."""

    def __init__(self, connection: sqlite3.Connection, path: Path, label: str) -> None:
        self.path, self.label = path, label
        self._connection = connection
        self.definitions = tuple(
            Definition(kind=str(kind), name=str(name), sql=sql)
            for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY rowid")
        )  # fmt: skip
        self._tables = {folded(each.name): each.name for each in self.definitions if each.can_be_read}

    @property
    def tables(self) -> tuple[str, ...]:
        """Names are folded, as in the whole of this package."""
        return tuple(self._tables)

    @cached_property
    def lineage(self) -> str:
        """Names the database in all its states, by the first run that it was given; else this very content."""
        for row in self.rows("runs"):
            first = {name: row.get(name) for name in ("id", "created_at")}
            if None not in first.values():
                return _label(hashlib.sha256(json.dumps(as_json(first)).encode()).hexdigest())
        return self.label

    def columns(self, table: str) -> frozenset[str]:
        found = self._connection.execute(f"PRAGMA table_xinfo({_quoted(self._tables[table])})")
        return frozenset(folded(str(row[1])) for row in found)

    def count(self, table: str) -> int:
        # NOT INDEXED: an index may lack rows that the table holds.
        rows = self._connection.execute(f"SELECT count(*) FROM {_quoted(self._tables[table])} NOT INDEXED")
        return int(rows.fetchone()[0])

    def named(self, table: str, column: str) -> Iterator[Value]:
        """Each value of the column once."""
        if table in self._tables and column in self.columns(table):
            name = _quoted(self._tables[table])
            for (value,) in self._connection.execute(
                f"SELECT DISTINCT {_quoted(column)} COLLATE BINARY FROM {name} NOT INDEXED"
            ):
                yield value

    def rows(self, table: str, *, by: str | None = None) -> Iterator[Row]:
        """Every row, one at a time; by `by`, reals and blobs come first, and all others of one text together."""
        if table not in self._tables:
            return
        name = _quoted(self._tables[table])
        number = self._number_of(table)
        order = _order(_quoted(by)) if by is not None and by in self.columns(table) else []
        order += [number] if number else []
        sorting = f" ORDER BY {', '.join(order)}" if order else ""
        cursor = self._connection.execute(f"SELECT {number or 0}, * FROM {name} NOT INDEXED{sorting}")
        columns = [folded(str(column[0])) for column in cursor.description[1:]]
        if len(set(columns)) != len(columns):
            raise DatabaseRefused(
                f"{self.path}: values of {table} would be lost, for two columns have one name. {_UNCHANGED}"
            )
        for position, (found, *values) in enumerate(cursor, start=1):
            yield Row(number=found if number else position, values=dict(zip(columns, values, strict=True)))

    def _number_of(self, table: str) -> str | None:
        """The word for SQLite's own number of a row: where a column has that name, the word means the column."""
        columns = self.columns(table)
        word = next((each for each in _ROWID if each not in columns), None)
        with suppress(sqlite3.OperationalError):
            self._connection.execute(f"SELECT {word} FROM {_quoted(self._tables[table])} LIMIT 0")
            return word
        return None


def folded(name: str) -> str:
    """In lower case as SQLite has it: to it, letters beyond ASCII differ from their capitals."""
    return name.translate(_LOWER)


def _order(by: str) -> list[str]:
    # Two reals may be one text, and a real or a blob the same id as a text that sorts elsewhere.
    return [f"typeof({by}) NOT IN ('real', 'blob')", f"CAST({by} AS TEXT) COLLATE BINARY"]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def open_source(path: Path, scratch: Path) -> Iterator[Source]:
    """The earlier database in `path`, copied into the directory `scratch`. Raises DatabaseRefused with words."""
    label = _label(copy(path, scratch / "original.db"))
    try:
        with closing(_connect(scratch / "original.db")) as connection:
            _refuse_damaged(connection, path)
            yield _earlier(connection, path, label)
    except sqlite3.DatabaseError as error:
        raise DatabaseRefused(f"{path} cannot be read to its end ({error}). {_DAMAGED}") from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, isolation_level=None)
    connection.text_factory = _text
    connection.execute("PRAGMA trusted_schema=OFF")
    return connection


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _refuse_damaged(connection: sqlite3.Connection, path: Path) -> None:
    for (said,) in connection.execute("PRAGMA quick_check"):
        if not _DIRT.match(said):
            raise DatabaseRefused(f"{path} is damaged ({said.splitlines()[0]}). {_DAMAGED}")


def _earlier(connection: sqlite3.Connection, path: Path, label: str) -> Source:
    source = Source(connection, path, label)
    if is_earlier(source):
        _refuse_unreadable_names(source)
        return source
    if "database_identity" in source.tables:
        raise DatabaseRefused(
            f"{path} is a database of this Autopack, not of the earlier one: name it with DATABASE_URL and run "
            "`autopack migrate`. Nothing was changed."
        )
    names = ", ".join(sorted(source.tables)[:6]) or "no tables"
    raise DatabaseRefused(
        f"{path} is no database of the earlier Autopack ({names}): it lacks the tables `runs` and `phases` with the "
        "columns that those had. Nothing was changed."
    )


def _refuse_unreadable_names(source: Source) -> None:
    """SQLite lets a name be any bytes, and takes none back that are no text."""
    names = [f"{each.kind} {each.name}" for each in source.definitions]
    if all(_is_text(name) for name in names):
        names = [f"column {column} of {table}" for table in source.tables for column in source.columns(table)]
    for name in names:
        if not _is_text(name):
            shown = name.encode(errors="backslashreplace").decode()
            raise DatabaseRefused(
                f"{source.path}: the name of {shown} is no text (UTF-8). {_UNCHANGED} Give it another name in a copy of "
                "the file, and adopt that."
            )


def _is_text(name: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in name)


def is_earlier(source: Source) -> bool:
    """By its tables and columns: any of the family has runs and phases, and none has our identity."""
    if "database_identity" in source.tables or not {"runs", "phases"} <= set(source.tables):
        return False
    runs, phases = source.columns("runs"), source.columns("phases")
    named = {"id", "state"} <= runs and {"run_id", "phase_id", "state"} <= phases
    return named and "plan_hash" not in runs and bool(runs & _EARLIER_RUNS) and bool(phases & _EARLIER_PHASES)


def looks_earlier(path: Path) -> bool:
    """Whether the file is worth the try; a look that writes nothing, and no proof that it can be read to its end."""
    found = _glance(path)
    if found is None and path.with_name(path.name + "-wal").exists():
        # Its tables may be in the log alone, and SQLite reads that only where it may write beside it.
        with tempfile.TemporaryDirectory() as scratch, suppress(DatabaseRefused):
            copy(path, Path(scratch) / path.name)
            with suppress(sqlite3.DatabaseError), closing(_connect(Path(scratch) / path.name)) as connection:
                found = is_earlier(Source(connection, path, ""))
    return bool(found)


def _glance(path: Path) -> bool | None:
    """At the file alone; None where that shows no table."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            connection.text_factory = _text
            source = Source(connection, path, "")
            return is_earlier(source) if source.tables else None
    except sqlite3.DatabaseError:
        return None


def label_of(path: Path) -> str:
    """What names the content of an earlier database."""
    refuse_no_database(path)
    return _label(_digest(path, None))


def _label(digest: str) -> str:
    return f"legacy:{digest[:16]}"


def copy(path: Path, target: Path) -> str:
    """Copies the file and its journals, and returns their SHA-256. Refuses a file that changes meanwhile."""
    refuse_no_database(path)
    try:
        copied = _digest(path, target)
        again = _digest(path, None)
    except OSError as error:
        raise DatabaseRefused(
            f"{path} cannot be copied: {error.strerror or error}. Nothing was changed."
        ) from error
    if copied != again:
        raise DatabaseRefused(
            f"{path} was written to while it was copied. Stop what uses it, then adopt it again."
        )
    return copied


def refuse_no_database(path: Path) -> None:
    if not path.exists():
        raise DatabaseRefused(f"there is no file {path}; name the earlier database that is to be adopted")
    if not path.is_file():
        raise DatabaseRefused(f"{path} is not a file; name the earlier database that is to be adopted")
    try:
        with path.open("rb") as opened:
            start = opened.read(16)
    except OSError as error:
        raise DatabaseRefused(f"{path} cannot be read: {error.strerror}") from error
    if not start:
        raise DatabaseRefused(f"{path} is empty: there is nothing to adopt")
    if start != b"SQLite format 3\0":
        raise DatabaseRefused(f"{path} is not a SQLite database: there is nothing to adopt")


def _digest(path: Path, target: Path | None) -> str:
    """Of the file and of the journals beside it; with `target`, copies them on the way."""
    digest = hashlib.sha256()
    for suffix in ("", *_SIDECARS):
        part = path.with_name(path.name + suffix)
        if suffix and not part.exists():
            continue
        copied = target.with_name(target.name + suffix).open("wb") if target else nullcontext()
        with part.open("rb") as opened, copied as out:
            while chunk := opened.read(_CHUNK_BYTES):
                digest.update(chunk)
                if out is not None:
                    out.write(chunk)
    return digest.hexdigest()
