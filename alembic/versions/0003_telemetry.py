"""Telemetry that stands by itself: rows that were adopted or merged have no attempt here; and daily caps, export
cursors, what an earlier database held and has no place here, and sessions of triage.

On SQLite the three telemetry tables are rebuilt. What they are now is written out below, because constraints are not
reflected and a rebuilt table would lose its CHECKs.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
MAY_LOSE_ROWS: tuple[str, ...] = ()

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)
ORIGIN = "origin IN ('local','merged','adopted')"


def upgrade() -> None:
    _usage_events()
    _estimation_events()
    _escalation_events()
    _daily()
    _beside()
    _triage()


def _usage_events() -> None:
    with op.batch_alter_table("llm_usage_events", copy_from=_usage_as_it_was()) as batch:
        batch.drop_constraint("fk_llm_usage_events_run_id_phase_id_phases", type_="foreignkey")
        for name, kind in (
            ("attempt_id", sa.String(length=32)), ("run_id", sa.String(length=200)), ("phase_id", sa.String(length=200)),
            ("ask", NUMBER), ("request_key", sa.String(length=64)), ("request_max_tokens", NUMBER),
        ):  # fmt: skip
            batch.alter_column(name, existing_type=kind, nullable=True)
        batch.alter_column(
            "role", existing_type=sa.String(length=20), type_=sa.String(length=40), existing_nullable=False
        )
        batch.add_column(sa.Column("total_tokens", NUMBER, nullable=True))
        _provenance(batch)
        batch.create_check_constraint(
            "ck_llm_usage_events_total", "total_tokens = input_tokens + output_tokens"
        )
        batch.create_check_constraint("ck_llm_usage_events_origin", ORIGIN)
        batch.create_check_constraint(
            "ck_llm_usage_events_local",
            "origin <> 'local' OR (attempt_id IS NOT NULL AND run_id IS NOT NULL AND phase_id IS NOT NULL "
            "AND ask IS NOT NULL AND request_key IS NOT NULL AND request_max_tokens IS NOT NULL)",
        )
    op.execute("UPDATE llm_usage_events SET total_tokens = input_tokens + output_tokens")


def _estimation_events() -> None:
    with op.batch_alter_table("token_estimation_v2_events", copy_from=_estimation_as_it_was()) as batch:
        batch.drop_constraint("fk_token_estimation_v2_events_call_id_llm_usage_events", type_="foreignkey")
        batch.drop_constraint("fk_token_estimation_v2_events_run_id_phase_id_phases", type_="foreignkey")
        batch.alter_column("features_json", existing_type=sa.JSON(), nullable=True)
        batch.add_column(sa.Column("base_output_tokens", sa.Float(), nullable=True))
        batch.add_column(sa.Column("reasoning_level", sa.String(length=20), nullable=True))
        batch.add_column(sa.Column("model_family", sa.String(length=80), nullable=True))
        batch.add_column(sa.Column("budget_source", sa.String(length=20), nullable=True))
        batch.add_column(sa.Column("target_rate", sa.Float(), nullable=True))
        batch.add_column(sa.Column("alpha", sa.Float(), nullable=True))
        batch.add_column(sa.Column("is_complete", sa.Boolean(), nullable=True))
        _provenance(batch)
        batch.create_check_constraint("ck_token_estimation_v2_events_origin", ORIGIN)
        batch.create_index("ix_token_estimation_v2_events_live", ["provider_mode", "timestamp", "event_id"])
        batch.create_index(
            "ix_token_estimation_v2_events_online",
            ["origin", "provider_mode", "budget_source", "target_rate", "is_complete", "truncated"],
        )
    op.execute(
        "UPDATE token_estimation_v2_events SET is_complete = (actual_output_tokens IS NOT NULL AND stop_reason IS NOT NULL)"
    )


def _escalation_events() -> None:
    with op.batch_alter_table("token_budget_escalation_events", copy_from=_escalation_as_it_was()) as batch:
        batch.drop_constraint(
            "fk_token_budget_escalation_events_call_id_llm_usage_events", type_="foreignkey"
        )
        batch.drop_constraint("fk_token_budget_escalation_events_run_id_phase_id_phases", type_="foreignkey")
        batch.create_unique_constraint("uq_token_budget_escalation_events_call_id", ["call_id"])
        _provenance(batch)
        batch.create_check_constraint("ck_token_budget_escalation_events_origin", ORIGIN)


def _provenance(batch: sa.Any) -> None:
    batch.add_column(sa.Column("origin", sa.String(length=20), server_default="local", nullable=False))
    batch.add_column(sa.Column("source_database_id", sa.String(length=80), nullable=True))
    batch.add_column(sa.Column("source_row_id", NUMBER, nullable=True))


def _daily() -> None:
    op.create_table(
        "daily_caps",
        sa.Column("singleton", NUMBER, autoincrement=False, nullable=False),
        sa.Column("token_cap", NUMBER, nullable=True),
        sa.Column("cost_cap_usd", sa.Float(), nullable=True),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("updated_by", sa.String(length=400), nullable=False),
        sa.CheckConstraint("singleton = 1", name=op.f("ck_daily_caps_one_row")),
        sa.PrimaryKeyConstraint("singleton", name=op.f("pk_daily_caps")),
    )
    op.create_table(
        "daily_usage",
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("tokens_used", NUMBER, server_default="0", nullable=False),
        sa.Column("tokens_reserved", NUMBER, server_default="0", nullable=False),
        sa.Column("cost_usd", sa.Float(), server_default="0", nullable=False),
        sa.Column("cost_reserved_usd", sa.Float(), server_default="0", nullable=False),
        sa.CheckConstraint("tokens_used >= 0 AND tokens_reserved >= 0", name=op.f("ck_daily_usage_tokens")),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_daily_usage")),
    )
    # What was spent and is set aside already counts: a call that is under way gives back what it holds.
    sqlite = op.get_bind().dialect.name == "sqlite"
    day = "substr(created_at, 1, 10)" if sqlite else "to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')"
    op.execute(
        "INSERT INTO daily_usage (day, tokens_used, tokens_reserved, cost_usd, cost_reserved_usd) "
        f"SELECT {day}, coalesce(sum(total_tokens), 0), "
        "coalesce(sum(CASE WHEN status = 'reserved' THEN reserved_tokens END), 0), coalesce(sum(cost_usd), 0), "
        "coalesce(sum(CASE WHEN status = 'reserved' THEN reserved_cost_usd END), 0) "
        f"FROM llm_usage_events WHERE provider_mode = 'live' GROUP BY {day}"
    )


def _beside() -> None:
    op.create_table(
        "export_cursors",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("position", NUMBER, nullable=False),
        sa.Column("mapping_version", sa.String(length=40), nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_export_cursors")),
    )
    op.create_table(
        "legacy_rows",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("source", sa.String(length=80), nullable=False),
        sa.Column("table_name", sa.String(length=200), nullable=False),
        sa.Column("row_key", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("row", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_legacy_rows")),
    )
    op.create_index("ix_legacy_rows_table_name", "legacy_rows", ["table_name"], unique=False)


def _triage() -> None:
    op.create_table(
        "triage_sessions",
        sa.Column("session_id", sa.String(length=32), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_triage_sessions")),
    )
    op.create_table(
        "triage_items",
        sa.Column("session_id", sa.String(length=32), nullable=False),
        sa.Column("position", NUMBER, autoincrement=False, nullable=False),
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("phase_id", sa.String(length=200), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["triage_sessions.session_id"],
            name=op.f("fk_triage_items_session_id_triage_sessions"),
        ),
        sa.ForeignKeyConstraint(
            ["run_id", "phase_id"],
            ["phases.run_id", "phases.phase_id"],
            name=op.f("fk_triage_items_run_id_phase_id_phases"),
        ),
        sa.PrimaryKeyConstraint("session_id", "position", name=op.f("pk_triage_items")),
    )


def _usage_as_it_was() -> sa.Table:
    return sa.Table(
        "llm_usage_events",
        sa.MetaData(),
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("call_id", sa.String(length=32), nullable=False),
        sa.Column("attempt_id", sa.String(length=32), nullable=False),
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("phase_id", sa.String(length=200), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("ask", NUMBER, nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("provider", sa.String(length=80), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("provider_mode", sa.String(length=20), nullable=False),
        sa.Column("request_key", sa.String(length=64), nullable=False),
        sa.Column("request_max_tokens", NUMBER, nullable=False),
        sa.Column("reserved_tokens", NUMBER, nullable=False),
        sa.Column("reserved_cost_usd", sa.Float(), nullable=True),
        sa.Column("input_tokens", NUMBER, nullable=True),
        sa.Column("output_tokens", NUMBER, nullable=True),
        sa.Column("cache_read_input_tokens", NUMBER, nullable=True),
        sa.Column("cache_write_input_tokens", NUMBER, nullable=True),
        sa.Column("reasoning_output_tokens", NUMBER, nullable=True),
        sa.Column("finish_reason", sa.String(length=40), nullable=True),
        sa.Column("is_truncated", sa.Boolean(), nullable=True),
        sa.Column("is_complete", sa.Boolean(), nullable=True),
        sa.Column("cost_usd", sa.Float(), nullable=True),
        sa.Column("cost_source", sa.String(length=40), nullable=True),
        sa.Column("price_table_version", sa.String(length=40), nullable=True),
        sa.Column("usage_source", sa.String(length=20), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("response_id", sa.String(length=200), nullable=True),
        sa.Column("retries", NUMBER, server_default="0", nullable=False),
        sa.Column("duration_seconds", sa.Float(), nullable=True),
        sa.Column("first_token_seconds", sa.Float(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("completed_at", MOMENT, nullable=True),
        sa.CheckConstraint(
            "status IN ('reserved','answered','failed','abandoned')", name="ck_llm_usage_events_status"
        ),
        sa.CheckConstraint(
            "cache_read_input_tokens + cache_write_input_tokens <= input_tokens",
            name="ck_llm_usage_events_input_parts",
        ),
        sa.CheckConstraint("cost_usd >= 0", name="ck_llm_usage_events_cost"),
        sa.CheckConstraint("input_tokens >= 0 AND output_tokens >= 0", name="ck_llm_usage_events_tokens"),
        sa.CheckConstraint(
            "reasoning_output_tokens <= output_tokens", name="ck_llm_usage_events_output_parts"
        ),
        sa.ForeignKeyConstraint(
            ["attempt_id"], ["attempts.id"], name="fk_llm_usage_events_attempt_id_attempts"
        ),
        sa.ForeignKeyConstraint(
            ["run_id", "phase_id"],
            ["phases.run_id", "phases.phase_id"],
            name="fk_llm_usage_events_run_id_phase_id_phases",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_llm_usage_events"),
        sa.UniqueConstraint("call_id", name="uq_llm_usage_events_call_id"),
        sa.Index("ix_llm_usage_events_attempt_id", "attempt_id"),
        sa.Index("ix_llm_usage_events_created_at", "created_at"),
        sa.Index("ix_llm_usage_events_run_id", "run_id", "phase_id", "role", "status"),
    )


def _estimation_as_it_was() -> sa.Table:
    return sa.Table(
        "token_estimation_v2_events",
        sa.MetaData(),
        sa.Column("event_id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("call_id", sa.String(length=32), nullable=False),
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("phase_id", sa.String(length=200), nullable=False),
        sa.Column("timestamp", MOMENT, nullable=False),
        sa.Column("category", sa.String(length=80), nullable=False),
        sa.Column("complexity", sa.String(length=20), nullable=False),
        sa.Column("deliverable_count", NUMBER, nullable=False),
        sa.Column("deliverables_json", sa.JSON(), nullable=False),
        sa.Column("features_json", sa.JSON(), nullable=False),
        sa.Column("estimator_version", sa.String(length=80), nullable=False),
        sa.Column("predicted_output_tokens", NUMBER, nullable=False),
        sa.Column("selected_budget", NUMBER, nullable=False),
        sa.Column("actual_output_tokens", NUMBER, nullable=True),
        sa.Column("success", sa.Boolean(), nullable=True),
        sa.Column("truncated", sa.Boolean(), nullable=False),
        sa.Column("stop_reason", sa.String(length=40), nullable=True),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("provider_mode", sa.String(length=20), nullable=False),
        sa.ForeignKeyConstraint(
            ["call_id"],
            ["llm_usage_events.call_id"],
            name="fk_token_estimation_v2_events_call_id_llm_usage_events",
        ),
        sa.ForeignKeyConstraint(
            ["run_id", "phase_id"],
            ["phases.run_id", "phases.phase_id"],
            name="fk_token_estimation_v2_events_run_id_phase_id_phases",
        ),
        sa.PrimaryKeyConstraint("event_id", name="pk_token_estimation_v2_events"),
        sa.UniqueConstraint("call_id", name="uq_token_estimation_v2_events_call_id"),
        sa.Index("ix_token_estimation_v2_events_run_id", "run_id", "phase_id"),
    )


def _escalation_as_it_was() -> sa.Table:
    return sa.Table(
        "token_budget_escalation_events",
        sa.MetaData(),
        sa.Column("event_id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("call_id", sa.String(length=32), nullable=False),
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("phase_id", sa.String(length=200), nullable=False),
        sa.Column("timestamp", MOMENT, nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("from_budget", NUMBER, nullable=False),
        sa.Column("to_budget", NUMBER, nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(
            ["call_id"],
            ["llm_usage_events.call_id"],
            name="fk_token_budget_escalation_events_call_id_llm_usage_events",
        ),
        sa.ForeignKeyConstraint(
            ["run_id", "phase_id"],
            ["phases.run_id", "phases.phase_id"],
            name="fk_token_budget_escalation_events_run_id_phase_id_phases",
        ),
        sa.PrimaryKeyConstraint("event_id", name="pk_token_budget_escalation_events"),
        sa.Index("ix_token_budget_escalation_events_run_id", "run_id", "phase_id"),
    )


def downgrade() -> None:
    raise NotImplementedError("restore the backup that `autopack migrate` made")
