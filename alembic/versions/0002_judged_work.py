"""What an attempt was judged by, what an approval is bound to, and the checks of a base, kept.

Columns are added in place. Batch mode would rebuild the tables on SQLite, and a rebuilt table has lost its CHECK
constraints: they are not reflected. So the new columns have none; the API takes nothing but their values.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
MAY_LOSE_ROWS: tuple[str, ...] = ()

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("phases", sa.Column("risk", sa.String(length=20), server_default="normal", nullable=False))
    op.add_column("phases", sa.Column("requeued_after", NUMBER, server_default="0", nullable=False))
    for name in ("policy_hash", "result_tree", "plan_hash", "inputs_hash"):
        op.add_column("attempts", sa.Column(name, sa.String(length=64), nullable=True))
    for name in ("plan", "changes"):
        op.add_column("attempts", sa.Column(name, sa.JSON(), nullable=True))
    op.add_column("approval_requests", sa.Column("checks_hash", sa.String(length=64), nullable=True))
    op.add_column(
        "approval_requests",
        sa.Column("on_timeout", sa.String(length=10), server_default="wait", nullable=False),
    )
    op.add_column("approval_requests", sa.Column("void_reason", sa.Text(), nullable=True))
    op.create_index("ix_approval_requests_due", "approval_requests", ["status", "timeout_at"], unique=False)
    op.create_table(
        "check_baselines",
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("base_commit", sa.String(length=64), nullable=False),
        sa.Column("checks_hash", sa.String(length=64), nullable=False),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_check_baselines_run_id_runs")),
        sa.PrimaryKeyConstraint("run_id", "base_commit", "checks_hash", name=op.f("pk_check_baselines")),
    )


def downgrade() -> None:
    raise NotImplementedError("restore the backup that `autopack migrate` made")
