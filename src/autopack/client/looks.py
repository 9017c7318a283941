"""What people ask about: why a run does not move, what happened meanwhile, who works on what, how much is left."""

from datetime import datetime

from autopack.client.http import Conversation, id_part
from autopack.domain.looks.digest import Digest
from autopack.domain.looks.outlook import Outlook
from autopack.domain.looks.why import Why
from autopack.domain.looks.workers import WorkerLook
from autopack.domain.phases import Event


class LookCalls(Conversation):
    async def why(self, run_id: str) -> Why:
        return await self._call(Why, "GET", f"/runs/{id_part(run_id)}/why")

    async def outlook(self, run_id: str) -> Outlook:
        return await self._call(Outlook, "GET", f"/runs/{id_part(run_id)}/outlook")

    async def digest(self, since: datetime, until: datetime | None = None) -> Digest:
        return await self._call(Digest, "GET", "/digest", since=since, until=until)

    async def workers(self) -> list[WorkerLook]:
        return await self._call(list[WorkerLook], "GET", "/workers")

    async def all_events(
        self, *, after: int = 0, run_id: str | None = None, since: datetime | None = None, limit: int = 1000
    ) -> list[Event]:
        """The next page; `after` is the event_id of the last one seen."""
        return await self._call(
            list[Event], "GET", "/events", after=after, run_id=run_id, since=since, limit=limit
        )

    async def last_event(self) -> int:
        """The id of the newest event; 0 where nothing has happened yet."""
        return (await self._call(dict[str, int], "GET", "/events/last"))["event_id"]
