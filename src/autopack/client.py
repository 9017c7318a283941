"""The one way to the queue, in-process and remote: the two differ by the transport only."""

import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, fields, replace
from functools import cache
from typing import Any, TypeVar, cast

import anyio
import httpx
from fastapi import FastAPI
from pydantic import TypeAdapter, ValidationError

from autopack import schemas
from autopack.domain import triage
from autopack.domain.calibrate import Calibration
from autopack.domain.calls import CallRequest, CallResult, Reservation
from autopack.domain.caps import DailyAccount
from autopack.domain.estimate import Estimate, Features
from autopack.domain.estimators import EstimatorVersion, NewVersion
from autopack.domain.phases import Approval, Attempt, Event, JsonObject, Outcome, Phase, PhaseState, Run
from autopack.domain.storable import storable, storable_text
from autopack.domain.telemetry import E, ExportCursor, Selection, TelemetryTable, UsageEvent
from autopack.domain.usage import Grouping, UsageReport, UsageSelection
from autopack.errors import (
    BY_CODE,
    ApiUnreachable,
    AutopackError,
    DatabaseBusy,
    DatabaseMismatch,
    InvalidInput,
)
from autopack.schemas import telemetry as told

log = logging.getLogger(__name__)
DATABASE_HEADER = "X-Autopack-Database"
T = TypeVar("T")
B = TypeVar("B", bound=schemas.Body)
_APPROVALS_AT_ONCE = 100  # each with its whole diff
# Every write of ours may be repeated (a lease token, a call id or the same content makes it one), so a
# request whose answer was lost is sent again. About 30 seconds in all: a server may be restarting.
_PAUSES_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)


def _id(text: str) -> str:
    """A part of an address: whatever else it holds would name something else than was meant."""
    if not re.fullmatch(schemas.ID_PATTERN, text):
        raise InvalidInput(f"{text!r} cannot be an id: letters, digits, '.', '_' and '-', at most 128")
    return text


def _body(kind: type[B], **values: object) -> B:
    """Raises InvalidInput, as the server does, where the values cannot be sent."""
    try:
        return kind(**values)
    except ValidationError as error:
        told = schemas.validation_detail(error.errors(include_input=False))
        raise InvalidInput(f"this cannot be sent: {told}") from None


def _cut(text: str) -> str:
    """No longer than the queue takes, with a word on how long it was."""
    if len(text) <= schemas.MAX_TEXT_CHARS:
        return text
    remark = f"\n[cut: {len(text)} characters in all]"
    return text[: schemas.MAX_TEXT_CHARS - len(remark)] + remark


def _reported(outcome: Outcome) -> Outcome:
    """As the queue takes it: what models and checks wrote may not keep an attempt from ending."""
    told: dict[str, Any] = {field.name: storable(getattr(outcome, field.name)) for field in fields(outcome)}
    told["changes"] = None if outcome.changes is None else tuple(told["changes"])
    told["holds"] = outcome.holds[: schemas.MAX_HELD]
    for name in ("reason", "approval_void_reason"):
        told[name] = None if told[name] is None else _cut(told[name])
    if outcome.approval is not None:
        told["approval"]["reasons"] = _few(told["approval"].get("reasons", []))
    return replace(outcome, **told)


def _few(reasons: list[str]) -> list[str]:
    most = schemas.MAX_REASONS
    kept = (
        reasons if len(reasons) <= most else [*reasons[: most - 1], f"[cut: {len(reasons)} reasons in all]"]
    )
    return [_cut(reason) for reason in kept]


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


class AutopackClient:
    """Typed calls of the API; raises the very class of `autopack.errors` that the server raised."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        patient: bool = True,
    ) -> None:
        self._http = http
        self._sleep = sleep
        self._pauses = _PAUSES_SECONDS if patient else ()
        self.database_id: str | None = None

    async def connect(self) -> dict[str, Any]:
        """Learns which database the server works on; every later request names it."""
        identity: dict[str, Any] = await self._call(dict[str, Any], "GET", "/identity")
        if not isinstance(identity.get("database_id"), str):
            raise ApiUnreachable(
                f"{_shown(self._http.base_url)} answers, but not as Autopack's API does: no database_id"
            )
        if self.database_id is not None and self.database_id != identity["database_id"]:
            raise DatabaseMismatch(
                f"the server changed from database {self.database_id} to {identity['database_id']}"
            )
        self.database_id = identity["database_id"]
        return identity

    async def create_run(self, plan: schemas.PlanBody) -> tuple[Run, bool]:
        """The run, and whether it was made now (False: the same one was there)."""
        response = await self._send("POST", "/runs", plan.model_dump(mode="json"), {})
        return self._decode(Run, response), response.status_code == 201

    async def run(self, run_id: str) -> Run:
        return await self._call(Run, "GET", f"/runs/{_id(run_id)}")

    async def runs(self, *, after: str | None = None) -> list[Run]:
        return await self._call(list[Run], "GET", "/runs", after=after)

    async def change_run(self, run_id: str, action: str, body: schemas.ActorBody) -> Run:
        """`action` is pause, resume or cancel."""
        return await self._call(Run, "POST", f"/runs/{_id(run_id)}/{action}", body)

    async def phase(self, run_id: str, phase_id: str) -> Phase:
        return await self._call(Phase, "GET", f"/runs/{_id(run_id)}/phases/{_id(phase_id)}")

    async def phases(self, run_id: str, *, state: PhaseState | None = None) -> list[Phase]:
        """All of them, in plan order, page by page."""
        found: list[Phase] = []
        while True:
            after = found[-1].phase_index if found else -1
            page = await self._call(
                list[Phase], "GET", f"/runs/{_id(run_id)}/phases", state=state, after=after, limit=1000
            )
            found += page
            if len(page) < 1000:
                return found

    async def change_phase(self, run_id: str, phase_id: str, action: str, body: schemas.ActorBody) -> Phase:
        """`action` is requeue or skip."""
        return await self._call(Phase, "POST", f"/runs/{_id(run_id)}/phases/{_id(phase_id)}/{action}", body)

    async def undone(
        self, run_id: str, phase_id: str, *, commit: str, undo_commit: str, by: str, reason: str | None = None,
        holds: Sequence[str] = (),
    ) -> Phase:  # fmt: skip
        """The phase whose `commit` was taken back by `undo_commit`: CANCELLED from now on.

        The run's work ends there where its head is among `holds`, commits below `undo_commit`.
        """
        body = _body(
            schemas.UndoneBody, commit=commit, undo_commit=undo_commit, by=by, reason=reason,
            holds=tuple(holds[: schemas.MAX_HELD]),
        )  # fmt: skip
        return await self._call(Phase, "POST", f"/runs/{_id(run_id)}/phases/{_id(phase_id)}/undone", body)

    async def baseline(self, run_id: str, base_commit: str, checks_hash: str) -> JsonObject | None:
        """What the checks said of the base itself; None while nobody has run them."""
        path = f"/runs/{_id(run_id)}/baselines/{_id(base_commit)}/{_id(checks_hash)}"
        return (await self._call(schemas.BaselineAnswer, "GET", path)).report

    async def store_baseline(
        self, run_id: str, base_commit: str, checks_hash: str, report: JsonObject
    ) -> JsonObject:
        """The report to go on with: of several workers that store one, the first one's."""
        path = f"/runs/{_id(run_id)}/baselines/{_id(base_commit)}/{_id(checks_hash)}"
        body = _body(schemas.BaselineBody, report=storable(report))
        kept = (await self._call(schemas.BaselineAnswer, "PUT", path, body)).report
        return report if kept is None else kept

    async def attempts(self, run_id: str, phase_id: str) -> list[Attempt]:
        return await self._call(list[Attempt], "GET", f"/runs/{_id(run_id)}/phases/{_id(phase_id)}/attempts")

    async def open_attempts(self, run_id: str) -> list[Attempt]:
        return await self._call(list[Attempt], "GET", f"/runs/{_id(run_id)}/attempts")

    async def calls(self, run_id: str, phase_id: str | None = None) -> list[UsageEvent]:
        """All of them, in the order in which they were asked for, page by page."""
        path, found = f"/runs/{_id(run_id)}/calls", list[UsageEvent]()
        while True:
            after = found[-1].id if found else 0
            page = await self._call(list[UsageEvent], "GET", path, phase_id=phase_id, after=after, limit=1000)
            found += page
            if len(page) < 1000:
                return found

    async def events(self, run_id: str, *, after: int = 0) -> list[Event]:
        return await self._call(list[Event], "GET", f"/runs/{_id(run_id)}/events", after=after, limit=1000)

    async def telemetry(self, run_id: str, phase_id: str | None = None) -> told.TelemetryCounts:
        return await self._call(
            told.TelemetryCounts, "GET", f"/runs/{_id(run_id)}/telemetry", phase_id=phase_id
        )

    async def telemetry_pages(
        self, table: TelemetryTable[E], selection: Selection, *, limit: int = 1000
    ) -> AsyncIterator[list[E]]:
        """All that is selected, in the order of its ids, never more than a page at once."""
        after = 0
        while True:
            page = await self._call(
                list[table.kind],  # type: ignore[name-defined]
                "GET", f"/telemetry/{table.name}", run_id=selection.run_id, phase_id=selection.phase_id,
                since=selection.since, until=selection.until, after=after, limit=limit,
            )  # fmt: skip
            if page:
                after = table.position_of(page[-1])
                yield page
            if len(page) < limit:
                return

    async def final_usage(self, *, after: int, limit: int) -> list[UsageEvent]:
        """The next calls that nothing before can still come or change."""
        return await self._call(list[UsageEvent], "GET", "/telemetry/usage/final", after=after, limit=limit)

    async def usage(self, by: Grouping, selection: UsageSelection) -> UsageReport:
        """All totals, page by page; those of everything are the first page's."""
        first = await self._usage(by, selection, after=None)
        rows, after = list(first.rows), first.next
        while after is not None:
            page = await self._usage(by, selection, after=after)
            rows += page.rows
            after = page.next
        return replace(first, rows=tuple(rows), next=None)

    async def _usage(self, by: Grouping, selection: UsageSelection, *, after: str | None) -> UsageReport:
        return await self._call(
            UsageReport, "GET", "/usage", by=by, after=after, limit=1000, **vars(selection)
        )

    async def daily_caps(self) -> DailyAccount:
        return await self._call(DailyAccount, "GET", "/daily-caps")

    async def set_daily_caps(self, *, by: str, **caps: float | None) -> DailyAccount:
        """`token_cap`, `cost_cap_usd` or both; None is no cap, and the one that is not named stays."""
        body = _body(told.DailyCapsBody, by=by, **caps)
        content = {"by": body.by, **body.caps}
        return self._decode(DailyAccount, await self._send("PATCH", "/daily-caps", content, {}))

    async def export_cursor(self, name: str) -> ExportCursor | None:
        return (await self._call(told.CursorAnswer, "GET", "/telemetry/cursor", name=name)).cursor

    async def move_export_cursor(
        self, name: str, *, expected: int | None, position: int, mapping_version: str
    ) -> ExportCursor:
        """Raises Conflict when another export moved it."""
        body = _body(
            told.CursorBody, name=name, expected=expected, position=position, mapping_version=mapping_version
        )  # fmt: skip
        return await self._call(ExportCursor, "PUT", "/telemetry/cursor", body)

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
        return await self._call(Approval, "GET", f"/approvals/{_id(approval_id)}")

    async def decide(self, approval_id: str, action: str, body: schemas.ActorBody) -> Approval:
        """`action` is approve or reject."""
        return await self._call(Approval, "POST", f"/approvals/{_id(approval_id)}/{action}", body)

    async def claim(self, body: schemas.ClaimBody) -> schemas.ClaimAnswer:
        return await self._call(schemas.ClaimAnswer, "POST", "/phases/claim", body)

    async def renew(self, attempt_id: str, lease_token: str, lease_seconds: float) -> schemas.RenewAnswer:
        body = _body(schemas.RenewBody, lease_token=lease_token, lease_seconds=lease_seconds)
        return await self._call(schemas.RenewAnswer, "POST", f"/attempts/{_id(attempt_id)}/renew", body)

    async def reserve(self, attempt_id: str, lease_token: str, request: CallRequest) -> Reservation:
        body = _body(schemas.ReserveBody, lease_token=lease_token, request=request)
        return await self._call(Reservation, "POST", f"/attempts/{_id(attempt_id)}/calls", body)

    async def estimate(self, features: Features, model: str, *, output_limit: int, target: float) -> Estimate:
        """The budget of a builder call, from what came of all earlier ones."""
        body = _body(
            told.EstimateBody, features=asdict(features), model=model, output_limit=output_limit, target=target
        )  # fmt: skip
        return await self._call(Estimate, "POST", "/estimates", body)

    async def calibrate(
        self, *, target: float, min_samples: int, present: EstimatorVersion | None = None
    ) -> Calibration:
        """What this database's events propose instead of `present`, or of what is in force in it. Writes nothing."""
        instead = present and {"coefficients": present.coefficients.to_json(), "data_hash": present.data_hash}
        body = _body(told.CalibrateBody, target=target, min_samples=min_samples, present=instead)
        return await self._call(Calibration, "POST", "/calibrations", body)

    async def estimator_versions(self) -> list[EstimatorVersion]:
        """The one that ships with the package first, then in the order in which they were added."""
        return await self._call(list[EstimatorVersion], "GET", "/estimator/versions")

    async def add_estimator_version(self, new: NewVersion) -> tuple[EstimatorVersion, bool]:
        """The version, in force now, and whether that is new. Raises Conflict when its parent is not in force."""
        body = _body(
            told.EstimatorVersionBody, parent=new.parent, coefficients=new.coefficients.to_json(),
            data_hash=new.data_hash, metrics=new.metrics,
        )  # fmt: skip
        response = await self._send("POST", "/estimator/versions", body.model_dump(mode="json"), {})
        return self._decode(EstimatorVersion, response), response.status_code == 201

    async def activate_estimator(self, name: str) -> EstimatorVersion:
        return await self._call(EstimatorVersion, "POST", f"/estimator/versions/{_id(name)}/activate")

    async def settle(self, call_id: str, lease_token: str, result: CallResult) -> None:
        body = _body(schemas.SettleBody, lease_token=lease_token, result=result)
        await self._send("POST", f"/calls/{_id(call_id)}/settle", body.model_dump(mode="json"), {})

    async def finish(
        self, attempt_id: str, lease_token: str, outcome: Outcome, claim_next: schemas.ClaimBody | None = None
    ) -> schemas.FinishAnswer:
        body = _body(
            schemas.FinishBody, lease_token=lease_token, outcome=_reported(outcome), claim_next=claim_next
        )
        return await self._call(schemas.FinishAnswer, "POST", f"/attempts/{_id(attempt_id)}/finish", body)

    async def report_lost(self, attempt_id: str, worker: str) -> bool:
        body = _body(schemas.LostBody, worker=worker)
        answer = await self._call(dict[str, bool], "POST", f"/attempts/{_id(attempt_id)}/lost", body)
        return bool(answer["given_back"])

    async def report_budget(self, attempt_id: str, lease_token: str, reason: str) -> bool:
        """Whether the run is paused for it now; False while calls under way may still make room."""
        body = _body(schemas.BudgetBody, lease_token=lease_token, reason=_cut(storable_text(reason)))
        answer = await self._call(dict[str, bool], "POST", f"/attempts/{_id(attempt_id)}/budget", body)
        return bool(answer["paused"])

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
        body = _body(told.TriageSessionBody, session_id=session_id, options=options)
        return await self._call(triage.Session, "POST", "/triage/sessions", body)

    async def triage_sessions(self, *, unfinished: bool = False) -> list[triage.Session]:
        """The newest first, at most a hundred."""
        return await self._call(list[triage.Session], "GET", "/triage/sessions", unfinished=unfinished)

    async def triage_session(self, session_id: str) -> triage.Session:
        return await self._call(triage.Session, "GET", f"/triage/sessions/{_id(session_id)}")

    async def triage_items(self, session_id: str) -> list[triage.Item]:
        """All of them, in the order of trying, page by page."""
        found: list[triage.Item] = []
        while True:
            after = found[-1].position if found else 0
            path = f"/triage/sessions/{_id(session_id)}/items"
            page = await self._call(list[triage.Item], "GET", path, after=after, limit=1000)
            found += page
            if len(page) < 1000:
                return found

    async def start_trial(
        self, session_id: str, position: int, key: triage.Key, *, worker: str, before: triage.Before
    ) -> triage.Item:
        """Raises Conflict where another controller works on the session."""
        body = _body(
            told.TriageItemBody, position=position, run_id=key[0], phase_id=key[1], worker=worker, before=before
        )  # fmt: skip
        return await self._call(triage.Item, "POST", f"/triage/sessions/{_id(session_id)}/items", body)

    async def finish_trial(self, session_id: str, position: int, trial: triage.Trial) -> triage.Item:
        body = _body(told.TriageResultBody, result=trial)
        path = f"/triage/sessions/{_id(session_id)}/items/{position}/finish"
        return await self._call(triage.Item, "POST", path, body)

    async def stop_triage(self, session_id: str, reason: str, *, ended: bool) -> triage.Session:
        body = _body(told.TriageStopBody, reason=_cut(storable_text(reason)), ended=ended)
        return await self._call(triage.Session, "POST", f"/triage/sessions/{_id(session_id)}/stop", body)

    async def _call(
        self, kind: type[T], method: str, path: str, body: schemas.Body | None = None, **query: object
    ) -> T:
        content = None if body is None else body.model_dump(mode="json")
        given = {name: str(value) for name, value in query.items() if value is not None}
        return self._decode(kind, await self._send(method, path, content, given))

    def _decode(self, kind: type[T], response: httpx.Response) -> T:
        try:
            value: T = _adapter(cast("Any", kind)).validate_json(response.content)
        except ValueError as error:
            raise ApiUnreachable(
                f"{_shown(response.url)} answered something that is not Autopack's API (or another version of it): {error}"
            ) from error
        return value

    async def _send(self, method: str, path: str, content: Any, query: dict[str, str]) -> httpx.Response:
        headers = {DATABASE_HEADER: self.database_id} if self.database_id else {}
        for pause in (*self._pauses, None):
            try:
                response = await self._http.request(method, path, json=content, params=query, headers=headers)
            except httpx.RequestError as error:
                if pause is None:
                    raise ApiUnreachable(
                        f"no answer from {_shown(self._http.base_url)} ({type(error).__name__}: {error}). "
                        "Start it with `autopack serve`, or leave out --api-url to work in-process."
                    ) from error
                log.warning(
                    "no answer from the API, asking again", extra={"path": path, "pause_seconds": pause}
                )
                await self._sleep(pause)
                continue
            if response.status_code < 400:
                return response
            error_raised = error_from(response)
            if pause is None or not isinstance(error_raised, DatabaseBusy):
                raise error_raised
            await self._sleep(pause)
        raise AssertionError("unreachable")


def _shown(url: httpx.URL) -> str:
    """Without the user and the password that a person may have written into it."""
    return str(url.copy_with(username="", password=""))


def error_from(response: httpx.Response) -> AutopackError:
    """The error that the server raised, as the same class."""
    try:
        body = response.json()
    except ValueError:
        body = {}
    if not isinstance(body, dict) or not isinstance(body.get("code"), str):
        return ApiUnreachable(
            f"{_shown(response.url)} answered {response.status_code} and is not Autopack's API"
        )
    return BY_CODE.get(body["code"], AutopackError)(str(body.get("detail", "")))


@asynccontextmanager
async def in_process(app: FastAPI, *, api_key: str | None = None) -> AsyncIterator[AutopackClient]:
    """A client of the app in this very process: no port, no second engine."""
    # raise_app_exceptions=False: a 500 looks like a remote 500.
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    http = httpx.AsyncClient(transport=transport, base_url="http://autopack", headers=_headers(api_key))
    async with app.router.lifespan_context(app), http:
        client = AutopackClient(http)
        await client.connect()
        yield client


@asynccontextmanager
async def remote(
    url: str, *, api_key: str | None = None, patient: bool = True
) -> AsyncIterator[AutopackClient]:
    """A client of a server elsewhere. Raises ApiUnreachable at once when nobody answers at the start."""
    # trust_env=False: a proxy of the environment has no business between a drain and its queue.
    async with httpx.AsyncClient(
        base_url=url, headers=_headers(api_key), timeout=60.0, trust_env=False
    ) as http:
        hurried = AutopackClient(http, patient=False)
        await hurried.connect()
        client = AutopackClient(http, patient=patient)
        client.database_id = hurried.database_id
        yield client


def _headers(api_key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}
