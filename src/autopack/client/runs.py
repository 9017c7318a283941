"""Runs, phases and approvals, as people read and change them."""

from autopack import schemas
from autopack.client.http import Conversation, id_part
from autopack.domain.phases import Approval, Attempt, Event, Phase, PhaseState, Run
from autopack.domain.telemetry import UsageEvent

_APPROVALS_AT_ONCE = 100  # each with its whole diff


class RunCalls(Conversation):
    async def create_run(self, plan: schemas.PlanBody) -> tuple[Run, bool]:
        """The run, and whether it was made now (False: the same one was there)."""
        response = await self._send("POST", "/runs", plan.model_dump(mode="json"), {})
        return self._decode(Run, response), response.status_code == 201

    async def run(self, run_id: str) -> Run:
        return await self._call(Run, "GET", f"/runs/{id_part(run_id)}")

    async def runs(self, *, after: str | None = None) -> list[Run]:
        return await self._call(list[Run], "GET", "/runs", after=after)

    async def change_run(self, run_id: str, action: str, body: schemas.ActorBody) -> Run:
        """`action` is pause, resume or cancel."""
        return await self._call(Run, "POST", f"/runs/{id_part(run_id)}/{action}", body)

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
