"""Reports of a worker as the queue takes them: what models and checks wrote may not keep an attempt from ending."""

from dataclasses import fields, replace
from typing import Any

from autopack import schemas
from autopack.domain.kept_diff import bounded_diff
from autopack.domain.phases import Outcome
from autopack.domain.storable import storable


def cut(text: str) -> str:
    """No longer than the queue takes, with a word on how long it was."""
    if len(text) <= schemas.MAX_TEXT_CHARS:
        return text
    remark = f"\n[cut: {len(text)} characters in all]"
    return text[: schemas.MAX_TEXT_CHARS - len(remark)] + remark


def reported(outcome: Outcome) -> Outcome:
    """As the queue takes it: what models and checks wrote may not keep an attempt from ending."""
    outcome = replace(outcome, diff=None if outcome.diff is None else bounded_diff(outcome.diff))
    told: dict[str, Any] = {field.name: storable(getattr(outcome, field.name)) for field in fields(outcome)}
    told["changes"] = None if outcome.changes is None else tuple(told["changes"])
    told["holds"] = outcome.holds[: schemas.MAX_HELD]
    for name in ("reason", "approval_void_reason"):
        told[name] = None if told[name] is None else cut(told[name])
    if outcome.approval is not None:
        told["approval"]["reasons"] = _few(told["approval"].get("reasons", []))
    return replace(outcome, **told)


def _few(reasons: list[str]) -> list[str]:
    most = schemas.MAX_REASONS
    kept = (
        reasons if len(reasons) <= most else [*reasons[: most - 1], f"[cut: {len(reasons)} reasons in all]"]
    )
    return [cut(reason) for reason in kept]
