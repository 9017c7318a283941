"""What a phase did: what an attempt changed, and the log."""

from autopack.client.http import Conversation, id_part
from autopack.domain.kept_diff import PhaseDiff
from autopack.domain.phase_log import PhaseLog


class PhaseLogCalls(Conversation):
    async def phase_diff(self, run_id: str, phase_id: str, *, attempt: int | None = None) -> PhaseDiff:
        """Without `attempt`, of the one whose work is the phase's, else of the last that left a diff."""
        path = f"/runs/{id_part(run_id)}/phases/{id_part(phase_id)}/diff"
        return await self._call(PhaseDiff, "GET", path, attempt=attempt)

    async def phase_log(
        self, run_id: str, phase_id: str, *, attempt: int | None = None, tail: int = 200
    ) -> PhaseLog:
        """The last `tail` lines, oldest first."""
        path = f"/runs/{id_part(run_id)}/phases/{id_part(phase_id)}/log"
        return await self._call(PhaseLog, "GET", path, attempt=attempt, tail=tail)
