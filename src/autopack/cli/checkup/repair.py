"""What `doctor --fix` puts right: only what nobody else can be using, and each thing told.

Attempts are given back as a drain does it, through the same calls, which leave their events. No row is recounted.
"""

from autopack.client import AutopackClient
from autopack.db.location import locate
from autopack.db.unfinished import take_back_second_name
from autopack.errors import AutopackError
from autopack.executor.liveness import is_dead
from autopack.settings import choose_database
from autopack.workspace.scratch import leftovers, sweep_leftovers


def files(database_url: str | None) -> list[str]:
    """Before the database is opened: what would keep it from being opened."""
    try:
        choice = choose_database(database_url)
        path = locate(choice.url, choice.directory).path
        if path is not None and path.exists() and (removed := take_back_second_name(path)) is not None:
            return [f"removed {removed}, a second name of the database, from a restore that was killed"]
    except AutopackError:
        pass  # what is wrong with the URL is found, and said, by the examination
    except OSError as error:
        return [f"not put right: {error}"]
    return []


async def queue(client: AutopackClient) -> list[str]:
    fixed = [
        f"gave back {lease.run_id} {lease.phase_id} (attempt {lease.number}): its worker is gone"
        for each in await client.workers()
        if is_dead(each.worker)
        for lease in each.leases
        if await client.report_lost(lease.attempt_id, each.worker)
    ]
    if ended := await client.give_back_expired():
        fixed.append(f"gave back {ended} more, whose lease had run out")
    if there := leftovers():
        swept = sweep_leftovers()
        fixed.append(f"removed {swept} of {len(there)} temporary directories that killed processes left")
    return fixed
