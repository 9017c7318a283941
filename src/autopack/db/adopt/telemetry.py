"""Usage rows and estimation events of the earlier system as rows of ours. Pure."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from autopack.db.adopt import words
from autopack.db.adopt.plans import Carried, became, dated
from autopack.db.adopt.scope import strings
from autopack.db.adopt.source import Row
from autopack.db.adopt.values import Value, as_json, count, flag, moment, text, written
from autopack.domain.storable import MAX_TOKENS, storable

ADOPTED = "adopted"
VERSION = "earlier"
UNKNOWN = "unknown"
# Which part of the total the earlier system called prompt, by role: it knew the total alone.
_SHARES = {"builder": 0.4, "auditor": 0.6, "doctor": 0.7, "manifest": 0.8, "agent:": 0.8}
_TOO_LARGE = "its numbers of tokens are larger than any call can use"
# Members of the family name the budgets of an escalation differently.
_FROM, _TO = (
    ("from_budget", "base_value", "selected_budget"),
    ("to_budget", "retry_max_tokens", "actual_max_tokens"),
)
_GUESSED = "the split into prompt and completion was guessed from the total: unknown here"


def _found(row: Row, lineage: str, table: str, *fixed: tuple[str, ...]) -> dict[str, Any]:
    """The call id is made of what never changes of a row, so a later state of the same database gives the same one.

    `fixed` are columns, each with the other names that it has in the family.
    """
    columns = (("run_id",), ("phase_id",), *fixed)
    made_of = [table, row.number, as_json({names[0]: row.get(*names) for names in columns})]
    return {
        "call_id": hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:32], "origin": ADOPTED,
        "source_database_id": lineage, "source_row_id": row.number,
    }  # fmt: skip


def usage(row: Row, *, run_id: str | None, phase_id: str | None, lineage: str, undated: datetime) -> Carried:
    """`undated` is the moment of a row that has none. It must not be that of the adoption: no call was made then."""
    when = "created_at" if row.get("created_at") is not None else "timestamp"
    created, undated_note = dated(row, when, undated)
    tokens, counted = _tokens(row)
    role, provider, model = (
        text(row.get("role"), 40) or UNKNOWN,
        text(row.get("provider"), 80) or UNKNOWN,
        text(row.get("model"), 200) or UNKNOWN,
    )
    values = {
        **_found(row, lineage, "llm_usage_events", *_fixed_of_usage(row)), **tokens, "run_id": run_id, "phase_id": phase_id, "role": role,
        "status": "answered", "provider": provider, "model": model, "provider_mode": "live", "reserved_tokens": 0,
        "usage_source": ADOPTED, "created_at": created, "completed_at": created,
    }  # fmt: skip
    return Carried(values=values, changes=(*undated_note, *counted))


def _fixed_of_usage(row: Row) -> list[tuple[str, ...]]:
    parts = [("prompt_tokens",), ("completion_tokens",)]
    # A total may have been added to the table, and filled in, when the row was there already.
    counted = parts if row.get("prompt_tokens", "completion_tokens") is not None else [("total_tokens",)]
    return [("created_at", "timestamp"), ("role",), ("provider",), ("model",), *counted]


def _tokens(row: Row) -> tuple[dict[str, int | None], tuple[str, ...]]:
    """The total, and the parts where they were measured."""
    prompt, completion, said = (
        _tokens_in(row, name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    )
    known = (prompt or 0) + (completion or 0)
    parts = known if prompt is not None and completion is not None else None
    if said == 0 and known:
        said = None  # a total that was added to the table later is 0 in the rows that were there
    total = parts if said is None else max(said, known)
    if total is None:
        return _counted(prompt, completion, None), ("the tokens are missing or unreadable: unknown here",)
    if parts is None or prompt is None:
        return _counted(None, None, total), ()
    if said not in (None, parts):
        return _counted(None, None, total), (
            "prompt and completion are not the total: their split is unknown here",
        )
    if is_guessed(text(row.get("role")), total, prompt):
        return _counted(None, None, total), (_GUESSED,)
    return _counted(prompt, completion, total), ()


def _tokens_in(row: Row, name: str) -> int | None:
    found = count(row.get(name))
    return found if found is not None and found <= MAX_TOKENS else None


def _counted(prompt: int | None, completion: int | None, total: int | None) -> dict[str, int | None]:
    return {"input_tokens": prompt, "output_tokens": completion, "total_tokens": total}


def _share(role: str | None) -> float | None:
    return next((share for name, share in _SHARES.items() if name in (role or "").lower()), None)


def is_guessed(role: str | None, total: int, prompt: int) -> bool:
    """Whether the prompt is that share of the total, however it was rounded; of a strange role, any such share."""
    share = _share(role)
    return any(abs(prompt - total * each) < 1 for each in ([share] if share else set(_SHARES.values())))


def usage_back(values: Mapping[str, Any]) -> dict[str, Value]:
    prompt, completion, total = (values[f"{name}_tokens"] for name in ("input", "output", "total"))
    share = _share(values["role"])
    if prompt is None and total is not None and share:
        prompt = int(total * share)
        completion = total - prompt
    return {
        "id": values["source_row_id"], "provider": values["provider"], "model": values["model"], "run_id": values["run_id"],
        "phase_id": values["phase_id"], "role": values["role"], "prompt_tokens": prompt, "completion_tokens": completion,
        "total_tokens": total, "created_at": written(values["created_at"]), "is_doctor_call": 0,
    }  # fmt: skip


def estimation(
    row: Row, *, run_id: str | None, phase_id: str | None, lineage: str, undated: datetime
) -> Carried | str:
    """The reason, where the event cannot be one here."""
    predicted, budget = count(row.get("predicted_output_tokens")), count(row.get("selected_budget"))
    if predicted is None or budget is None:
        return "it holds no estimate that can be read"
    if max(predicted, budget) > MAX_TOKENS:
        return _TOO_LARGE
    when, undated_note = dated(row, "timestamp", moment(row.get("created_at")) or undated)
    actual, stop = _tokens_in(row, "actual_output_tokens"), text(row.get("stop_reason"), 40)
    truncated = flag(row.get("truncated"))
    category, complexity = (
        words.category(text(row.get("category"))),
        words.complexity(text(row.get("complexity"))),
    )
    deliverables = _deliverables(row.get("deliverables_json"))
    named = count(row.get("deliverable_count"))
    values = {
        **_found(row, lineage, "token_estimation_v2_events", ("timestamp",), ("predicted_output_tokens",), ("selected_budget",)),
        "run_id": run_id or UNKNOWN, "phase_id": phase_id or UNKNOWN,
        "timestamp": when, "category": category, "complexity": complexity, "deliverables_json": deliverables,
        "deliverable_count": len(deliverables) if named is None else named, "estimator_version": VERSION,
        "predicted_output_tokens": predicted, "selected_budget": budget, "actual_output_tokens": actual,
        "success": flag(row.get("success")), "truncated": stop == "max_tokens" if truncated is None else truncated,
        "stop_reason": stop, "model": text(row.get("model"), 200) or UNKNOWN, "provider_mode": "live",
        "is_complete": stop is not None and actual is not None,
    }  # fmt: skip
    changes = (*became("category", row.get("category"), category), *became("complexity", row.get("complexity"), complexity), *undated_note)  # fmt: skip
    return Carried(values=values, changes=changes)


def _deliverables(value: Value) -> list[str]:
    try:
        return [str(storable(each)) for each in strings(json.loads(value))] if isinstance(value, str) else []
    except (ValueError, RecursionError):
        return []


def estimation_back(values: Mapping[str, Any]) -> dict[str, Value]:
    success, when = values["success"], written(values["timestamp"])
    return {
        "event_id": values["source_row_id"], "run_id": values["run_id"], "phase_id": values["phase_id"], "timestamp": when,
        "created_at": when, "category": values["category"], "complexity": values["complexity"],
        "deliverable_count": values["deliverable_count"], "deliverables_json": json.dumps(values["deliverables_json"]),
        "predicted_output_tokens": values["predicted_output_tokens"], "selected_budget": values["selected_budget"],
        "actual_output_tokens": values["actual_output_tokens"], "success": None if success is None else int(success),
        "truncated": int(values["truncated"]), "stop_reason": values["stop_reason"], "model": values["model"],
        "is_truncated_output": 0,
    }  # fmt: skip


def escalation(
    row: Row, *, run_id: str | None, phase_id: str | None, lineage: str, undated: datetime
) -> Carried | str:
    """The reason, where the event cannot be one here."""
    before, after = count(row.get(*_FROM)), count(row.get(*_TO))
    if before is None or after is None:
        return "it does not say from which budget to which"
    if max(before, after) > MAX_TOKENS:
        return _TOO_LARGE
    when, undated_note = dated(row, "timestamp", moment(row.get("created_at")) or undated)
    values = {
        **_found(row, lineage, "token_budget_escalation_events", ("timestamp",), _FROM, _TO),
        "run_id": run_id or UNKNOWN, "phase_id": phase_id or UNKNOWN,
        "timestamp": when, "reason": text(row.get("reason"), 40) or "truncated", "from_budget": before, "to_budget": after,
        "model": text(row.get("model"), 200) or UNKNOWN,
    }  # fmt: skip
    return Carried(values=values, changes=tuple(undated_note))


def escalation_back(values: Mapping[str, Any]) -> dict[str, Value]:
    same = ("run_id", "phase_id", "reason", "from_budget", "to_budget", "model")
    return {name: values[name] for name in same} | {
        "event_id": values["source_row_id"],
        "timestamp": written(values["timestamp"]),
    }
