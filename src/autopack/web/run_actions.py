"""What a person does about a run and its phases: forms that change something, and lead back to where they were."""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from fastapi.responses import RedirectResponse

from autopack.api.deps import ClockDep, DatabaseDep
from autopack.db import phases, runs
from autopack.db.pages.run_board import failed
from autopack.domain.control import CHANGEABLE, PhaseAction
from autopack.errors import Conflict, InvalidInput
from autopack.schemas import ActorBody, Id
from autopack.schemas.control import MAX_AT_ONCE, PauseAfterBody, PhaseActionsBody, RunChangesBody
from autopack.web.forms import FormDep, back

router = APIRouter(prefix="/ui/runs/{run_id}", include_in_schema=False)
RunId = Annotated[Id, Path()]
_NUMBERS: dict[str, tuple[Callable[[str], float], str]] = {
    "cost_cap_usd": (float, r"-?[0-9]{1,15}(\.[0-9]{1,15})?")
}
_DONE = {"pause": "paused", "resume": "resumed", "cancel": "cancelled"}
_CHANGES: dict[str, Callable[..., None]] = {"pause": runs.pause, "resume": runs.resume, "cancel": runs.cancel}


@router.post("/phases")
def act(run_id: RunId, given: FormDep, database: DatabaseDep, clock: ClockDep) -> RedirectResponse:
    """The same word about the phases that were chosen, or about all that failed: each by itself."""
    with database.transaction() as session:
        runs.row(session, run_id)
        shown = given.get("failed")
        wanted = _as_shown(failed(session, run_id, limit=MAX_AT_ONCE), shown) if shown else given.all("phase")
        if not wanted:
            return back(given, f"/ui/runs/{run_id}", "nothing")
        body = given.body(
            PhaseActionsBody, action=given.get("do"), phase_ids=wanted, reason=given.get("reason") or None
        )
        acted = phases.act(
            session,
            run_id,
            body.phase_ids,
            body.action,
            actor=given.actor,
            now=clock.now(),
            reason=body.reason,
        )
    done = sum(each.done for each in acted)
    code = "requeued" if body.action is PhaseAction.REQUEUE else "skipped"
    return back(given, f"/ui/runs/{run_id}", code if done else "", n=done, refused=len(acted) - done)


def _as_shown(found: list[str], shown: str) -> list[str]:
    """All that failed. Raises Conflict where they are not as many as the person saw."""
    if shown.isdecimal() and min(int(shown[:9]), MAX_AT_ONCE) == len(found):
        return found
    raise Conflict(
        f"{len(found)} failed by now, which is not what the page showed; look at them, then say it again. Nothing was changed"
    )


@router.post("/phases/{phase_id}/pause-after")
def pause_after(
    run_id: RunId, phase_id: Annotated[Id, Path()], given: FormDep, database: DatabaseDep, clock: ClockDep
) -> RedirectResponse:
    body = given.body(PauseAfterBody, pause=given.get("pause") != "false", reason=given.get("reason") or None)
    with database.transaction() as session:
        phases.pause_after(
            session,
            run_id,
            phase_id,
            pause=body.pause,
            actor=given.actor,
            now=clock.now(),
            reason=body.reason,
        )
    return back(given, f"/ui/runs/{run_id}", "pause_after" if body.pause else "no_pause_after")


@router.post("/set")
def change(run_id: RunId, given: FormDep, database: DatabaseDep, clock: ClockDep) -> RedirectResponse:
    changes = {
        name: _value(name, given.get(name))
        for name in CHANGEABLE
        if given.has(name) and given.get(name) != given.get(f"was_{name}")
    }
    if not changes:
        return back(given, f"/ui/runs/{run_id}", "nothing")
    body = given.body(RunChangesBody, reason=given.get("reason") or None, **changes)
    with database.transaction() as session:
        runs.change(session, run_id, body.changes, actor=given.actor, now=clock.now(), reason=body.reason)
    return back(given, f"/ui/runs/{run_id}", "changed")


def _value(name: str, text: str) -> Any:
    if not text or name == "builder_model":
        return text or None
    kind, digits = _NUMBERS.get(name, (int, r"-?[0-9]{1,19}"))
    if re.fullmatch(digits, text) is None:
        raise InvalidInput(f"{name.replace('_', ' ')} is not a number; nothing was changed")
    return kind(text)


@router.post("/{what}")
def steer(
    run_id: RunId, what: Literal["pause", "resume", "cancel"], given: FormDep, database: DatabaseDep, clock: ClockDep
) -> RedirectResponse:  # fmt: skip
    body = given.body(ActorBody, reason=given.get("reason") or None)
    with database.transaction() as session:
        _CHANGES[what](session, run_id, actor=given.actor, now=clock.now(), reason=body.reason)
    return back(given, f"/ui/runs/{run_id}", _DONE[what])
