"""A model call as the database keeps it: asked for with its worst case, settled with what really came."""

from dataclasses import dataclass, field

from autopack.domain.messages import ProviderMode, Role, Usage
from autopack.domain.phases import JsonObject


@dataclass(frozen=True, kw_only=True)
class CallRequest:
    """`reserve_tokens` and `reserve_cost_usd` are the most that the call can take; no cost is an unknown price."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    call_id: str
    role: Role
    provider: str
    model: str
    provider_mode: ProviderMode
    request_key: str
    max_tokens: int
    reserve_tokens: int
    reserve_cost_usd: float | None = None
    base_commit: str | None = None
    """What the prompt was made from: a try that resumes this one asks the same question only on the same base."""


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """`completion` is there when a dead try of the phase already got the answer: then nothing is to be called."""

    call_id: str
    ask: int
    completion: JsonObject | None = None


@dataclass(frozen=True, kw_only=True)
class EstimateMade:
    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    predicted_output_tokens: int
    version: str
    features: JsonObject
    escalated_from: int | None = None
    base_output_tokens: float | None = None
    reasoning_level: str | None = None
    model_family: str | None = None
    budget_source: str | None = None
    target_rate: float | None = None
    alpha: float | None = None


@dataclass(frozen=True, kw_only=True)
class CallResult:
    """What came of a call: a completion, or an error. `may_have_been_paid` tells a cut answer from a refusal."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    completion: JsonObject | None = None
    usage: Usage = field(default_factory=Usage)
    usage_source: str = "missing"
    finish_reason: str | None = None
    is_truncated: bool = False
    model: str | None = None
    cost_usd: float | None = None
    cost_source: str | None = None
    price_table_version: str | None = None
    error: str | None = None
    may_have_been_paid: bool = True
    response_id: str | None = None
    retries: int = 0
    duration_seconds: float | None = None
    first_token_seconds: float | None = None
    estimate: EstimateMade | None = None
