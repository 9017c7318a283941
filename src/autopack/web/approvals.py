"""The inbox: what waits for a person's word, with the diff that it is about."""

from collections.abc import AsyncIterator, Callable
from functools import lru_cache
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from markupsafe import Markup

from autopack.api.deps import ClockDep, DatabaseDep
from autopack.clock import Clock
from autopack.db import approvals
from autopack.db.approvals import Decision
from autopack.db.engine import Database
from autopack.db.pages import inbox
from autopack.db.pages.pulse import last_event
from autopack.domain.phases import Approval
from autopack.errors import AutopackError, Conflict, InvalidInput, NotFound
from autopack.schemas import DecideBody, Id
from autopack.web import diffs, who
from autopack.web.filters import chosen, id_of
from autopack.web.forms import Form, FormDep, back
from autopack.web.live import Part, Shown, follow, stream_url
from autopack.web.rendering import command, page, render

router = APIRouter(prefix="/ui", include_in_schema=False)
STATUSES = ("pending", "approved", "rejected", "expired", "used", "void")
SHOWN = 30
_MOST_LINES = 600
_METHOD_CHARS = 40


async def _reader(request: Request, database: DatabaseDep, clock: ClockDep) -> Callable[[], Shown]:
    query = request.query_params
    status, run_id = chosen(query, "status", STATUSES) or "pending", id_of(query, "run")

    def read() -> Shown:
        with database.transaction() as session:
            event_id = last_event(session)
            pending = inbox.pending_count(session)
            found = inbox.requests(session, run_id=run_id, status=status, limit=SHOWN + 1, now=clock.now())
        rows = {f"request-{each.approval_id}": _request(each) for each in found[:SHOWN]}
        about = render(
            "approvals/about.html",
            pending=pending,
            found=len(found[:SHOWN]),
            more=len(found) > SHOWN,
            status=status,
        )
        return Shown(event_id=event_id, parts=[Part(id="about", html=about), Part(id="requests", rows=rows)])

    return read


_ReaderDep = Annotated[Callable[[], Shown], Depends(_reader)]


@router.get("/approvals")
def show(request: Request, read: _ReaderDep) -> HTMLResponse:
    query, live = request.query_params, read()
    return page(
        request, "approvals.html", live=live, statuses=STATUSES, wanted=query.get("status", "pending"),
        run=query.get("run", ""), stream=stream_url("/ui/stream/approvals", live, status=query.get("status"), run=query.get("run")),
        by=who.of(request),
    )  # fmt: skip


@router.get("/stream/approvals", response_class=EventSourceResponse)
async def stream(request: Request, read: _ReaderDep) -> AsyncIterator[ServerSentEvent]:
    async for event in follow(request, read):
        yield event


@lru_cache(maxsize=128)
def _request(request: Approval) -> Markup:
    return render("approvals/request.html", **_told(request, _MOST_LINES))


def _told(request: Approval, most: int) -> dict[str, Any]:
    whole, diff = command("autopack", "approvals", "show", request.approval_id), request.diff.rstrip("\n")
    return {
        "request": request, "whole": whole, "lines": diffs.lines(diff, whole, most), "left_out": diffs.left_out(diff, most),
        "by_itself": most == diffs.MOST_LINES,
    }  # fmt: skip


@router.post("/approvals/decide")
def decide(given: FormDep, database: DatabaseDep, clock: ClockDep) -> RedirectResponse:
    """One request by its own button (`approve` or `reject` holds its id), or all that were chosen (`do`)."""
    word, wanted, reason = _asked(given)
    if not wanted:
        return back(given, "/ui/approvals", "nothing")
    if word == "reject" and not reason:
        raise InvalidInput(
            "to reject, say why: the reason is kept with the phase, and the next builder is told"
        )
    body = given.body(DecideBody, reason=reason or None)
    decision = Decision(
        approved=word == "approve", by=body.by, method=given.origin[:_METHOD_CHARS], reason=body.reason
    )
    refused = [
        told for told in (_decide(database, clock, each, decision, given.actor) for each in wanted) if told
    ]
    if len(wanted) == 1 and refused:
        raise refused[0]
    done = len(wanted) - len(refused)
    code = "approved" if decision.approved else "rejected"
    return back(given, "/ui/approvals", code if done else "", n=done, refused=len(refused))


def _asked(given: Form) -> tuple[Literal["approve", "reject"], list[str], str]:
    for word in ("approve", "reject"):
        if one := given.get(word):
            return word, [one], given.get(f"reason-{one}")
    chosen_word: Literal["approve", "reject"] = "approve" if given.get("do") == "approve" else "reject"
    return chosen_word, list(dict.fromkeys(given.all("request"))), given.get("reason")


def _decide(
    database: Database, clock: Clock, approval_id: str, decision: Decision, actor: str
) -> AutopackError | None:
    """What is in the way, if something is: of several each is decided by itself."""
    try:
        with database.transaction() as session:
            approvals.get(
                session, approval_id, now=clock.now()
            )  # what ran out is marked, whatever is answered
        with database.transaction() as session:
            approvals.decide(session, approval_id, decision, now=clock.now(), actor=actor)
    except (Conflict, NotFound) as error:
        return error
    return None


@router.get("/approvals/{approval_id}")
def one(
    request: Request, approval_id: Annotated[Id, Path()], database: DatabaseDep, clock: ClockDep
) -> HTMLResponse:
    """One request with its whole diff, or as much of it as a page shows."""
    with database.transaction() as session:
        found = approvals.get(session, approval_id, now=clock.now())
    return page(
        request, "approval.html", **_told(found, diffs.MOST_LINES), by=who.of(request),
        back=f"/ui/approvals/{approval_id}",
    )  # fmt: skip
