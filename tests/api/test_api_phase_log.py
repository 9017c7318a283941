"""The diff and the log of a phase through the API; and that no diff keeps an attempt from ending."""

import httpx
import pytest

from autopack.client import AutopackClient
from autopack.domain.kept_diff import is_cut
from autopack.domain.phase_log import MAX_TAIL
from autopack.domain.phases import MAX_KEPT_DIFF_CHARS, AttemptOutcome, FailureKind
from autopack.errors import NotFound
from tests.api.conftest import Desk, answered, request

pytestmark = pytest.mark.anyio
UNSTORABLE = "+nul \0, half a pair \ud83d, \x1b[31mred\n"


async def test_whatever_a_diff_holds_the_attempt_ends_and_the_diff_is_told(
    client: AutopackClient, desk: Desk
):
    await desk.create()
    ended = await desk.finish(
        await desk.claim(), AttemptOutcome.COMPLETE, diff=UNSTORABLE, result_commit="c" * 40
    )
    assert ended.state == "COMPLETE"
    found = await client.phase_diff("r1", "p1")
    assert (found.attempt, found.result_commit, found.cut) == (1, "c" * 40, False)
    assert found.diff == UNSTORABLE.replace("\0", "\ufffd").replace("\ud83d", "\ufffd")


async def test_ten_megabytes_that_need_the_most_room_are_cut_and_taken(client: AutopackClient, desk: Desk):
    await desk.create()
    line = "+\x01\x02\ud800\0\U0001f600\n" * 10
    ended = await desk.finish(await desk.claim(), diff=line * (10 * 1024 * 1024 // len(line)))
    assert ended.state == "COMPLETE"
    found = await client.phase_diff("r1", "p1", attempt=1)
    assert found.cut
    assert found.diff is not None
    assert is_cut(found.diff)
    assert len(found.diff) <= MAX_KEPT_DIFF_CHARS


async def test_a_longer_one_that_comes_raw_is_refused(http: httpx.AsyncClient):
    body = {
        "lease_token": "t" * 16,
        "outcome": {"outcome": "COMPLETE", "diff": "x" * (MAX_KEPT_DIFF_CHARS + 1)},
    }
    answer = await http.post("/attempts/a/finish", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert "diff is longer than" in answer.json()["detail"]


async def test_the_log_is_told_with_its_last_lines_and_what_is_being_done(client: AutopackClient, desk: Desk):
    await desk.create()
    claim = await desk.claim()
    call = await client.reserve(claim.attempt_id, claim.lease_token, request())
    await client.settle(call.call_id, claim.lease_token, answered())
    told = await client.phase_log("r1", "p1")
    assert [line.source for line in told.lines] == ["claim", "model", "model"]
    assert (told.state, told.cut) == ("EXECUTING", False)
    await desk.finish(
        claim, AttemptOutcome.FAILED, failure_kind=FailureKind.AUDIT_REJECTED, reason="no\n\x1b[2Jreally"
    )
    last = await client.phase_log("r1", "p1", attempt=1, tail=3)
    assert [line.text for line in last.lines] == [
        "no", "\ufffd[2Jreally", "attempt ended as FAILED, audit rejected; the phase is QUEUED",
    ]  # fmt: skip
    assert last.cut
    for read in (client.phase_log, client.phase_diff):
        with pytest.raises(NotFound, match="has no attempt 7"):
            await read("r1", "p1", attempt=7)
        with pytest.raises(NotFound, match="no phase p9"):
            await read("r1", "p9")


@pytest.mark.parametrize(
    "query", [{"tail": 0}, {"tail": MAX_TAIL + 1}, {"tail": "all"}, {"attempt": 0}, {"attempt": 2**63}]
)
async def test_what_cannot_be_asked_is_said(http: httpx.AsyncClient, query: dict[str, object]):
    answer = await http.get("/runs/r1/phases/p1/log", params=query)
    assert (answer.status_code, next(iter(query)) in answer.json()["detail"]) == (422, True)
