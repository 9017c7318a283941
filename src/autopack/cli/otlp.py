"""The ledger, sent to an OpenTelemetry collector: each call once, as far as the collector took it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

import autopack
from autopack.cli.collector import Collector, Target
from autopack.cli.common import result, say
from autopack.client import AutopackClient
from autopack.clock import Clock
from autopack.domain.otlp import MAPPING_VERSION, traces
from autopack.domain.telemetry import ExportCursor, UsageEvent

TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Export:
    """`name` is the cursor's."""

    name: str
    batch: int
    from_start: bool


@dataclass(frozen=True, kw_only=True)
class Sent:
    spans: int = 0
    rejected: int = 0
    position: int = 0


@asynccontextmanager
async def open_collector(target: Target, clock: Clock) -> AsyncIterator[Collector]:
    async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS) as http:
        yield Collector(http, target, now=clock.now)


async def send(client: AutopackClient, collector: Collector, export: Export) -> Sent:
    """All that is final and was not sent. The cursor follows each batch that the collector took, and no other."""
    cursor = await _begin(client, export)
    sent = Sent(position=cursor.position if cursor else 0)
    while batch := await client.final_usage(after=sent.position, limit=export.batch):
        taken = await collector.send(_body(client, batch))
        if taken.rejected or taken.message:
            say(f"the collector threw away {taken.rejected} of {len(batch)} spans: {taken.message[:500]}")
        cursor = await client.move_export_cursor(
            export.name, expected=cursor.position if cursor else None, position=batch[-1].id,
            mapping_version=MAPPING_VERSION,
        )  # fmt: skip
        sent = Sent(
            spans=sent.spans + len(batch), rejected=sent.rejected + taken.rejected, position=cursor.position
        )
    return sent


async def show(client: AutopackClient, export: Export) -> Sent:
    """What `send` would send, one request a line. Nothing is sent, and the cursor stays."""
    cursor = None if export.from_start else await client.export_cursor(export.name)
    sent = Sent(position=cursor.position if cursor else 0)
    while batch := await client.final_usage(after=sent.position, limit=export.batch):
        result(json.dumps(_body(client, batch), separators=(",", ":")))
        sent = Sent(spans=sent.spans + len(batch), position=batch[-1].id)
    return sent


async def _begin(client: AutopackClient, export: Export) -> ExportCursor | None:
    cursor = await client.export_cursor(export.name)
    if cursor is None:
        return None
    if export.from_start:
        # Moved back first: what is interrupted then goes on from there, and not from where it was before.
        return await client.move_export_cursor(
            export.name, expected=cursor.position, position=0, mapping_version=MAPPING_VERSION
        )
    if cursor.mapping_version != MAPPING_VERSION:
        say(
            f"note: calls up to row {cursor.position} were sent by mapping {cursor.mapping_version}, the following are by "
            f"{MAPPING_VERSION}; --from-start sends all of them by this one"
        )
    return cursor


def _body(client: AutopackClient, batch: list[UsageEvent]) -> dict[str, object]:
    return traces(batch, database_id=client.database_id, version=autopack.__version__)
