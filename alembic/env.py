"""Runs the revisions inside the transaction that `autopack.db.migrate` opened; imports nothing of the application.

Started by the `alembic` program itself (to write a revision, or to check), it takes a connection to
`-x url=...`, so that the program can never touch a database by a default.
"""

from alembic import context
from sqlalchemy import Connection, create_engine


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=context.config.attributes.get("metadata"),
        render_as_batch=connection.dialect.name == "sqlite",
        # One transaction for everything, DDL included: a migration that dies half-way leaves the old schema.
        transactional_ddl=True,
        transaction_per_migration=False,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    url = context.get_x_argument(as_dictionary=True).get("url")
    if not url:
        raise SystemExit(
            "name a scratch database: alembic -x url=sqlite:///scratch.db ... (to migrate, use `autopack migrate`)"
        )
    with create_engine(url).begin() as scratch:
        run(scratch)
