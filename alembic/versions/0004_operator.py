"""What a person at the operator's seat sees and changes: the step of an attempt and its diff, a run's concurrency and
model, a phase after which the run pauses, and events that are of no run.

Columns are added in place, so they have no CHECK constraints: a table that is rebuilt on SQLite loses those it has.
`events` has none, and is rebuilt.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
MAY_LOSE_ROWS: tuple[str, ...] = ()

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("runs", sa.Column("concurrency", NUMBER, nullable=True))
    op.add_column("runs", sa.Column("builder_model", sa.String(length=200), nullable=True))
    op.add_column("phases", sa.Column("pause_after", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("attempts", sa.Column("step", sa.String(length=200), nullable=True))
    op.add_column("attempts", sa.Column("diff", sa.Text(), nullable=True))
    with op.batch_alter_table("events") as batch:
        batch.alter_column("run_id", existing_type=sa.String(length=200), nullable=True)
    # What happened since a moment, over all runs.
    op.create_index("ix_events_created_at", "events", ["created_at"], unique=False)


def downgrade() -> None:
    raise NotImplementedError("restore the backup that `autopack migrate` made")
