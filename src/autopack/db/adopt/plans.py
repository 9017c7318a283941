"""Runs and phases of the earlier system as rows of ours. Pure; `*_back` say what an old row can be had again from."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from autopack.db.adopt import words
from autopack.db.adopt.scope import Scoped, scoped
from autopack.db.adopt.source import Row
from autopack.db.adopt.values import Value, count, moment, text, written
from autopack.domain import lifecycle
from autopack.domain.phases import OPEN_STATES, PhaseState, RunState

_LONGEST_NAME, _LONGEST_TEXT = 500, 20_000
_DEFAULT_ATTEMPTS, _MOST_ATTEMPTS = 3, 100
_MOST_MINUTES = 1_000_000
_DONE = frozenset({PhaseState.COMPLETE, PhaseState.SKIPPED, PhaseState.CANCELLED})
_ENDED_FOR_A_PERSON = lifecycle.DONE_STATES - lifecycle.GIVEN_UP - {RunState.DONE_SUCCESS}
_HELD_BACK = (
    "adopted: what is QUEUED is held back by what failed in an earlier tier; requeue or skip that to go on"
)


@dataclass(frozen=True, kw_only=True)
class Carried:
    """A row for one of our tables, and what had to be put into other words for it."""

    values: dict[str, Any]
    changes: tuple[str, ...] = ()


def became(column: str, said: Value, ours: object) -> list[str]:
    """The note of a word that is another here; none where it is the same."""
    if said is not None and text(said) == str(ours):
        return []
    shown = "NULL" if said is None else repr(text(said, 40) or "")
    return [f"{column} {shown} became {ours}"]


def dated(row: Row, name: str, instead: datetime) -> tuple[datetime, list[str]]:
    """A moment that a row must have; `instead` stands where it has none that can be read."""
    found = moment(row.get(name))
    return (found, []) if found else (instead, [f"{name} was missing or unreadable: another moment stands for it"])  # fmt: skip


# Phases


def phase(row: Row, run: "EarlierRun", phase_id: str) -> Carried:
    """Without its tier and its place in the run, which depend on the others."""
    scope = scoped(row.get("scope"))
    state, problem = _phase_state(row, run, scope)
    attempts = min(count(row.get("builder_attempts", "attempts")) or 0, _MOST_ATTEMPTS - 1)
    created, undated = dated(row, "created_at", run.created_at)
    name = text(row.get("name"), _LONGEST_NAME) or phase_id
    values = {
        "id": row.number, "run_id": run.run_id, "phase_id": phase_id, "name": name, "goal": _goal(row, scope, name),
        "task_category": words.category(text(row.get("task_category"))), "complexity": words.complexity(text(row.get("complexity"))),
        "state": state, "priority": 0, "priority_rank": 0, "scope": scope.to_json(), "attempts": attempts,
        "max_attempts": _max_attempts(row, attempts, state),
        "failure_reason": problem or text(row.get("last_failure_reason"), _LONGEST_TEXT),
        "created_at": created, "updated_at": moment(row.get("updated_at")) or created,
        "started_at": moment(row.get("started_at")), "completed_at": None if state is PhaseState.QUEUED else moment(row.get("completed_at")),
    }  # fmt: skip
    words_of = ("phase_id", "state", "task_category", "complexity")
    changes = [note for column in words_of for note in became(column, row.get(column), values[column])]
    pathless = ["scope holds names that can be no path here"] if scope.unusable else []
    return Carried(values=values, changes=(*changes, *undated, *pathless))


def _phase_state(row: Row, run: "EarlierRun", scope: Scoped) -> tuple[PhaseState, str | None]:
    """With the reason, where a person has to look at the phase before it may go on."""
    said = text(row.get("state"))
    state = words.phase_state(said)
    if state is None:
        return (
            PhaseState.FAILED,
            f"adopted: the earlier database calls its state {said!r}, which means nothing here",
        )
    if state is PhaseState.QUEUED and run.is_cancelled:
        return PhaseState.CANCELLED, None
    if state is PhaseState.QUEUED and scope.limits_nothing:
        return (
            PhaseState.FAILED,
            "adopted: its scope names nothing that can be a path, so that nothing would limit the phase; requeue it, if it "
            "may write anywhere",
        )
    return state, None


def _goal(row: Row, scope: Scoped, name: str) -> str:
    said = text(row.get("description", "goal"), _LONGEST_TEXT) or scope.goal
    return ("\n\n".join(part for part in (said, scope.words) if part) or name)[:_LONGEST_TEXT]


def _max_attempts(row: Row, attempts: int, state: PhaseState) -> int:
    allowed = min(max(count(row.get("max_builder_attempts")) or _DEFAULT_ATTEMPTS, 1), _MOST_ATTEMPTS)
    return allowed if state in _DONE else max(allowed, attempts + 1)


def phase_back(values: Mapping[str, Any]) -> dict[str, Value]:
    """Of what never changes here; the rest is kept as it was."""
    same = ("id", "run_id", "phase_id", "phase_index", "name", "task_category", "complexity")
    return {name: values[name] for name in same} | {
        "description": values["goal"],
        "created_at": written(values["created_at"]),
    }


# Runs


@dataclass(frozen=True, kw_only=True)
class EarlierRun:
    """A run as it was found, with the id that it has here."""

    row: Row
    run_id: str
    created_at: datetime
    undated: tuple[str, ...] = ()

    @property
    def called(self) -> str | None:
        return text(self.row.get("state"))

    @property
    def is_cancelled(self) -> bool:
        return words.run_state(self.called) is RunState.CANCELLED


def earlier_run(row: Row, run_id: str, now: datetime) -> EarlierRun:
    created, undated = dated(row, "created_at", moment(row.get("updated_at")) or now)
    return EarlierRun(row=row, run_id=run_id, created_at=created, undated=tuple(undated))


def run(found: EarlierRun, phases: Collection[tuple[int, PhaseState]], *, tokens_used: int, unknown: int, label: str, now: datetime) -> Carried:  # fmt: skip
    """`phases` are the places of the tiers and the states of all its phases, `unknown` the number of its calls of unknown usage."""
    row, state = found.row, _run_state(found.called, phases)
    started = moment(row.get("started_at"))
    caps, lifted = _caps(row, len(phases), tokens_used=tokens_used, started=started, now=now)
    told = (
        []
        if found.called == state
        else [f"adopted: the earlier database calls it {found.called or 'nothing'}"]
    )
    told += (
        [_HELD_BACK]
        if state in lifecycle.DONE_STATES and any(each is PhaseState.QUEUED for _, each in phases)
        else []
    )
    reason = "; ".join([*told, *filter(None, [text(row.get("failure_reason"), _LONGEST_TEXT)])]) or None
    values = {
        "id": found.run_id, "goal": _run_goal(found), "state": state, "state_reason": reason,
        "plan_hash": hashlib.sha256(f"{label}/runs/{found.run_id}".encode()).hexdigest(),
        "safety_profile": text(row.get("safety_profile"), 40) or "standard", **caps,
        # A phase that failed there is started for the first time when it is claimed here.
        "phases_started": sum(each in _DONE for _, each in phases),
        "tokens_used": tokens_used, "calls_of_unknown_usage": unknown, "created_at": found.created_at,
        "updated_at": moment(row.get("updated_at")) or found.created_at, "started_at": started,
        "completed_at": moment(row.get("completed_at")) if state in lifecycle.DONE_STATES else None,
    }  # fmt: skip
    changes = [*became("id", row.get("id"), found.run_id), *became("state", row.get("state"), state), *found.undated, *lifted]  # fmt: skip
    return Carried(values=values, changes=tuple(changes))


def _run_goal(found: EarlierRun) -> str:
    said = text(found.row.get("goal_anchor", "goal"), _LONGEST_TEXT)
    return said or f"Run {found.run_id} of the earlier Autopack, which kept no goal of it."


def _run_state(called: str | None, phases: Collection[tuple[int, PhaseState]]) -> RunState:
    """Nothing is called done that is not; what nobody understands waits for a person."""
    state, present = words.run_state(called), frozenset(each for _, each in phases)
    if state is None:
        return RunState.PAUSED
    if state in (RunState.PAUSED, RunState.CANCELLED) or not present:
        return state
    if PhaseState.QUEUED in present and _is_held_back(phases):
        return state if state in _ENDED_FOR_A_PERSON else RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW
    if PhaseState.QUEUED in present:
        return RunState.QUEUED if state is RunState.QUEUED and present == {PhaseState.QUEUED} else RunState.RUNNING  # fmt: skip
    if state in lifecycle.DONE_STATES and state is not RunState.DONE_SUCCESS:
        return state
    return lifecycle.run_state(RunState.RUNNING, lifecycle.PhaseStates(present=present))


def _is_held_back(phases: Collection[tuple[int, PhaseState]]) -> bool:
    """Whether nothing QUEUED is in the first tier that is not finished: then there is nothing to claim."""
    first = min(tier for tier, state in phases if state in OPEN_STATES)
    return (first, PhaseState.QUEUED) not in phases


def _caps(
    row: Row, phases: int, *, tokens_used: int, started: datetime | None, now: datetime
) -> tuple[dict[str, int | None], list[str]]:
    """The earlier system declared caps and never kept them; one that is passed already would only stop the run for good."""
    tokens, minutes, most = (
        count(row.get(name)) for name in ("token_cap", "max_duration_minutes", "max_phases")
    )
    passed = {
        "token_cap": tokens is not None and tokens <= tokens_used,
        "max_duration_minutes": minutes is not None
        and (not 0 < minutes <= _MOST_MINUTES or (started is not None and _ends(started, minutes) <= now)),
        "max_phases": most is not None and most < max(phases, 1),
    }
    caps = {"token_cap": tokens, "max_duration_minutes": minutes, "max_phases": most}
    lifted = [f"{name} was passed already: no cap here" for name, is_passed in passed.items() if is_passed]
    return {name: None if passed[name] else value for name, value in caps.items()}, lifted


def _ends(started: datetime, minutes: int) -> datetime:
    try:
        return started + timedelta(minutes=minutes)
    except OverflowError:
        return started


def run_back(values: Mapping[str, Any]) -> dict[str, Value]:
    """Of what never changes here; the rest is kept as it was."""
    return {
        "id": values["id"],
        "goal_anchor": values["goal"],
        "safety_profile": values["safety_profile"],
        "created_at": written(values["created_at"]),
    }
