"""What is wrong with a plan: every problem in one go, each with its place."""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from autopack.domain.phases import Scope
from autopack.domain.plan import PhasePlan, Plan, TierPlan, problems
from autopack.domain.storable import MAX_NESTING, reject_unstorable
from autopack.schemas import PhaseBody, PlanBody, ScopeBody, TierBody

Place = tuple[str | int, ...]
_BODIES: Mapping[str, type[BaseModel]] = {
    "": PlanBody, "tiers": TierBody, "phases": PhaseBody, "scope": ScopeBody,
}  # fmt: skip
_KINDS = ((bool, "true or false"), (int, "a number"), (float, "a number"), (date, "a date"), (time, "a time"))


@dataclass(frozen=True, kw_only=True)
class PlanProblem:
    """`place` leads to the value from the top of the plan; empty where the plan as a whole is meant."""

    place: Place
    message: str
    tier_id: str | None = None
    phase_id: str | None = None

    @property
    def where(self) -> str:
        return ".".join(str(part) for part in self.place)


def examine(value: Mapping[str, Any]) -> PlanBody | list[PlanProblem]:
    """The plan that the value is, or all that is wrong with it. No value that was given is repeated: it may be a secret."""
    unstorable = list(dict.fromkeys(_unstorable(value)))
    mended = _mended(value, {place for place, _ in unstorable}) if unstorable else value
    errors: Sequence[tuple[Place, str]] = []
    try:
        body = PlanBody.model_validate(mended)
    except ValidationError as error:
        errors = [
            (each["loc"], _message(each, mended)) for each in error.errors(include_url=False) if each["loc"]
        ]
    else:
        if not unstorable:
            return body
    found = [_problem(place, message, value) for place, message in (*unstorable, *errors)]
    return found + [_of_the_whole(text, value) for text in _whole_problems(mended)]


def _message(error: Mapping[str, Any], value: Any) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return message + _meant(error["loc"])
    if error["type"] == "string_type":
        given = _at(value, error["loc"])
        kind = next((words for kind, words in _KINDS if isinstance(given, kind)), None)
        return f"{message}; this reads as {kind}: put it in quotes" if kind else message
    return message


def _meant(place: Place) -> str:
    names = [part for part in place if isinstance(part, str)]
    body = _BODIES.get(names[-2] if len(names) > 1 else "")
    near = get_close_matches(names[-1], body.model_fields, n=1) if body and names else []
    return f"; {near[0]} is meant?" if near else ""


def _problem(place: Place, message: str, value: Any) -> PlanProblem:
    """With the ids of the tier and the phase that it is in, where these can be read."""
    tier_id = phase_id = None
    if len(place) > 1 and place[0] == "tiers":
        tier_id = _text(_at(value, (*place[:2], "tier_id")))
        if len(place) > 3 and place[2] == "phases":
            phase_id = _text(_at(value, (*place[:4], "phase_id")))
    return PlanProblem(place=place, message=message, tier_id=tier_id, phase_id=phase_id)


def _of_the_whole(text: str, value: Any) -> PlanProblem:
    """A problem that names its phase is told with the place of that phase, and not twice with its id."""
    named = text.split(" ")[1].rstrip(":") if text.startswith("phase ") else None
    for place, phase in _phases(value):
        if named is not None and phase.get("phase_id") == named:
            return PlanProblem(place=place, message=text)
    return PlanProblem(place=(), message=text)


def _unstorable(value: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    if len(place) > MAX_NESTING:
        yield place[:2], f"nested more than {MAX_NESTING} levels deep"
        return
    if isinstance(value, dict | list | tuple):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _unstorable_leaf(key, place)
            yield from _unstorable(each, (*place, key))
    else:
        yield from _unstorable_leaf(value, place)


def _unstorable_leaf(value: Any, place: Place) -> Iterator[tuple[Place, str]]:
    try:
        reject_unstorable(value)
    except ValueError as error:
        yield place, str(error)


def _mended(value: Any, places: set[Place], place: Place = ()) -> Any:
    """With something harmless instead of what cannot be stored, so that whatever else is wrong is found as well."""
    if place in places and place:
        return "x" if isinstance(value, str) else 1 if isinstance(value, int) else None
    if isinstance(value, dict):
        kept = {key: each for key, each in value.items() if not list(_unstorable_leaf(key, ()))}
        return {key: _mended(each, places, (*place, key)) for key, each in kept.items()}
    if isinstance(value, list | tuple):
        return [_mended(each, places, (*place, number)) for number, each in enumerate(value)]
    return value


def _whole_problems(value: Any) -> list[str]:
    """What the plan as a whole says wrong, as far as its parts can be read."""
    phases = [phase for _, phase in _phases(value)]
    found = problems(_skeleton(value))
    if all(_text(phase.get("phase_id")) for phase in phases):
        return found
    return [text for text in found if not text.endswith("which is not in the plan")]


def _phases(value: Any) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    for position, tier in enumerate(_items(value, "tiers")):
        for number, phase in enumerate(_items(tier, "phases")):
            if isinstance(phase, dict):
                yield ("tiers", position, "phases", number), phase


def _skeleton(value: Any) -> Plan:
    tiers = []
    for position, tier in enumerate(_items(value, "tiers")):
        tier_id = (_text(tier.get("tier_id")) if isinstance(tier, dict) else None) or f"#{position}"
        phases = tuple(_skeleton_phase(phase) for phase in _items(tier, "phases") if _has_id(phase))
        tiers.append(TierPlan(tier_id=tier_id, name="", phases=phases))
    return Plan(run_id="", goal="", tiers=tuple(tiers))


def _skeleton_phase(phase: Mapping[str, Any]) -> PhasePlan:
    scope = phase.get("scope")
    named = {name: _texts(scope, name) for name in ("paths", "read_only_context", "deliverables")}
    return PhasePlan(
        phase_id=phase["phase_id"], name="", goal="", task_category="", complexity="",
        scope=Scope(**named), depends_on=_texts(phase, "depends_on"),
    )  # fmt: skip


def _has_id(phase: Any) -> bool:
    return isinstance(phase, dict) and _text(phase.get("phase_id")) is not None


def _texts(value: Any, name: str) -> tuple[str, ...]:
    found = (each for each in _items(value, name) if isinstance(each, str) and each)
    return tuple(unicodedata.normalize("NFC", each) for each in found)


def _items(value: Any, name: str) -> Sequence[Any]:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _at(value: Any, place: Place) -> Any:
    for part in place:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return None
    return value
