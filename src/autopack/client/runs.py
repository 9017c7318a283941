"""Runs, phases and approvals, as people read and change them."""

from collections.abc import Sequence
from typing import Any

from autopack import schemas
from autopack.client.http import Conversation, body_of, id_part
from autopack.domain.control import PhaseActed
from autopack.domain.phases import Approval, Attempt, Event, Phase, PhaseState, Run, RunState
from autopack.domain.telemetry import UsageEvent
from autopack.schemas.control import MAX_AT_ONCE, PauseAfterBody, PhaseActionsBody, RunChangesBody

_APPROVALS_AT_ONCE = 100  # each with its whole diff


class RunCalls(Conversation):
    async def create_run(self, plan: schemas.PlanBody, *, by: str | None = None) -> tuple[Run, bool]:
        """The run, and whether it was made now (False: the same one was there)."""
        response = await self._send(
            "POST", "/runs", plan.model_dump(mode="json"), {} if by is None else {"by": by}
        )
        return self._decode(Run, response), response.status_code == 201

    async def run(self, run_id: str) -> Run:
        return await self._call(Run, "GET", f"/runs/{id_part(run_id)}")

    async def runs(
        self, *, after: str | None = None, state: RunState | None = None, q: str | None = None
    ) -> list[Run]:
        """A page, in order of run_id, with the phases counted; `q` is a part of the id or of the goal."""
        return await self._call(list[Run], "GET", "/runs", after=after, state=state, q=q)

    async def change_run(self, run_id: str, action: str, body: schemas.ActorBody) -> Run:
        """`action` is pause, resume or cancel."""
        return await self._call(Run, "POST", f"/runs/{id_part(run_id)}/{action}", body)

    async def change_run_settings(
        self, run_id: str, *, by: str, reason: str | None = None, **changes: Any
    ) -> Run:
        """Caps, concurrency and builder_model: those that are named; None takes away."""
        body = body_of(RunChangesBody, by=by, reason=reason, **changes)
        content = {"by": body.by, "reason": body.reason, **body.changes}  # what is not named is not sent
        return self._decode(Run, await self._send("PATCH", f"/runs/{id_part(run_id)}", content, {}))

    async def phase(self, run_id: str, phase_id: str) -> Phase:
        return await self._call(Phase, "GET", f"/runs/{id_part(run_id)}/phases/{id_part(phase_id)}")

    async def phases(self, run_id: str, *, state: PhaseState | None = None) -> list[Phase]:
        """All of them, in plan order, page by page."""
        found: list[Phase] = []
        while True:
            after = found[-1].phase_index if found else -1
            page = await self._call(
                list[Phase], "GET", f"/runs/{id_part(run_id)}/phases", state=state, after=after, limit=1000
            )
            found += page
            if len(page) < 1000:
                return found

    async def change_phase(self, run_id: str, phase_id: str, action: str, body: schemas.ActorBody) -> Phase:
        """`action` is requeue or skip."""
        return await self._call(
            Phase, "POST", f"/runs/{id_part(run_id)}/phases/{id_part(phase_id)}/{action}", body
        )

    async def pause_after(
        self, run_id: str, phase_id: str, *, by: str, reason: str | None = None, pause: bool = True
    ) -> Phase:
        """Whether the run pauses when this phase has ended."""
        body = body_of(PauseAfterBody, by=by, reason=reason, pause=pause)
        return await self._call(
            Phase, "POST", f"/runs/{id_part(run_id)}/phases/{id_part(phase_id)}/pause-after", body
        )

    async def act_on_phases(
        self, run_id: str, phase_ids: Sequence[str], action: str, *, by: str, reason: str | None = None
    ) -> list[PhaseActed]:
        """`action` is requeue or skip. Each by itself: one that cannot is told, and the others are done."""
        path, acted = f"/runs/{id_part(run_id)}/phase-actions", list[PhaseActed]()
        for start in range(0, len(phase_ids), MAX_AT_ONCE):
            some = phase_ids[start : start + MAX_AT_ONCE]
            body = body_of(PhaseActionsBody, action=action, phase_ids=some, by=by, reason=reason)
            acted += await self._call(list[PhaseActed], "POST", path, body)
        return acted

    async def attempts(self, run_id: str, phase_id: str) -> list[Attempt]:
        return await self._call(
            list[Attempt], "GET", f"/runs/{id_part(run_id)}/phases/{id_part(phase_id)}/attempts"
        )

    async def calls(self, run_id: str, phase_id: str | None = None) -> list[UsageEvent]:
        """All of them, in the order in which they were asked for, page by page."""
        path, found = f"/runs/{id_part(run_id)}/calls", list[UsageEvent]()
        while True:
            after = found[-1].id if found else 0
            page = await self._call(list[UsageEvent], "GET", path, phase_id=phase_id, after=after, limit=1000)
            found += page
            if len(page) < 1000:
                return found

    async def events(self, run_id: str, *, after: int = 0) -> list[Event]:
        return await self._call(
            list[Event], "GET", f"/runs/{id_part(run_id)}/events", after=after, limit=1000
        )

    async def approvals(self, *, run_id: str | None = None, status: str | None = None) -> list[Approval]:
        """All of them, in the order in which they were asked for, page by page."""
        found: list[Approval] = []
        most = _APPROVALS_AT_ONCE
        while True:
            after = found[-1].approval_id if found else None
            page = await self._call(
                list[Approval], "GET", "/approvals", run_id=run_id, status=status, after=after, limit=most
            )
            found += page
            if len(page) < most:
                return found

    async def approval(self, approval_id: str) -> Approval:
        return await self._call(Approval, "GET", f"/approvals/{id_part(approval_id)}")

    async def decide(self, approval_id: str, action: str, body: schemas.ActorBody) -> Approval:
        """`action` is approve or reject."""
        return await self._call(Approval, "POST", f"/approvals/{id_part(approval_id)}/{action}", body)
