"""What the queue says of itself, through the client: in-process, or of a server."""

from autopack import __version__
from autopack.bootstrap import secret_of
from autopack.bootstrap.local import prove_same_database
from autopack.cli.common import check_address
from autopack.client import AutopackClient, remote
from autopack.clock import Clock, utc_now
from autopack.db.tables import REVISION
from autopack.domain.addresses import shown_address
from autopack.domain.doctor import (
    Finding,
    UnderWay,
    bad,
    judge_attempts,
    judge_clock,
    judge_daily,
    judge_orphans,
    note,
    ok,
)
from autopack.domain.looks.workers import WorkerLook
from autopack.errors import AutopackError
from autopack.executor.liveness import is_dead
from autopack.settings import Settings, explicit_database

_SERVERS, _DATABASES = "the server's clock", "the database's clock"


async def examine_server(url: str, settings: Settings, database_url: str | None) -> list[Finding]:
    """Whether it answers, as this version would, and works on the database that is named here."""
    shown = shown_address(url)
    try:
        check_address("--api-url", url)
        async with remote(url.rstrip("/"), api_key=secret_of(settings.api_key), patient=False) as client:
            about = await client.connect()
            named = explicit_database(database_url)
            if named is not None:
                await prove_same_database(client, named, url, Clock())
    except AutopackError as error:
        return [bad("server", str(error))]
    version, revision = about.get("version"), about.get("revision")
    detail = f"{shown} works on {about['url']} ({about['database_id']} at revision {revision}, epoch {about.get('epoch')})"
    findings = [
        bad("server", f"{detail}; this Autopack needs revision {REVISION}")
        if revision != REVISION
        else ok("server", detail)
    ]
    if version != __version__:
        words = f"the server is Autopack {version or 'of before it said so'}, this is {__version__}"
        findings.append(note("version", words, "install the same version on both sides"))
    same = "the same as the one that is named here" if named else "none is named here to compare it with"
    return [*findings, ok("same database", same)]


async def examine(client: AutopackClient) -> list[Finding]:
    inspection = await client.inspection()
    moments = {
        _SERVERS: inspection.at, _DATABASES: inspection.database_at, "the newest event": inspection.newest_event_at,
    }  # fmt: skip
    return [
        judge_clock(utc_now(), moments, both_ways={_SERVERS, _DATABASES}),
        *judge_attempts(under_way(await client.workers())),
        *judge_orphans(inspection.orphans),
        judge_daily(await client.daily_caps()),
    ]


def under_way(workers: list[WorkerLook]) -> list[UnderWay]:
    return [
        UnderWay(
            run_id=lease.run_id, phase_id=lease.phase_id, worker=each.worker, expired=lease.expired, dead=is_dead(each.worker)
        )
        for each in workers
        for lease in each.leases
    ]  # fmt: skip
