"""The tables, as this version of the code reads and writes them. `alembic/versions` makes them; nothing else does."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    String,
    UniqueConstraint,
    false,
)
from sqlalchemy.orm import Mapped, mapped_column

from autopack.db.columns import JSON_OR_NULL, Base

REVISION = "0004"
"""The Alembic revision that this code works on. A test keeps it equal to the newest one in `alembic/versions`."""


class DatabaseIdentityRow(Base):
    """One row: which database this is. `nonce` is written by one side and read back by the other to prove sameness."""

    __tablename__ = "database_identity"
    __table_args__ = (CheckConstraint("singleton = 1", name="one_row"),)
    singleton: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    database_id: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[datetime]
    epoch: Mapped[int]
    nonce: Mapped[str | None]


class RunRow(Base):
    __tablename__ = "runs"
    __table_args__ = (
        CheckConstraint("tokens_used >= 0 AND tokens_reserved >= 0", name="tokens"),
        CheckConstraint(
            "state IN ('QUEUED','RUNNING','PAUSED','DONE_SUCCESS','DONE_FAILED_BUDGET_EXHAUSTED',"
            "'DONE_FAILED_POLICY_VIOLATION','DONE_FAILED_REQUIRES_HUMAN_REVIEW','DONE_FAILED_ENVIRONMENT','CANCELLED')",
            name="state",
        ),
    )
    id: Mapped[str] = mapped_column(String(200), primary_key=True)
    goal: Mapped[str]
    state: Mapped[str] = mapped_column(String(40))
    state_cause: Mapped[str | None] = mapped_column(String(40))
    state_reason: Mapped[str | None]
    plan_hash: Mapped[str] = mapped_column(String(64))
    safety_profile: Mapped[str] = mapped_column(String(40))
    token_cap: Mapped[int | None]
    cost_cap_usd: Mapped[float | None]
    max_duration_minutes: Mapped[int | None]
    max_phases: Mapped[int | None]
    concurrency: Mapped[int | None]
    """Phases at once in each drain of the run; NULL leaves it to the drain."""
    builder_model: Mapped[str | None] = mapped_column(String(200))
    """"provider:NAME", which goes before the drain's own; NULL leaves it to the drain."""
    phases_started: Mapped[int] = mapped_column(server_default="0")
    tokens_used: Mapped[int] = mapped_column(server_default="0")
    tokens_reserved: Mapped[int] = mapped_column(server_default="0")
    cost_usd: Mapped[float] = mapped_column(server_default="0")
    cost_reserved_usd: Mapped[float] = mapped_column(server_default="0")
    calls_of_unknown_usage: Mapped[int] = mapped_column(server_default="0")
    base_commit: Mapped[str | None] = mapped_column(String(64))
    head_commit: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]


class TierRow(Base):
    __tablename__ = "tiers"
    __table_args__ = (UniqueConstraint("run_id", "tier_index"),)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    tier_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    tier_index: Mapped[int]
    name: Mapped[str]


class PhaseRow(Base):
    __tablename__ = "phases"
    __table_args__ = (
        UniqueConstraint("run_id", "phase_id"),
        ForeignKeyConstraint(["run_id", "tier_id"], ["tiers.run_id", "tiers.tier_id"]),
        CheckConstraint("attempts >= 0 AND max_attempts >= 1", name="attempts"),
        CheckConstraint(
            "state IN ('QUEUED','EXECUTING','GATE','COMPLETE','FAILED','SKIPPED','CANCELLED')", name="state"
        ),
        # The claim walks this one: tier by tier, the queued phases in the order in which they are due.
        Index("ix_phases_due", "run_id", "tier_index", "state", "priority_rank", "phase_index"),
        Index("ix_phases_run_id_state", "run_id", "state"),
    )
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    run_id: Mapped[str] = mapped_column(String(200))
    phase_id: Mapped[str] = mapped_column(String(200))
    tier_id: Mapped[str] = mapped_column(String(200))
    tier_index: Mapped[int]
    phase_index: Mapped[int]
    name: Mapped[str]
    goal: Mapped[str]
    task_category: Mapped[str] = mapped_column(String(80))
    complexity: Mapped[str] = mapped_column(String(20))
    risk: Mapped[str] = mapped_column(String(20), server_default="normal")
    state: Mapped[str] = mapped_column(String(20))
    priority: Mapped[int]
    priority_rank: Mapped[int]
    """Minus the priority: an index in one direction serves the order on every database."""
    scope: Mapped[dict[str, Any]]
    attempts: Mapped[int] = mapped_column(server_default="0")
    max_attempts: Mapped[int]
    requeued_after: Mapped[int] = mapped_column(server_default="0")
    """The number of the last attempt before a person queued the phase anew: what failed until then counts no more."""
    not_before: Mapped[datetime | None]
    failure_kind: Mapped[str | None] = mapped_column(String(40))
    failure_reason: Mapped[str | None]
    result_commit: Mapped[str | None] = mapped_column(String(64))
    tokens_used: Mapped[int] = mapped_column(server_default="0")
    pause_after: Mapped[bool] = mapped_column(server_default=false())
    """Whether the run pauses when this phase has ended."""
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]


def _phase_key() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["run_id", "phase_id"], ["phases.run_id", "phases.phase_id"])


class PhaseDependencyRow(Base):
    __tablename__ = "phase_dependencies"
    __table_args__ = (
        _phase_key(),
        ForeignKeyConstraint(["run_id", "depends_on"], ["phases.run_id", "phases.phase_id"]),
    )
    run_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    phase_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    depends_on: Mapped[str] = mapped_column(String(200), primary_key=True)


class AttemptRow(Base):
    __tablename__ = "attempts"
    __table_args__ = (
        _phase_key(),
        UniqueConstraint("run_id", "phase_id", "number"),
        UniqueConstraint("lease_token"),
        Index("ix_attempts_open", "run_id", "outcome", "lease_expires_at"),
    )
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    run_id: Mapped[str] = mapped_column(String(200))
    phase_id: Mapped[str] = mapped_column(String(200))
    number: Mapped[int]
    worker: Mapped[str] = mapped_column(String(400))
    lease_token: Mapped[str] = mapped_column(String(64))
    lease_expires_at: Mapped[datetime]
    outcome: Mapped[str | None] = mapped_column(String(20))
    failure_kind: Mapped[str | None] = mapped_column(String(40))
    failure_signature: Mapped[str | None] = mapped_column(String(64))
    reason: Mapped[str | None]
    base_commit: Mapped[str | None] = mapped_column(String(64))
    result_commit: Mapped[str | None] = mapped_column(String(64))
    check_report: Mapped[dict[str, Any] | None]
    review: Mapped[dict[str, Any] | None]
    verdict: Mapped[dict[str, Any] | None]
    timings: Mapped[dict[str, Any] | None]
    policy_hash: Mapped[str | None] = mapped_column(String(64))
    result_tree: Mapped[str | None] = mapped_column(String(64))
    plan: Mapped[dict[str, Any] | None] = mapped_column(JSON_OR_NULL)
    plan_hash: Mapped[str | None] = mapped_column(String(64))
    changes: Mapped[list[Any] | None] = mapped_column(JSON_OR_NULL)
    inputs_hash: Mapped[str | None] = mapped_column(String(64))
    step: Mapped[str | None] = mapped_column(String(200))
    """What its worker was doing when it said so last."""
    diff: Mapped[str | None] = mapped_column(deferred=True)
    """What it changed, for a person to read; cut where it is very long."""
    claimed_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


_ORIGINS = "origin IN ('local','merged','adopted')"


class LlmUsageEventRow(Base):
    """One row per model request, from before it is sent. Unknown is NULL, never 0.

    A row of another database (merged) or of an earlier Autopack (adopted) belongs to no attempt here, and names its
    run and phase as they were called there. `total_tokens` may be known where its parts are not.
    """

    __tablename__ = "llm_usage_events"
    __table_args__ = (
        UniqueConstraint("call_id"),
        CheckConstraint("status IN ('reserved','answered','failed','abandoned')", name="status"),
        CheckConstraint("input_tokens >= 0 AND output_tokens >= 0", name="tokens"),
        CheckConstraint(
            "cache_read_input_tokens + cache_write_input_tokens <= input_tokens", name="input_parts"
        ),
        CheckConstraint("reasoning_output_tokens <= output_tokens", name="output_parts"),
        CheckConstraint("cost_usd >= 0", name="cost"),
        CheckConstraint("total_tokens = input_tokens + output_tokens", name="total"),
        CheckConstraint(_ORIGINS, name="origin"),
        CheckConstraint(
            "origin <> 'local' OR (attempt_id IS NOT NULL AND run_id IS NOT NULL AND phase_id IS NOT NULL "
            "AND ask IS NOT NULL AND request_key IS NOT NULL AND request_max_tokens IS NOT NULL)",
            name="local",
        ),
        Index("ix_llm_usage_events_run_id", "run_id", "phase_id", "role", "status"),
        Index("ix_llm_usage_events_attempt_id", "attempt_id"),
        Index("ix_llm_usage_events_created_at", "created_at"),
    )
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    call_id: Mapped[str] = mapped_column(String(32))
    attempt_id: Mapped[str | None] = mapped_column(ForeignKey("attempts.id"))
    run_id: Mapped[str | None] = mapped_column(String(200))
    phase_id: Mapped[str | None] = mapped_column(String(200))
    role: Mapped[str] = mapped_column(String(40))
    ask: Mapped[int | None]
    status: Mapped[str] = mapped_column(String(20))
    provider: Mapped[str] = mapped_column(String(80))
    model: Mapped[str] = mapped_column(String(200))
    provider_mode: Mapped[str] = mapped_column(String(20))
    request_key: Mapped[str | None] = mapped_column(String(64))
    request_max_tokens: Mapped[int | None]
    reserved_tokens: Mapped[int]
    reserved_cost_usd: Mapped[float | None]
    input_tokens: Mapped[int | None]
    output_tokens: Mapped[int | None]
    total_tokens: Mapped[int | None]
    cache_read_input_tokens: Mapped[int | None]
    cache_write_input_tokens: Mapped[int | None]
    reasoning_output_tokens: Mapped[int | None]
    finish_reason: Mapped[str | None] = mapped_column(String(40))
    is_truncated: Mapped[bool | None]
    is_complete: Mapped[bool | None]
    cost_usd: Mapped[float | None]
    cost_source: Mapped[str | None] = mapped_column(String(40))
    price_table_version: Mapped[str | None] = mapped_column(String(40))
    usage_source: Mapped[str | None] = mapped_column(String(20))
    error: Mapped[str | None]
    response_id: Mapped[str | None] = mapped_column(String(200))
    retries: Mapped[int] = mapped_column(server_default="0")
    duration_seconds: Mapped[float | None]
    first_token_seconds: Mapped[float | None]
    created_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    origin: Mapped[str] = mapped_column(String(20), server_default="local")
    source_database_id: Mapped[str | None] = mapped_column(String(80))
    source_row_id: Mapped[int | None]


class LlmResponseRow(Base):
    """The journal: answers that reached us. `attempt_id` is the try that uses the answer now."""

    __tablename__ = "llm_responses"
    __table_args__ = (
        _phase_key(),
        Index("ix_llm_responses_request", "run_id", "phase_id", "role", "request_key"),
        Index("ix_llm_responses_attempt_id", "attempt_id"),
    )
    call_id: Mapped[str] = mapped_column(ForeignKey("llm_usage_events.call_id"), primary_key=True)
    attempt_id: Mapped[str] = mapped_column(ForeignKey("attempts.id"))
    run_id: Mapped[str] = mapped_column(String(200))
    phase_id: Mapped[str] = mapped_column(String(200))
    role: Mapped[str] = mapped_column(String(20))
    request_key: Mapped[str] = mapped_column(String(64))
    request_max_tokens: Mapped[int]
    completion: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class TokenEstimationEventRow(Base):
    """One row per builder call: the estimate made before, the maximum sent, and what came of it.

    `call_id` names the call; of an adopted event, which knows none, it is made from where the event was found.
    """

    __tablename__ = "token_estimation_v2_events"
    __table_args__ = (
        UniqueConstraint("call_id"),
        CheckConstraint(_ORIGINS, name="origin"),
        Index("ix_token_estimation_v2_events_run_id", "run_id", "phase_id"),
        # The last live ones, newest first; asked before each builder call.
        Index("ix_token_estimation_v2_events_live", "provider_mode", "timestamp", "event_id"),
        # Counts how often the promise was kept; asked before each builder call.
        Index(
            "ix_token_estimation_v2_events_online",
            "origin",
            "provider_mode",
            "budget_source",
            "target_rate",
            "is_complete",
            "truncated",
        ),
    )
    event_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    call_id: Mapped[str] = mapped_column(String(32))
    run_id: Mapped[str] = mapped_column(String(200))
    phase_id: Mapped[str] = mapped_column(String(200))
    timestamp: Mapped[datetime]
    category: Mapped[str] = mapped_column(String(80))
    complexity: Mapped[str] = mapped_column(String(20))
    deliverable_count: Mapped[int]
    deliverables_json: Mapped[list[str]] = mapped_column(JSON)
    features_json: Mapped[dict[str, Any] | None] = mapped_column(JSON_OR_NULL)
    estimator_version: Mapped[str] = mapped_column(String(80))
    predicted_output_tokens: Mapped[int]
    selected_budget: Mapped[int]
    actual_output_tokens: Mapped[int | None]
    success: Mapped[bool | None]
    """Whether this answer became the phase's work; NULL until the attempt has ended."""
    truncated: Mapped[bool]
    stop_reason: Mapped[str | None] = mapped_column(String(40))
    model: Mapped[str] = mapped_column(String(200))
    provider_mode: Mapped[str] = mapped_column(String(20))
    base_output_tokens: Mapped[float | None]
    reasoning_level: Mapped[str | None] = mapped_column(String(20))
    model_family: Mapped[str | None] = mapped_column(String(80))
    budget_source: Mapped[str | None] = mapped_column(String(20))
    """"prior", "conformal", "limited", "escalated", "raised" or "partial"; NULL before estimators said so."""
    target_rate: Mapped[float | None]
    alpha: Mapped[float | None]
    is_complete: Mapped[bool | None]
    origin: Mapped[str] = mapped_column(String(20), server_default="local")
    source_database_id: Mapped[str | None] = mapped_column(String(80))
    source_row_id: Mapped[int | None]


class TokenBudgetEscalationRow(Base):
    __tablename__ = "token_budget_escalation_events"
    __table_args__ = (
        UniqueConstraint("call_id"),
        CheckConstraint(_ORIGINS, name="origin"),
        Index("ix_token_budget_escalation_events_run_id", "run_id", "phase_id"),
    )
    event_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    call_id: Mapped[str] = mapped_column(String(32))
    run_id: Mapped[str] = mapped_column(String(200))
    phase_id: Mapped[str] = mapped_column(String(200))
    timestamp: Mapped[datetime]
    reason: Mapped[str] = mapped_column(String(40))
    from_budget: Mapped[int]
    to_budget: Mapped[int]
    model: Mapped[str] = mapped_column(String(200))
    origin: Mapped[str] = mapped_column(String(20), server_default="local")
    source_database_id: Mapped[str | None] = mapped_column(String(80))
    source_row_id: Mapped[int | None]


class EstimatorVersionRow(Base):
    __tablename__ = "estimator_versions"
    version: Mapped[str] = mapped_column(String(80), primary_key=True)
    parent: Mapped[str | None] = mapped_column(ForeignKey("estimator_versions.version"))
    coefficients: Mapped[dict[str, Any]]
    data_hash: Mapped[str | None] = mapped_column(String(64))
    metrics: Mapped[dict[str, Any] | None]
    is_active: Mapped[bool]
    created_at: Mapped[datetime]


class ApprovalRequestRow(Base):
    __tablename__ = "approval_requests"
    __table_args__ = (
        _phase_key(),
        CheckConstraint("status IN ('pending','approved','rejected','expired','void','used')", name="status"),
        Index("ix_approval_requests_run_id", "run_id", "phase_id", "status"),
        Index("ix_approval_requests_due", "status", "timeout_at"),
    )
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    run_id: Mapped[str] = mapped_column(String(200))
    phase_id: Mapped[str] = mapped_column(String(200))
    attempt_id: Mapped[str] = mapped_column(ForeignKey("attempts.id"))
    status: Mapped[str] = mapped_column(String(20))
    reasons: Mapped[list[str]] = mapped_column(JSON)
    plan: Mapped[dict[str, Any]]
    diff: Mapped[str]
    diff_hash: Mapped[str] = mapped_column(String(64))
    base_commit: Mapped[str] = mapped_column(String(64))
    policy_hash: Mapped[str | None] = mapped_column(String(64))
    checks_hash: Mapped[str | None] = mapped_column(String(64))
    requested_at: Mapped[datetime]
    timeout_at: Mapped[datetime | None]
    on_timeout: Mapped[str] = mapped_column(String(10), server_default="wait")
    """What the passing of `timeout_at` does: "wait" leaves the request pending, "reject" expires it."""
    void_reason: Mapped[str | None]
    responded_at: Mapped[datetime | None]
    response_method: Mapped[str | None] = mapped_column(String(40))
    responded_by: Mapped[str | None] = mapped_column(String(200))
    response_reason: Mapped[str | None]


class CheckBaselineRow(Base):
    """What the checks said of a base commit itself; `checks_hash` is of the commands, their settings and the sandbox."""

    __tablename__ = "check_baselines"
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    base_commit: Mapped[str] = mapped_column(String(64), primary_key=True)
    checks_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    report: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class EventRow(Base):
    """Append-only: what happened, in order. The audit trail, and the live feed."""

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_run_id", "run_id", "id"),
        Index("ix_events_created_at", "created_at"),
    )
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    run_id: Mapped[str | None] = mapped_column(ForeignKey("runs.id"))
    """NULL where it is about all runs: daily caps, estimator versions, a restored backup."""
    phase_id: Mapped[str | None] = mapped_column(String(200))
    attempt_id: Mapped[str | None] = mapped_column(String(32))
    kind: Mapped[str] = mapped_column(String(40))
    actor: Mapped[str] = mapped_column(String(400))
    detail: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class DailyCapsRow(Base):
    """At most one row: what all runs together may spend on live calls in a day (UTC). NULL is no cap."""

    __tablename__ = "daily_caps"
    __table_args__ = (CheckConstraint("singleton = 1", name="one_row"),)
    singleton: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    token_cap: Mapped[int | None]
    cost_cap_usd: Mapped[float | None]
    updated_at: Mapped[datetime]
    updated_by: Mapped[str] = mapped_column(String(400))


class DailyUsageRow(Base):
    """What live calls that were reserved on a day (UTC, YYYY-MM-DD) used, and what they have set aside."""

    __tablename__ = "daily_usage"
    __table_args__ = (CheckConstraint("tokens_used >= 0 AND tokens_reserved >= 0", name="tokens"),)
    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    tokens_used: Mapped[int] = mapped_column(server_default="0")
    tokens_reserved: Mapped[int] = mapped_column(server_default="0")
    cost_usd: Mapped[float] = mapped_column(server_default="0")
    cost_reserved_usd: Mapped[float] = mapped_column(server_default="0")


class ExportCursorRow(Base):
    """How far an export has come: the id of the last row that was sent."""

    __tablename__ = "export_cursors"
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    position: Mapped[int]
    mapping_version: Mapped[str] = mapped_column(String(40))
    updated_at: Mapped[datetime]


class LegacyRow(Base):
    """What an earlier database held and has no place here: a whole row, or the columns of one that have none."""

    __tablename__ = "legacy_rows"
    __table_args__ = (Index("ix_legacy_rows_table_name", "table_name"),)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    source: Mapped[str] = mapped_column(String(80))
    table_name: Mapped[str] = mapped_column(String(200))
    row_key: Mapped[str]
    reason: Mapped[str]
    row: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class TriageSessionRow(Base):
    """One drain of failed phases across runs; `reason` says why it ended."""

    __tablename__ = "triage_sessions"
    session_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    options: Mapped[dict[str, Any]]
    reason: Mapped[str | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class TriageItemRow(Base):
    """A phase that a session tried, in the order of trying. While it is under way, `result` says by whom, and what was before."""

    __tablename__ = "triage_items"
    __table_args__ = (_phase_key(),)
    session_id: Mapped[str] = mapped_column(ForeignKey("triage_sessions.session_id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    run_id: Mapped[str] = mapped_column(String(200))
    phase_id: Mapped[str] = mapped_column(String(200))
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON_OR_NULL)
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


TABLE_NAMES = frozenset(Base.metadata.tables)
