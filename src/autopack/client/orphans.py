"""What a doctor asks of the queue."""

from autopack.client.http import Conversation
from autopack.domain.doctor import Inspection


class OrphanCalls(Conversation):
    async def inspection(self) -> Inspection:
        return await self._call(Inspection, "GET", "/inspection")

    async def give_back_expired(self) -> int:
        """How many attempts, of all runs, were ended because their lease had run out."""
        return (await self._call(dict[str, int], "POST", "/leases/give-back"))["given_back"]
