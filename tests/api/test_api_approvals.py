"""Approvals, undone work and baselines on the wire, and the clean-up of a server."""

import logging
import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import anyio
import httpx
import pytest
from fastapi import FastAPI

from autopack.api.app import create_app
from autopack.api.cleanup import clean_up_once
from autopack.client import AutopackClient
from autopack.clock import Clock
from autopack.db import approvals
from autopack.db.engine import Database
from autopack.db.tables import ApprovalRequestRow
from autopack.domain.phases import AttemptOutcome, Claim, FailureKind, PhaseState, RunState
from autopack.errors import Conflict, InvalidInput, NotFound
from autopack.schemas import ActorBody, DecideBody
from tests.api.conftest import Desk, Time, raw
from tests.support import phase

pytestmark = pytest.mark.anyio
COMMIT, BACK = "c" * 40, "e" * 40
ASKED: dict[str, Any] = {
    "reasons": ["Makefile: a person decides"], "plan": {"summary": "s", "files": []}, "diff": "+all:\n",
    "diff_hash": "d" * 64, "base_commit": "b" * 40, "policy_hash": "e" * 64, "checks_hash": "f" * 64,
}  # fmt: skip
REJECTS = {"timeout_minutes": 10, "on_timeout": "reject"}


async def ask(desk: Desk, claim: Claim, **more: Any) -> str:
    await desk.finish(
        claim, AttemptOutcome.NEEDS_APPROVAL, reason="Makefile", approval={**ASKED, **more}, check_report={"passed": True}
    )  # fmt: skip
    (request,) = await desk.client.approvals(run_id=claim.phase.run_id, status="pending")
    return request.approval_id


async def test_a_request_is_shown_with_all_that_it_is_bound_to(client: AutopackClient, desk: Desk, time):
    await desk.create()
    claim = await desk.claim()
    request_id = await ask(desk, claim, timeout_minutes=10)
    shown = await client.approval(request_id)
    assert (shown.policy_hash, shown.checks_hash, shown.attempt_id) == ("e" * 64, "f" * 64, claim.attempt_id)
    assert (shown.on_timeout, shown.overdue) == ("wait", False)
    assert (shown.timeout_at - shown.requested_at).total_seconds() == 600
    time.tick(601)
    late = await client.approval(request_id)
    assert (late.status, late.overdue) == ("pending", True)
    assert await client.approvals(run_id="r1") == [late]
    with pytest.raises(NotFound, match="no approval request nothere"):
        await client.approval("nothere")
    with pytest.raises(NotFound, match="belongs to run r1, not to r2"):
        await client.decide(request_id, "approve", DecideBody(run_id="r2"))


@pytest.mark.parametrize("action", ["approve", "reject"])
async def test_a_decision_that_comes_too_late_is_refused_and_the_timeout_is_kept(
    client: AutopackClient, desk: Desk, time, action: str
):
    await desk.create()
    request_id = await ask(desk, await desk.claim(), **REJECTS)
    time.tick(600)
    with pytest.raises(Conflict, match="is expired, not pending"):
        await client.decide(request_id, action, ActorBody(by="Ann", reason="late"))
    assert (await client.phase("r1", "p1")).failure_kind is FailureKind.APPROVAL_TIMED_OUT, (
        "refused, but kept"
    )
    (found,) = await client.approvals(run_id="r1")
    assert (found.status, found.responded_by, found.response_method) == ("expired", None, "timeout")
    again = await client.change_phase("r1", "p1", "requeue", ActorBody(by="Ann"))
    assert again.state is PhaseState.QUEUED
    assert (await desk.claim()).approved is None


async def test_what_differs_from_what_was_approved_is_kept_with_the_request(
    client: AutopackClient, desk: Desk, time
):
    await desk.create()
    request_id = await ask(desk, await desk.claim())
    time.tick(1)
    await client.decide(request_id, "approve", ActorBody(by="Ann"))
    claim = await desk.claim()
    assert (claim.approved.policy_hash, claim.approved.checks_hash) == ("e" * 64, "f" * 64)
    why = "the policy changed since: 1111 is not 2222"
    await desk.finish(
        claim, AttemptOutcome.NEEDS_APPROVAL, approval=ASKED, approval_void_reason=why, reason="Makefile"
    )
    before, after = await client.approvals(run_id="r1")
    assert (before.approval_id, before.status, before.void_reason) == (request_id, "void", why)
    assert (after.status, after.void_reason) == ("pending", None)


async def test_an_undone_phase_is_cancelled_and_can_be_done_anew(client: AutopackClient, desk: Desk):
    await desk.create()
    await desk.finish(await desk.claim(), result_commit=COMMIT)
    told = {"commit": COMMIT, "undo_commit": BACK, "by": "Ann", "reason": "wrong", "holds": [COMMIT]}
    undone = await client.undone("r1", "p1", **told)
    assert (undone.state, undone.failure_kind) == (PhaseState.CANCELLED, FailureKind.UNDONE)
    assert await client.undone("r1", "p1", **told) == undone
    run = await client.run("r1")
    assert (run.state, run.head_commit) == (RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW, BACK)
    with pytest.raises(Conflict, match="cannot be undone"):
        await client.undone("r1", "p1", **{**told, "undo_commit": "f" * 40})
    await client.change_phase("r1", "p1", "requeue", ActorBody(by="Ann"))
    await desk.finish(await desk.claim(), result_commit="f" * 40, holds=(COMMIT, BACK))
    run = await client.run("r1")
    assert (run.state, run.head_commit) == (RunState.DONE_SUCCESS, "f" * 40)


async def test_all_requests_are_listed_however_many_there_are(
    client: AutopackClient, desk: Desk, time, monkeypatch
):
    """Two of one moment, and one of a later: page by page, none twice and none left out."""
    monkeypatch.setattr("autopack.client.runs._APPROVALS_AT_ONCE", 2)
    await desk.create(*(phase(f"p{n}") for n in range(5)))
    for n in range(5):
        await desk.finish(await desk.claim(), AttemptOutcome.NEEDS_APPROVAL, approval=ASKED)
        time.tick(n % 2)
    found = await client.approvals(run_id="r1")
    assert [each.requested_at for each in found] == sorted(each.requested_at for each in found)
    assert {each.phase_id for each in found} == {f"p{n}" for n in range(5)}
    assert len(found) == 5
    assert await client.approvals(status="approved") == []
    with pytest.raises(NotFound, match="there is no run nope"):
        await client.approvals(run_id="nope")


async def test_words_without_an_end_are_cut_and_do_not_keep_an_attempt_from_ending(
    client: AutopackClient, desk: Desk
):
    await desk.create()
    reasons = ["x" * 30_000, *(f"reason {n}\0" for n in range(300))]
    await desk.finish(
        await desk.claim(), AttemptOutcome.NEEDS_APPROVAL, reason="y" * 50_000, approval={**ASKED, "reasons": reasons}
    )  # fmt: skip
    (asked,) = await client.approvals()
    assert (len(asked.reasons), len(asked.reasons[0]), asked.reasons[1]) == (200, 20_000, "reason 0\ufffd")
    assert asked.reasons[0].endswith("\n[cut: 30000 characters in all]")
    assert asked.reasons[-1] == "[cut: 301 reasons in all]"
    (attempt,) = await client.attempts("r1", "p1")
    assert (len(attempt.reason), attempt.reason[-31:]) == (20_000, "\n[cut: 50000 characters in all]")


async def test_what_cannot_be_sent_is_an_error_of_ours(client: AutopackClient, desk: Desk):
    await desk.create()
    claim = await desk.claim()
    with pytest.raises(InvalidInput, match="cannot be sent: outcome: approval: diff: Field required"):
        await desk.finish(
            claim,
            AttemptOutcome.NEEDS_APPROVAL,
            approval={"reasons": ["r"], "plan": {}, "diff_hash": "secret"},
        )
    with pytest.raises(InvalidInput, match="policy_hash is no hash"):
        await desk.finish(claim, policy_hash="none")
    with pytest.raises(InvalidInput, match=r"commit: String should match pattern"):
        await client.undone("r1", "p1", commit="HEAD", undo_commit=BACK, by="Ann")
    with pytest.raises(InvalidInput, match="worker: String should have at least 1"):
        await client.report_lost(claim.attempt_id, "")
    assert (await client.phase("r1", "p1")).state is PhaseState.EXECUTING


async def test_workers_share_the_baseline_of_a_run(client: AutopackClient, desk: Desk):
    await desk.create()
    key = ("r1", "b" * 40, "f" * 64)
    assert await client.baseline(*key) is None
    odd = {"passed": True, "output": "\0", "x": float("nan"), "long": "x" * 1_200_000}
    kept = await client.store_baseline(*key, odd)
    assert (kept["output"], kept["x"]) == ("\ufffd", None)
    assert await client.store_baseline(*key, {"passed": False}) == kept
    assert await client.baseline(*key) == kept
    with pytest.raises(NotFound):
        await client.baseline("nowhere", *key[1:])
    with pytest.raises(InvalidInput):
        await client.baseline("r1", "main", key[2])


async def test_what_an_attempt_made_is_told(client: AutopackClient, desk: Desk):
    await desk.create(phase("p1", risk="high"))
    change = {"path": "a", "before": {"mode": "100644", "oid": "1" * 40}, "after": None}
    made = {
        "plan": {"files": [{"path": "\ud800"}]},
        "plan_hash": "3" * 64,
        "inputs_hash": "4" * 64,
        "changes": (change,),
    }
    claim = await desk.claim()
    assert claim.phase.risk == "high"
    await desk.finish(claim, AttemptOutcome.FAILED, failure_kind=FailureKind.CHECKS_FAILED, **made)
    (attempt,) = await client.attempts("r1", "p1")
    assert (attempt.changes, attempt.plan) == ((change,), {"files": [{"path": "\ufffd"}]})
    again = await desk.claim()
    assert (again.failed_inputs, again.escalations) == (("4" * 64,), 1)


# The clean-up of a server


async def due_request(app: FastAPI, time: Time) -> None:
    """A request that nobody decided, and that has run out since."""
    desk = Desk(AutopackClient(raw(app)))
    await desk.create()
    await ask(desk, await desk.claim(), **REJECTS)
    time.tick(601)


def statuses(database: Database) -> list[str]:
    with database.transaction() as session:
        return [row.status for row in session.query(ApprovalRequestRow)]


async def until(seen: Callable[[], bool]) -> None:
    for _ in range(1000):
        if seen():
            return
        await anyio.sleep(0.01)
    raise AssertionError("it did not happen within ten seconds")


async def test_a_server_marks_what_ran_out_without_being_asked(database: Database, time: Time):
    app = create_app(lambda: nullcontext(database), clock=Clock(now=time), cleanup_seconds=0.02)
    async with app.router.lifespan_context(app):
        await due_request(app, time)
        await until(lambda: statuses(database) == ["expired"])
        async with raw(app) as http:
            assert (await http.get("/health/ready")).status_code == 200
    assert statuses(database) == ["expired"]


async def test_a_clean_up_begins_with_the_server_and_an_app_in_a_workers_process_has_none(
    database: Database, time: Time
):
    for seconds, wanted in ((None, ["pending"]), (3600.0, ["expired"])):
        app = create_app(lambda: nullcontext(database), clock=Clock(now=time), cleanup_seconds=seconds)
        async with app.router.lifespan_context(app):
            if seconds is None:
                await due_request(app, time)
                await anyio.sleep(0.05)
            await until(lambda wanted=wanted: statuses(database) == wanted)
    assert statuses(database) == ["expired"]


async def test_a_server_that_stops_does_not_wait_for_its_clean_up(database: Database, time: Time):
    """Not even for one that waits for the database."""
    app = create_app(lambda: nullcontext(database), clock=Clock(now=time), cleanup_seconds=0.01)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with database.transaction():
            held.set()
            release.wait(60)

    blocker = threading.Thread(target=hold)
    try:
        with anyio.fail_after(20):
            async with app.router.lifespan_context(app):
                blocker.start()
                assert held.wait(10)
                await anyio.sleep(0.1)
        assert blocker.is_alive()
    finally:
        release.set()
        blocker.join(10)
    assert statuses(database) == []


async def test_a_clean_up_that_fails_leaves_the_server_as_it_is_and_is_tried_again(
    database: Database, time: Time, caplog: pytest.LogCaptureFixture
):
    path = database.location.path
    assert path is not None
    app = create_app(lambda: nullcontext(database), clock=Clock(now=time), cleanup_seconds=0.02)
    async with app.router.lifespan_context(app), raw(app) as http:
        await due_request(app, time)
        away = path.rename(path.with_suffix(".away"))
        await until(lambda: "clean-up failed" in caplog.text)
        assert (await http.get("/health/live")).status_code == 200
        away.rename(path)
        await until(lambda: statuses(database) == ["expired"])
        assert (await http.get("/runs/r1")).json()["state"] == "DONE_FAILED_REQUIRES_HUMAN_REVIEW"


@pytest.mark.parametrize("error", [ValueError("no such kind"), KeyError("x"), OSError("no space")])
async def test_whatever_a_clean_up_meets_is_logged(
    database: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def broken(*_: object) -> int:
        raise error

    monkeypatch.setattr(approvals, "expire_everywhere", broken)
    with caplog.at_level(logging.ERROR):
        await clean_up_once(database, Clock())
    assert "clean-up failed; it is tried again later" in caplog.text


async def test_a_database_error_of_any_kind_is_one_of_ours_to_the_clean_up(
    database: Database, caplog: pytest.LogCaptureFixture
):
    """Somebody dropped the table by hand while the server was running."""
    import sqlite3

    with sqlite3.connect(str(database.location.path)) as connection:
        connection.execute("ALTER TABLE approval_requests RENAME TO gone")
    connection.close()
    await clean_up_once(database, Clock())
    assert "requests that ran out could not be marked" in caplog.text


async def test_a_page_of_approvals_is_narrowed_to_what_ran_out(http: httpx.AsyncClient):
    assert (await http.get("/approvals?status=expired")).json() == []
    assert (await http.get("/approvals/a%00b")).status_code == 422
