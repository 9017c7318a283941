"""What a run, a phase and an attempt are, as values. The API sends these very classes."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

JsonObject = dict[str, Any]  # free-form by nature: reports, reviews, verdicts


class RunState(StrEnum):
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    DONE_SUCCESS = "DONE_SUCCESS"
    DONE_FAILED_BUDGET_EXHAUSTED = "DONE_FAILED_BUDGET_EXHAUSTED"
    DONE_FAILED_POLICY_VIOLATION = "DONE_FAILED_POLICY_VIOLATION"
    DONE_FAILED_REQUIRES_HUMAN_REVIEW = "DONE_FAILED_REQUIRES_HUMAN_REVIEW"
    DONE_FAILED_ENVIRONMENT = "DONE_FAILED_ENVIRONMENT"
    CANCELLED = "CANCELLED"


class StateCause(StrEnum):
    """Who or what put a run into its state, where that is not plain from its phases."""

    PERSON = "person"
    TOKEN_CAP = "token_cap"
    COST_CAP = "cost_cap"
    DAILY_CAP = "daily_cap"
    DURATION = "duration"
    MAX_PHASES = "max_phases"


CAP_CAUSES = frozenset(StateCause) - {StateCause.PERSON}


class PhaseState(StrEnum):
    QUEUED = "QUEUED"
    EXECUTING = "EXECUTING"
    GATE = "GATE"
    COMPLETE = "COMPLETE"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"


CLOSED_STATES = (PhaseState.COMPLETE, PhaseState.SKIPPED)
"""A phase in one of these no longer holds back a later tier or a phase that depends on it."""
OPEN_STATES = tuple(state for state in PhaseState if state not in CLOSED_STATES)


class AttemptOutcome(StrEnum):
    """How one try ended. The last three spend no attempt."""

    COMPLETE = "COMPLETE"
    NO_OP = "NO_OP"
    NEEDS_APPROVAL = "NEEDS_APPROVAL"
    FAILED = "FAILED"
    LOST = "LOST"
    INTERRUPTED = "INTERRUPTED"
    DEFERRED = "DEFERRED"
    CANCELLED = "CANCELLED"


UNJUDGED = frozenset(
    {AttemptOutcome.LOST, AttemptOutcome.INTERRUPTED, AttemptOutcome.DEFERRED, AttemptOutcome.CANCELLED}
)
"""Outcomes that say nothing about the work: the answers of such a try are as good as new."""


class FailureKind(StrEnum):
    """A closed set: why an attempt did not complete."""

    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    MALFORMED_ANSWER = "malformed_answer"
    PROSE_ONLY = "prose_only"
    MIXED_FORMATS = "mixed_formats"
    EMPTY_FILES = "empty_files"
    WRONG_PATHS = "wrong_paths"
    EDIT_NOT_APPLICABLE = "edit_not_applicable"
    OUT_OF_SCOPE = "out_of_scope"
    MISSING_DELIVERABLES = "missing_deliverables"
    POLICY_VIOLATION = "policy_violation"
    CHECKS_FAILED = "checks_failed"
    CHECKS_TIMED_OUT = "checks_timed_out"
    COLLECTION_ERROR = "collection_error"
    NO_TESTS = "no_tests"
    CHECKS_VOID = "checks_void"
    TESTS_VANISHED = "tests_vanished"
    TESTS_SKIPPED = "tests_skipped"
    TESTS_WEAKENED = "tests_weakened"
    NOT_RED_FIRST = "not_red_first"
    AUDIT_REJECTED = "audit_rejected"
    BASE_MOVED = "base_moved"
    MODEL_ERROR = "model_error"
    PROVIDER_LIMIT = "provider_limit"
    BUDGET = "budget"
    WORKER_LOST = "worker_lost"
    INTERRUPTED = "interrupted"
    APPROVAL_REJECTED = "approval_rejected"
    APPROVAL_TIMED_OUT = "approval_timed_out"
    REPEATED_INPUTS = "repeated_inputs"
    STUCK = "stuck"
    UNDONE = "undone"
    INTERNAL_ERROR = "internal_error"


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What a phase may touch. A path that ends in "/" is a directory prefix, any other is exact."""

    paths: tuple[str, ...] = ()
    read_only_context: tuple[str, ...] = ()
    deliverables: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Run:
    run_id: str
    goal: str
    state: RunState
    state_cause: StateCause | None = None
    state_reason: str | None = None
    plan_hash: str
    safety_profile: str = "standard"
    token_cap: int | None = None
    cost_cap_usd: float | None = None
    max_duration_minutes: int | None = None
    max_phases: int | None = None
    concurrency: int | None = None
    """Phases at once in each drain of the run, where a person has said so."""
    builder_model: str | None = None
    """The builder's model, where a person has named one; it goes before the drain's own."""
    tokens_used: int = 0
    tokens_reserved: int = 0
    cost_usd: float = 0.0
    calls_of_unknown_usage: int = 0
    base_commit: str | None = None
    head_commit: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    phase_counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Phase:
    """`attempts` counts the tries that were spent; a try that was given back is not among them."""

    run_id: str
    phase_id: str
    tier_id: str
    tier_index: int
    phase_index: int
    name: str
    goal: str
    task_category: str
    complexity: str
    state: PhaseState
    priority: int = 0
    risk: str = "normal"
    """"high" asks for a second auditor."""
    scope: Scope = field(default_factory=Scope)
    depends_on: tuple[str, ...] = ()
    attempts: int = 0
    max_attempts: int = 3
    not_before: datetime | None = None
    failure_kind: FailureKind | None = None
    failure_reason: str | None = None
    result_commit: str | None = None
    tokens_used: int = 0
    pause_after: bool = False
    """Whether the run pauses when this phase has ended."""
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Attempt:
    attempt_id: str
    run_id: str
    phase_id: str
    number: int
    worker: str
    outcome: AttemptOutcome | None = None
    failure_kind: FailureKind | None = None
    failure_signature: str | None = None
    reason: str | None = None
    base_commit: str | None = None
    result_commit: str | None = None
    check_report: JsonObject | None = None
    review: JsonObject | None = None
    verdict: JsonObject | None = None
    timings: JsonObject | None = None
    policy_hash: str | None = None
    result_tree: str | None = None
    plan: JsonObject | None = None
    plan_hash: str | None = None
    changes: tuple[JsonObject, ...] | None = None
    inputs_hash: str | None = None
    step: str | None = None
    """What its worker was doing when it said so last."""
    claimed_at: datetime
    lease_expires_at: datetime
    finished_at: datetime | None = None


MAX_KEPT_DIFF_CHARS = 256 * 1024


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a worker reports at the end of an attempt. `retryable` false fails the phase at once."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    outcome: AttemptOutcome
    failure_kind: FailureKind | None = None
    reason: str | None = None
    retryable: bool = True
    retry_after_seconds: float | None = None
    base_commit: str | None = None
    result_commit: str | None = None
    holds: tuple[str, ...] = ()
    """Commits below `result_commit`, as far back as the run's head at the claim: where the run's head is none of them by
    now, the result may be older than it, and the head stays."""
    check_report: JsonObject | None = None
    review: JsonObject | None = None
    verdict: JsonObject | None = None
    timings: JsonObject | None = None
    policy_hash: str | None = None
    """Of the policy at the base, under which the work was judged."""
    result_tree: str | None = None
    plan: JsonObject | None = None
    plan_hash: str | None = None
    changes: tuple[JsonObject, ...] | None = None
    """Per path {"path", "before": {"mode", "oid"} or None, "after": the same}: read backwards, the inverse."""
    inputs_hash: str | None = None
    """Of all that the builder's answer depended on: base, prompt, model, gate. Equal inputs are not tried twice."""
    diff: str | None = None
    """What the attempt changed, for a person to read; see `MAX_KEPT_DIFF_CHARS`."""
    approval: JsonObject | None = None
    approval_void_reason: str | None = None
    """What differs from what a person approved, where the approved plan could not be applied as it was."""

    @property
    def passed(self) -> bool:
        return self.outcome in (AttemptOutcome.COMPLETE, AttemptOutcome.NO_OP)


@dataclass(frozen=True, kw_only=True)
class PreviousAttempt:
    """What the next builder prompt may learn from a try that failed."""

    number: int
    failure_kind: FailureKind | None
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class ApprovedPlan:
    """What a person approved: good for exactly this diff, base, policy and check report."""

    approval_id: str
    diff_hash: str
    base_commit: str
    policy_hash: str | None
    checks_hash: str | None
    plan: JsonObject


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A phase that this worker now owns, until `lease_expires_at` unless renewed."""

    attempt_id: str
    lease_token: str
    lease_expires_at: datetime
    number: int
    run: Run
    phase: Phase
    previous: tuple[PreviousAttempt, ...] = ()
    dead_attempts: tuple[str, ...] = ()
    """Ids of this phase's tries whose worker died: a commit of theirs counts as this try's own."""
    approved: ApprovedPlan | None = None
    failed_inputs: tuple[str, ...] = ()
    """`inputs_hash` of this phase's tries that were judged and failed."""
    failures: int = 0
    """How many tries were judged and failed since a person last queued the phase."""
    escalations: int = 0
    """How many of them ended in a failure that asks for the next model of the ladder."""
    resume_base: str | None = None
    """Where the try before this one died after asking a model: on that base its answers are found again."""


class IdleReason(StrEnum):
    """Why there was nothing to claim."""

    DONE = "done"
    EXECUTING = "executing"
    NOT_BEFORE = "not_before"
    APPROVAL = "approval"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    BUDGET = "budget"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Idle:
    """Nothing is due: why, in words, and when it is worth asking again."""

    reason: IdleReason
    detail: str
    until: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened, in the order of `event_id`. `run_id` is None where it is about all runs."""

    event_id: int
    run_id: str | None
    phase_id: str | None
    attempt_id: str | None
    kind: str
    actor: str
    detail: JsonObject
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Approval:
    """A request that a person decide; `status` is pending, approved, rejected, expired, void or used.

    Good for exactly this diff on this base, under this policy and with this check report. `on_timeout` says what
    happens at `timeout_at`: "wait" goes on waiting (`overdue` tells), "reject" expires the request and fails the phase.
    """

    approval_id: str
    run_id: str
    phase_id: str
    attempt_id: str
    status: str
    reasons: tuple[str, ...]
    diff: str
    diff_hash: str
    base_commit: str
    policy_hash: str | None = None
    checks_hash: str | None = None
    requested_at: datetime
    timeout_at: datetime | None = None
    on_timeout: str = "wait"
    overdue: bool = False
    void_reason: str | None = None
    responded_at: datetime | None = None
    responded_by: str | None = None
    response_method: str | None = None
    response_reason: str | None = None
