"""The complete schema, and the row that says which database this is."""

from datetime import UTC, datetime
from uuid import uuid4

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
MAY_LOSE_ROWS: tuple[str, ...] = ()

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "database_identity",
        sa.Column("singleton", NUMBER, autoincrement=False, nullable=False),
        sa.Column("database_id", sa.String(length=32), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("epoch", NUMBER, nullable=False),
        sa.Column("nonce", sa.Text(), nullable=True),
        sa.CheckConstraint("singleton = 1", name=op.f("ck_database_identity_one_row")),
        sa.PrimaryKeyConstraint("singleton", name=op.f("pk_database_identity")),
    )
    op.create_table(
        "estimator_versions",
        sa.Column("version", sa.String(length=80), nullable=False),
        sa.Column("parent", sa.String(length=80), nullable=True),
        sa.Column("coefficients", sa.JSON(), nullable=False),
        sa.Column("data_hash", sa.String(length=64), nullable=True),
        sa.Column("metrics", sa.JSON(), nullable=True),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["parent"],
            ["estimator_versions.version"],
            name=op.f("fk_estimator_versions_parent_estimator_versions"),
        ),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_estimator_versions")),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("goal", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=40), nullable=False),
        sa.Column("state_cause", sa.String(length=40), nullable=True),
        sa.Column("state_reason", sa.Text(), nullable=True),
        sa.Column("plan_hash", sa.String(length=64), nullable=False),
        sa.Column("safety_profile", sa.String(length=40), nullable=False),
        sa.Column("token_cap", NUMBER, nullable=True),
        sa.Column("cost_cap_usd", sa.Float(), nullable=True),
        sa.Column("max_duration_minutes", NUMBER, nullable=True),
        sa.Column("max_phases", NUMBER, nullable=True),
        sa.Column("phases_started", NUMBER, server_default="0", nullable=False),
        sa.Column("tokens_used", NUMBER, server_default="0", nullable=False),
        sa.Column("tokens_reserved", NUMBER, server_default="0", nullable=False),
        sa.Column("cost_usd", sa.Float(), server_default="0", nullable=False),
        sa.Column("cost_reserved_usd", sa.Float(), server_default="0", nullable=False),
        sa.Column("calls_of_unknown_usage", NUMBER, server_default="0", nullable=False),
        sa.Column("base_commit", sa.String(length=64), nullable=True),
        sa.Column("head_commit", sa.String(length=64), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("started_at", MOMENT, nullable=True),
        sa.Column("completed_at", MOMENT, nullable=True),
        sa.CheckConstraint(
            "state IN ('QUEUED','RUNNING','PAUSED','DONE_SUCCESS','DONE_FAILED_BUDGET_EXHAUSTED','DONE_FAILED_POLICY_VIOLATION','DONE_FAILED_REQUIRES_HUMAN_REVIEW','DONE_FAILED_ENVIRONMENT','CANCELLED')",
            name=op.f("ck_runs_state"),
        ),
        sa.CheckConstraint("tokens_used >= 0 AND tokens_reserved >= 0", name=op.f("ck_runs_tokens")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
    )
    op.create_table(
        "events",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("phase_id", sa.String(length=200), nullable=True),
        sa.Column("attempt_id", sa.String(length=32), nullable=True),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("actor", sa.String(length=400), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_events_run_id_runs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index("ix_events_run_id", "events", ["run_id", "id"], unique=False)
    op.create_table(
        "tiers",
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("tier_id", sa.String(length=200), nullable=False),
        sa.Column("tier_index", NUMBER, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_tiers_run_id_runs")),
        sa.PrimaryKeyConstraint("run_id", "tier_id", name=op.f("pk_tiers")),
        sa.UniqueConstraint("run_id", "tier_index", name=op.f("uq_tiers_run_id_tier_index")),
    )
    op.create_table(
        "phases",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("phase_id", sa.String(length=200), nullable=False),
        sa.Column("tier_id", sa.String(length=200), nullable=False),
        sa.Column("tier_index", NUMBER, nullable=False),
        sa.Column("phase_index", NUMBER, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("goal", sa.Text(), nullable=False),
        sa.Column("task_category", sa.String(length=80), nullable=False),
        sa.Column("complexity", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("priority", NUMBER, nullable=False),
        sa.Column("priority_rank", NUMBER, nullable=False),
        sa.Column("scope", sa.JSON(), nullable=False),
        sa.Column("attempts", NUMBER, server_default="0", nullable=False),
        sa.Column("max_attempts", NUMBER, nullable=False),
        sa.Column("not_before", MOMENT, nullable=True),
        sa.Column("failure_kind", sa.String(length=40), nullable=True),
        sa.Column("failure_reason", sa.Text(), nullable=True),
        sa.Column("result_commit", sa.String(length=64), nullable=True),
        sa.Column("tokens_used", NUMBER, server_default="0", nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("started_at", MOMENT, nullable=True),
        sa.Column("completed_at", MOMENT, nullable=True),
        sa.CheckConstraint(
            "state IN ('QUEUED','EXECUTING','GATE','COMPLETE','FAILED','SKIPPED','CANCELLED')",
            name=op.f("ck_phases_state"),
        ),
        sa.CheckConstraint("attempts >= 0 AND max_attempts >= 1", name=op.f("ck_phases_attempts")),
        sa.ForeignKeyConstraint(
            ["run_id", "tier_id"],
            ["tiers.run_id", "tiers.tier_id"],
            name=op.f("fk_phases_run_id_tier_id_tiers"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_phases")),
        sa.UniqueConstraint("run_id", "phase_id", name=op.f("uq_phases_run_id_phase_id")),
    )
    op.create_index(
        "ix_phases_due",
        "phases",
        ["run_id", "tier_index", "state", "priority_rank", "phase_index"],
        unique=False,
    )
    op.create_index("ix_phases_run_id_state", "phases", ["run_id", "state"], unique=False)
    op.create_table(
        "attempts",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("phase_id", sa.String(length=200), nullable=False),
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("worker", sa.String(length=400), nullable=False),
        sa.Column("lease_token", sa.String(length=64), nullable=False),
        sa.Column("lease_expires_at", MOMENT, nullable=False),
        sa.Column("outcome", sa.String(length=20), nullable=True),
        sa.Column("failure_kind", sa.String(length=40), nullable=True),
        sa.Column("failure_signature", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("base_commit", sa.String(length=64), nullable=True),
        sa.Column("result_commit", sa.String(length=64), nullable=True),
        sa.Column("check_report", sa.JSON(), nullable=True),
        sa.Column("review", sa.JSON(), nullable=True),
        sa.Column("verdict", sa.JSON(), nullable=True),
        sa.Column("timings", sa.JSON(), nullable=True),
        sa.Column("claimed_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(
            ["run_id", "phase_id"],
            ["phases.run_id", "phases.phase_id"],
            name=op.f("fk_attempts_run_id_phase_id_phases"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
        sa.UniqueConstraint("lease_token", name=op.f("uq_attempts_lease_token")),
        sa.UniqueConstraint("run_id", "phase_id", "number", name=op.f("uq_attempts_run_id_phase_id_number")),
    )
    op.create_index("ix_attempts_open", "attempts", ["run_id", "outcome", "lease_expires_at"], unique=False)
    op.create_table(
        "phase_dependencies",
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("phase_id", sa.String(length=200), nullable=False),
        sa.Column("depends_on", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id", "depends_on"],
            ["phases.run_id", "phases.phase_id"],
            name=op.f("fk_phase_dependencies_run_id_depends_on_phases"),
        ),
        sa.ForeignKeyConstraint(
            ["run_id", "phase_id"],
            ["phases.run_id", "phases.phase_id"],
            name=op.f("fk_phase_dependencies_run_id_phase_id_phases"),
        ),
        sa.PrimaryKeyConstraint("run_id", "phase_id", "depends_on", name=op.f("pk_phase_dependencies")),
    )
    op.create_table(
        "approval_requests",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("phase_id", sa.String(length=200), nullable=False),
        sa.Column("attempt_id", sa.String(length=32), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("diff", sa.Text(), nullable=False),
        sa.Column("diff_hash", sa.String(length=64), nullable=False),
        sa.Column("base_commit", sa.String(length=64), nullable=False),
        sa.Column("policy_hash", sa.String(length=64), nullable=True),
        sa.Column("requested_at", MOMENT, nullable=False),
        sa.Column("timeout_at", MOMENT, nullable=True),
        sa.Column("responded_at", MOMENT, nullable=True),
        sa.Column("response_method", sa.String(length=40), nullable=True),
        sa.Column("responded_by", sa.String(length=200), nullable=True),
        sa.Column("response_reason", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "status IN ('pending','approved','rejected','expired','void','used')",
            name=op.f("ck_approval_requests_status"),
        ),
        sa.ForeignKeyConstraint(
            ["attempt_id"], ["attempts.id"], name=op.f("fk_approval_requests_attempt_id_attempts")
        ),
        sa.ForeignKeyConstraint(
            ["run_id", "phase_id"],
            ["phases.run_id", "phases.phase_id"],
            name=op.f("fk_approval_requests_run_id_phase_id_phases"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval_requests")),
    )
    op.create_index(
        "ix_approval_requests_run_id", "approval_requests", ["run_id", "phase_id", "status"], unique=False
    )
    op.create_table(
        "llm_usage_events",
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
            "status IN ('reserved','answered','failed','abandoned')", name=op.f("ck_llm_usage_events_status")
        ),
        sa.CheckConstraint(
            "cache_read_input_tokens + cache_write_input_tokens <= input_tokens",
            name=op.f("ck_llm_usage_events_input_parts"),
        ),
        sa.CheckConstraint("cost_usd >= 0", name=op.f("ck_llm_usage_events_cost")),
        sa.CheckConstraint(
            "input_tokens >= 0 AND output_tokens >= 0", name=op.f("ck_llm_usage_events_tokens")
        ),
        sa.CheckConstraint(
            "reasoning_output_tokens <= output_tokens", name=op.f("ck_llm_usage_events_output_parts")
        ),
        sa.ForeignKeyConstraint(
            ["attempt_id"], ["attempts.id"], name=op.f("fk_llm_usage_events_attempt_id_attempts")
        ),
        sa.ForeignKeyConstraint(
            ["run_id", "phase_id"],
            ["phases.run_id", "phases.phase_id"],
            name=op.f("fk_llm_usage_events_run_id_phase_id_phases"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_llm_usage_events")),
        sa.UniqueConstraint("call_id", name=op.f("uq_llm_usage_events_call_id")),
    )
    op.create_index("ix_llm_usage_events_attempt_id", "llm_usage_events", ["attempt_id"], unique=False)
    op.create_index("ix_llm_usage_events_created_at", "llm_usage_events", ["created_at"], unique=False)
    op.create_index(
        "ix_llm_usage_events_run_id",
        "llm_usage_events",
        ["run_id", "phase_id", "role", "status"],
        unique=False,
    )
    op.create_table(
        "llm_responses",
        sa.Column("call_id", sa.String(length=32), nullable=False),
        sa.Column("attempt_id", sa.String(length=32), nullable=False),
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("phase_id", sa.String(length=200), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("request_key", sa.String(length=64), nullable=False),
        sa.Column("request_max_tokens", NUMBER, nullable=False),
        sa.Column("completion", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["attempt_id"], ["attempts.id"], name=op.f("fk_llm_responses_attempt_id_attempts")
        ),
        sa.ForeignKeyConstraint(
            ["call_id"], ["llm_usage_events.call_id"], name=op.f("fk_llm_responses_call_id_llm_usage_events")
        ),
        sa.ForeignKeyConstraint(
            ["run_id", "phase_id"],
            ["phases.run_id", "phases.phase_id"],
            name=op.f("fk_llm_responses_run_id_phase_id_phases"),
        ),
        sa.PrimaryKeyConstraint("call_id", name=op.f("pk_llm_responses")),
    )
    op.create_index("ix_llm_responses_attempt_id", "llm_responses", ["attempt_id"], unique=False)
    op.create_index(
        "ix_llm_responses_request",
        "llm_responses",
        ["run_id", "phase_id", "role", "request_key"],
        unique=False,
    )
    op.create_table(
        "token_budget_escalation_events",
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
            name=op.f("fk_token_budget_escalation_events_call_id_llm_usage_events"),
        ),
        sa.ForeignKeyConstraint(
            ["run_id", "phase_id"],
            ["phases.run_id", "phases.phase_id"],
            name=op.f("fk_token_budget_escalation_events_run_id_phase_id_phases"),
        ),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_token_budget_escalation_events")),
    )
    op.create_index(
        "ix_token_budget_escalation_events_run_id",
        "token_budget_escalation_events",
        ["run_id", "phase_id"],
        unique=False,
    )
    op.create_table(
        "token_estimation_v2_events",
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
            name=op.f("fk_token_estimation_v2_events_call_id_llm_usage_events"),
        ),
        sa.ForeignKeyConstraint(
            ["run_id", "phase_id"],
            ["phases.run_id", "phases.phase_id"],
            name=op.f("fk_token_estimation_v2_events_run_id_phase_id_phases"),
        ),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_token_estimation_v2_events")),
        sa.UniqueConstraint("call_id", name=op.f("uq_token_estimation_v2_events_call_id")),
    )
    op.create_index(
        "ix_token_estimation_v2_events_run_id",
        "token_estimation_v2_events",
        ["run_id", "phase_id"],
        unique=False,
    )
    op.execute(
        sa.text(
            "INSERT INTO database_identity (singleton, database_id, created_at, epoch) VALUES (1, :id, :at, 1)"
        ).bindparams(sa.bindparam("at", type_=MOMENT), id=uuid4().hex, at=datetime.now(UTC))
    )


def downgrade() -> None:
    raise NotImplementedError("restore the backup that `autopack migrate` made")
