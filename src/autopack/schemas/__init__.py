"""Bodies of requests and answers, shared by the API and the client.

What comes in is strict: unknown fields are errors, text is NFC without NUL or lone surrogates, integers fit
63 bits. What goes out are the classes of `domain`.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal, Self, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from autopack.domain.calls import CallRequest, CallResult
from autopack.domain.phases import (
    MAX_KEPT_DIFF_CHARS,
    AttemptOutcome,
    Claim,
    Idle,
    JsonObject,
    Outcome,
    Phase,
    Scope,
)
from autopack.domain.plan import PhasePlan, Plan, TierPlan, problems
from autopack.domain.storable import MAX_INTEGER, MAX_TOKENS, reject_unstorable
from autopack.domain.visible import harmless


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _one_line(text: str) -> str:
    if "\n" in text or "\t" in text or harmless(text) != text:
        raise ValueError("must be one line, without control characters")
    return text


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


def _ref_safe(name: str) -> str:
    """Run ids become branch names, so git's rules for those hold."""
    if ".." in name or name.endswith((".", ".lock")):
        raise ValueError("must not hold '..' nor end in '.' or '.lock'")
    return name


ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
MAX_RETRY_AFTER_SECONDS = 365 * 86_400
MAX_TEXT_CHARS = 20_000
MAX_REASONS = 200
MAX_HELD = 10_000
_SHOWN = 20
Text = Annotated[str, StringConstraints(max_length=MAX_TEXT_CHARS), AfterValidator(_nfc)]
ShortText = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(_nfc)]
WorkerName = Annotated[str, StringConstraints(min_length=1, max_length=400), AfterValidator(_nfc)]
PersonName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200),
    AfterValidator(_nfc),
    AfterValidator(_one_line),
    Field(json_schema_extra={"pattern": r"^[^\u0000-\u001f\u007f-\u009f]+$"}),
]
Id = Annotated[str, StringConstraints(pattern=ID_PATTERN), AfterValidator(_ref_safe)]
Word = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Path = Annotated[str, StringConstraints(min_length=1, max_length=1024), AfterValidator(_nfc)]
Token = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{16,64}$")]
Count = Annotated[int, Field(strict=True, ge=1, le=MAX_INTEGER)]
Seconds = Annotated[float, Field(strict=True, gt=0, le=86_400)]
Dollars = Annotated[float, Field(strict=True, ge=1e-6, le=1e12)]
Flag = Annotated[bool, Field(strict=True)]
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40,64}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16,64}$")]
"""A hash in hexadecimal, as long as it was made."""


Holds = Annotated[tuple[Commit, ...], Field(max_length=MAX_HELD)]


def validation_detail(errors: Sequence[Mapping[str, Any]]) -> str:
    """Each place and what is wrong there; values stay out, they may be secrets."""
    texts = []
    for error in errors[:_SHOWN]:
        place = ".".join(str(part) for part in error["loc"] if part != "body")
        message = str(error["msg"]).removeprefix("Value error, ")
        texts.append(f"{place}: {message}" if place else message)
    more = len(errors) - _SHOWN
    return "; ".join(texts) + (f"; and {more} more" if more > 0 else "")


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, value: Any) -> Any:
        reject_unstorable(value)
        return value


class ScopeBody(Body):
    paths: list[Path] = Field(default=[], max_length=1000)
    read_only_context: list[Path] = Field(default=[], max_length=1000)
    deliverables: list[Path] = Field(default=[], max_length=200)
    checks: list[Annotated[Text, StringConstraints(min_length=1)]] = Field(default=[], max_length=50)


class PhaseBody(Body):
    phase_id: Id
    name: ShortText | None = None
    goal: Annotated[Text, StringConstraints(min_length=1)]
    task_category: Word = "implementation"
    complexity: Literal["low", "medium", "high"] = "medium"
    scope: ScopeBody = ScopeBody()
    depends_on: list[Id] = Field(default=[], max_length=1000)
    priority: Annotated[int, Field(strict=True, ge=-1_000_000, le=1_000_000)] = 0
    max_attempts: Annotated[int, Field(strict=True, ge=1, le=100)] = 3
    risk: Literal["normal", "high"] = "normal"

    def to_domain(self) -> PhasePlan:
        scope = Scope(
            paths=tuple(self.scope.paths), read_only_context=tuple(self.scope.read_only_context),
            deliverables=tuple(self.scope.deliverables), checks=tuple(self.scope.checks),
        )  # fmt: skip
        return PhasePlan(
            phase_id=self.phase_id, name=self.name or self.phase_id, goal=self.goal, task_category=self.task_category,
            complexity=self.complexity, scope=scope, depends_on=tuple(self.depends_on), priority=self.priority,
            max_attempts=self.max_attempts, risk=self.risk,
        )  # fmt: skip


class TierBody(Body):
    tier_id: Id
    name: ShortText | None = None
    phases: list[PhaseBody] = Field(min_length=1)


class PlanBody(Body):
    """A plan, version 1: what `autopack run create` reads and POST /runs takes."""

    autopack: Annotated[Literal[1], BeforeValidator(_no_boolean)]
    run_id: Id
    goal: Text = ""
    safety_profile: Word = "standard"
    token_cap: Count | None = None
    cost_cap_usd: Dollars | None = None
    max_duration_minutes: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] | None = None
    max_phases: Count | None = None
    tiers: list[TierBody] = Field(min_length=1)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if found := problems(self.to_domain()):
            raise ValueError("; ".join(found))
        return self

    def to_domain(self) -> Plan:
        tiers = tuple(
            TierPlan(
                tier_id=tier.tier_id, name=tier.name or tier.tier_id, phases=tuple(phase.to_domain() for phase in tier.phases)
            )
            for tier in self.tiers
        )  # fmt: skip
        return Plan(
            run_id=self.run_id, goal=self.goal, tiers=tiers, safety_profile=self.safety_profile, token_cap=self.token_cap,
            cost_cap_usd=self.cost_cap_usd, max_duration_minutes=self.max_duration_minutes, max_phases=self.max_phases,
        )  # fmt: skip


class ClaimBody(Body):
    """`lease_token` is made by the worker: a repeat of the same claim returns the same attempt."""

    run_id: Id
    phase_id: Id | None = None
    force: Flag = False
    worker: WorkerName
    lease_token: Token
    lease_seconds: Seconds = 60.0
    base_commit: Commit | None = None


class ClaimAnswer(BaseModel):
    """One of the two: a claim, or why there is none."""

    claim: Claim | None = None
    idle: Idle | None = None


MAX_STEP_CHARS = 200


def _short(text: str) -> str:
    return _nfc(text)[:MAX_STEP_CHARS]  # to compose some characters makes more of them


class RenewBody(Body):
    """Sent about once a second. `step` is what is being done, in a few words; left out, it is as it was."""

    lease_token: Token
    lease_seconds: Seconds = 60.0
    step: Annotated[str, StringConstraints(max_length=MAX_STEP_CHARS), AfterValidator(_short)] | None = None


class RenewAnswer(BaseModel):
    """At least two thirds of the lease asked for are left."""

    lease_expires_at: datetime
    cancelled: bool
    """The run was cancelled: stop the work and finish with the outcome CANCELLED."""
    concurrency: int | None = None
    """How many phases of the run the worker should have under way; None leaves it to the worker."""


_LONGEST = {
    "call_id": 32, "provider": 80, "model": 200, "request_key": 64, "usage_source": 20, "finish_reason": 40,
    "cost_source": 40, "price_table_version": 40, "response_id": 200, "version": 80, "diff": MAX_KEPT_DIFF_CHARS, "reasoning_level": 20, "model_family": 80, "budget_source": 20, "base_commit": 64, "result_commit": 64,
}  # fmt: skip
_LEAST = {
    "max_tokens": 1, "reserve_tokens": 0, "reserve_cost_usd": 0, "input_tokens": 0, "output_tokens": 0,
    "cache_read_input_tokens": 0, "cache_write_input_tokens": 0, "reasoning_output_tokens": 0, "cost_usd": 0, "retries": 0,
    "duration_seconds": 0, "first_token_seconds": 0, "predicted_output_tokens": 0, "escalated_from": 0, "base_output_tokens": 0, "target_rate": 0, "retry_after_seconds": 0,
}  # fmt: skip

_MOST = dict.fromkeys(
    (
        "max_tokens", "reserve_tokens", "input_tokens", "output_tokens", "cache_read_input_tokens",
        "cache_write_input_tokens", "reasoning_output_tokens",
    ),
    MAX_TOKENS,
)  # fmt: skip


def _no_boolean_numbers(value: Any) -> Any:
    """To Python `true` is the number 1; to whoever sent it, it is a mistake."""
    for name, each in value.items() if isinstance(value, dict) else ():
        if name in _LEAST:
            _no_boolean(each)
    return value


def _plausible(value: Any) -> Any:
    """A domain value, and those inside it, within the lengths and ranges that the columns hold."""
    for name, found in vars(value).items():
        if isinstance(found, str) and not len(found) <= _LONGEST.get(name, len(found)):
            raise ValueError(f"{name} is longer than {_LONGEST[name]} characters")
        if name in _LEAST and found is not None:
            least, most = _LEAST[name], _MOST.get(name, MAX_INTEGER)
            if not least <= found <= most:
                raise ValueError(f"{name} is not a number from {least} to {most}")
        if is_dataclass(found):
            _plausible(found)
    return value


def _plausible_call(request: CallRequest) -> CallRequest:
    if not request.call_id:
        raise ValueError("call_id is empty")
    return cast("CallRequest", _plausible(request))


def _plausible_result(result: CallResult) -> CallResult:
    usage = result.usage
    cached = (usage.cache_read_input_tokens or 0) + (usage.cache_write_input_tokens or 0)
    if usage.input_tokens is not None and cached > usage.input_tokens:
        raise ValueError("usage: cached tokens are part of input_tokens, which is smaller")
    if usage.output_tokens is not None and (usage.reasoning_output_tokens or 0) > usage.output_tokens:
        raise ValueError("usage: reasoning_output_tokens is part of output_tokens, which is smaller")
    return cast("CallResult", _plausible(result))


def _plausible_outcome(outcome: Outcome) -> Outcome:
    if (outcome.retry_after_seconds or 0) > MAX_RETRY_AFTER_SECONDS:
        raise ValueError(f"retry_after_seconds is more than {MAX_RETRY_AFTER_SECONDS}")
    if (outcome.outcome is AttemptOutcome.NEEDS_APPROVAL) != (outcome.approval is not None):
        raise ValueError("approval belongs to the outcome NEEDS_APPROVAL, and to no other")
    if outcome.approval is not None:
        _check("approval", partial(ApprovalBody.model_validate, outcome.approval))
    for name in ("policy_hash", "plan_hash", "inputs_hash", "result_tree"):
        if getattr(outcome, name) is not None and not re.fullmatch("[0-9a-f]{16,64}", getattr(outcome, name)):
            raise ValueError(f"{name} is no hash: 16 to 64 hexadecimal digits")
    _check("changes", partial(_CHANGES.validate_python, outcome.changes or ()))
    _check("holds", partial(_HOLDS.validate_python, outcome.holds))
    return cast("Outcome", _plausible(outcome))


def _check(name: str, validate: Callable[[], object]) -> None:
    """What is validated within a value tells no more of it than what is validated as a body."""
    try:
        validate()
    except ValidationError as error:
        raise ValueError(f"{name}: {validation_detail(error.errors(include_input=False))}") from None


class _EntryBody(Body):
    mode: Annotated[str, StringConstraints(pattern=r"^[0-7]{6}$")]
    oid: Commit


class _ChangeBody(Body):
    """One path of an applied plan: what it was, and what it is."""

    path: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    before: _EntryBody | None
    after: _EntryBody | None


_CHANGES: TypeAdapter[tuple[_ChangeBody, ...]] = TypeAdapter(
    Annotated[tuple[_ChangeBody, ...], Field(max_length=10_000)]
)


_HOLDS: TypeAdapter[tuple[str, ...]] = TypeAdapter(Holds)


_Request = Annotated[CallRequest, BeforeValidator(_no_boolean_numbers), AfterValidator(_plausible_call)]


class ReserveBody(Body):
    lease_token: Token
    request: _Request


class SettleBody(Body):
    lease_token: Token
    result: Annotated[CallResult, BeforeValidator(_no_boolean_numbers), AfterValidator(_plausible_result)]


class ApprovalBody(Body):
    """What a person is asked about: exactly this plan, on exactly this base, as it was judged and checked.

    Without `timeout_minutes` it waits for ever. With them `on_timeout` says whether it goes on waiting, marked as
    overdue, or is rejected by nobody's word.
    """

    reasons: list[Text] = Field(min_length=1, max_length=MAX_REASONS)
    plan: JsonObject
    diff: str
    diff_hash: Annotated[str, StringConstraints(max_length=64)]
    base_commit: Annotated[str, StringConstraints(max_length=64)]
    policy_hash: Digest | None = None
    checks_hash: Digest | None = None
    timeout_minutes: Annotated[int, Field(strict=True, ge=1, le=5_000_000)] | None = None
    on_timeout: Literal["wait", "reject"] = "wait"


class FinishBody(Body):
    """`claim_next` saves a round trip: the answer then holds the next claim, or why there is none."""

    lease_token: Token
    outcome: Annotated[Outcome, BeforeValidator(_no_boolean_numbers), AfterValidator(_plausible_outcome)]
    claim_next: ClaimBody | None = None


class FinishAnswer(BaseModel):
    phase: Phase
    next: ClaimAnswer | None = None


class LostBody(Body):
    """Sent by a drain that has seen that the worker's process is gone."""

    worker: WorkerName


class BudgetBody(Body):
    """`request` is the one that was refused: whether it still does not fit is asked again. Without it `reason` is believed."""

    lease_token: Token
    reason: Text
    request: _Request | None = None


class ActorBody(Body):
    by: PersonName = "a person"
    reason: Text | None = None


class DecideBody(ActorBody):
    """With `run_id`, a request of another run is not decided."""

    run_id: Id | None = None


class UndoneBody(ActorBody):
    """`commit` was the phase's work; `undo_commit` takes it back on the run's branch.

    `holds` are commits below `undo_commit`, as far back as the run's `head_commit` when it was made; see `Outcome.holds`.
    """

    commit: Commit
    undo_commit: Commit
    holds: Holds = ()


class BaselineBody(Body):
    report: JsonObject


class BaselineAnswer(BaseModel):
    """`report` is None while nobody has stored one."""

    report: JsonObject | None


class ResumeBody(ActorBody):
    """Caps given here replace the run's."""

    token_cap: Count | None = None
    cost_cap_usd: Dollars | None = None
    max_duration_minutes: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] | None = None
    max_phases: Count | None = None
