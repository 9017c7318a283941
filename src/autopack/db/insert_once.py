"""A row that is made unless it is there already, whoever else makes it at the same moment."""

from typing import Any

from sqlalchemy import Insert
from sqlalchemy.orm import Session

from autopack.db.columns import Base


def insert_once(session: Session, table: type[Base], **values: Any) -> Insert:
    if session.get_bind().dialect.name == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table).values(**values).on_conflict_do_nothing()
    # Heavy: it takes all of PostgreSQL's drivers and types with it, which a database in a file can do without.
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table).values(**values).on_conflict_do_nothing()
