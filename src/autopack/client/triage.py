"""Sessions of triage: what may be tried, and what came of it."""

from autopack.client.http import Conversation, body_of, id_part
from autopack.client.reports import cut
from autopack.domain import triage
from autopack.domain.storable import storable_text
from autopack.schemas import telemetry as told


class TriageCalls(Conversation):
    async def triage_candidates(
        self, *, run_id: str | None = None, session_id: str | None = None
    ) -> list[triage.Candidate]:
        """All of them, in order of run and plan, page by page."""
        found: list[triage.Candidate] = []
        while True:
            last = found[-1] if found else None
            page = await self._call(
                list[triage.Candidate], "GET", "/triage/candidates", run_id=run_id, session_id=session_id, limit=1000,
                after_run=last and last.run_id, after_phase=last and last.phase_index,
            )  # fmt: skip
            found += page
            if len(page) < 1000:
                return found

    async def open_triage(self, session_id: str, options: triage.Options) -> triage.Session:
        """Begins a session, or goes on with it under these options."""
        body = body_of(told.TriageSessionBody, session_id=session_id, options=options)
        return await self._call(triage.Session, "POST", "/triage/sessions", body)

    async def triage_sessions(self, *, unfinished: bool = False) -> list[triage.Session]:
        """The newest first, at most a hundred."""
        return await self._call(list[triage.Session], "GET", "/triage/sessions", unfinished=unfinished)

    async def triage_session(self, session_id: str) -> triage.Session:
        return await self._call(triage.Session, "GET", f"/triage/sessions/{id_part(session_id)}")

    async def triage_items(self, session_id: str) -> list[triage.Item]:
        """All of them, in the order of trying, page by page."""
        found: list[triage.Item] = []
        while True:
            after = found[-1].position if found else 0
            path = f"/triage/sessions/{id_part(session_id)}/items"
            page = await self._call(list[triage.Item], "GET", path, after=after, limit=1000)
            found += page
            if len(page) < 1000:
                return found

    async def start_trial(
        self, session_id: str, position: int, key: triage.Key, *, worker: str, before: triage.Before
    ) -> triage.Item:
        """Raises Conflict where another controller works on the session."""
        body = body_of(
            told.TriageItemBody, position=position, run_id=key[0], phase_id=key[1], worker=worker, before=before
        )  # fmt: skip
        return await self._call(triage.Item, "POST", f"/triage/sessions/{id_part(session_id)}/items", body)

    async def finish_trial(self, session_id: str, position: int, trial: triage.Trial) -> triage.Item:
        body = body_of(told.TriageResultBody, result=trial)
        path = f"/triage/sessions/{id_part(session_id)}/items/{position}/finish"
        return await self._call(triage.Item, "POST", path, body)

    async def stop_triage(self, session_id: str, reason: str, *, ended: bool) -> triage.Session:
        body = body_of(told.TriageStopBody, reason=cut(storable_text(reason)), ended=ended)
        return await self._call(triage.Session, "POST", f"/triage/sessions/{id_part(session_id)}/stop", body)
