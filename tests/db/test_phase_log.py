"""What a phase did, read back: the diff that was kept, and the last lines of its log."""

from typing import Any

import pytest
from sqlalchemy import update

from autopack.db import phase_log
from autopack.db.tables import AttemptRow
from autopack.domain.kept_diff import PhaseDiff
from autopack.domain.phase_log import PhaseLog, Source
from autopack.domain.phases import AttemptOutcome, FailureKind
from autopack.errors import NotFound
from tests.db.support_queue import ON_BOTH, Queue
from tests.support import phase, plan

DIFF = "diff --git a/a b/a\n+one\n"


def the_diff(queue: Queue, attempt: int | None = None) -> PhaseDiff:
    with queue.session() as session:
        return phase_log.diff(session, "r1", "p1", attempt=attempt)


def the_log(queue: Queue, attempt: int | None = None, tail: int = 200) -> PhaseLog:
    with queue.session() as session:
        return phase_log.log(session, "r1", "p1", attempt=attempt, tail=tail)


def texts(log: PhaseLog, source: Source | None = None) -> list[str]:
    return [line.text for line in log.lines if source in (None, line.source)]


def red(output: str = "E   boom\n1 failed", command: str = "pytest -q") -> dict[str, Any]:
    told = {"command": command, "passed": False, "reason": "a test failed", "exit_code": 1, "output": output}
    return {
        "passed": False,
        "level": "full",
        "results": [{**told, "duration_seconds": 2.0, "tests": {"failed": 1}}],
    }


@ON_BOTH
def test_the_diff_of_a_phase_is_that_of_the_attempt_whose_work_it_is(queue: Queue):
    queue.create(plan())
    assert the_diff(queue) == PhaseDiff(run_id="r1", phase_id="p1", attempt=None)
    first = queue.claim()
    assert the_diff(queue).attempt == 1
    assert the_diff(queue).diff is None
    queue.finish(
        first, AttemptOutcome.FAILED, failure_kind=FailureKind.CHECKS_FAILED, diff=DIFF, base_commit="b" * 40
    )
    queue.finish(
        queue.claim(), result_commit="c" * 40, diff=f"{DIFF}+two\n[cut: the diff has 9 characters in all]\n"
    )
    done = the_diff(queue)
    assert (done.attempt, done.result_commit, done.cut) == (2, "c" * 40, True)
    assert the_diff(queue, 1) == PhaseDiff(
        run_id="r1", phase_id="p1", attempt=1, base_commit="b" * 40, diff=DIFF
    )


@ON_BOTH
def test_without_work_of_the_phases_own_the_last_diff_is_shown(queue: Queue):
    queue.create(plan(phases=[phase("p1", max_attempts=9)]))
    for number in (1, 2):
        told = {
            "failure_kind": FailureKind.CHECKS_FAILED,
            "reason": f"n{number}",
            "diff": f"{DIFF}+{number}\n",
        }
        queue.finish(queue.claim(), AttemptOutcome.FAILED, **told)
    queue.finish(queue.claim(), AttemptOutcome.FAILED, failure_kind=FailureKind.TRUNCATED)
    assert the_diff(queue).attempt == 2


@ON_BOTH
def test_what_is_not_there_is_not_found(queue: Queue):
    queue.create(plan())
    queue.claim()
    for read in (phase_log.diff, lambda *names, **more: phase_log.log(*names, tail=5, **more)):
        for names, more, said in (
            (("r2", "p1"), {}, "r2"), (("r1", "p9"), {}, "no phase p9"), (("r1", "p1"), {"attempt": 2}, "no attempt 2"),
        ):  # fmt: skip
            with queue.session() as session, pytest.raises(NotFound, match=said):
                read(session, *names, **more)


@ON_BOTH
def test_the_log_tells_claim_call_checks_verdict_and_end_in_the_order_of_time(queue: Queue):
    queue.create(plan())
    claim = queue.claim()
    with queue.session() as session:
        session.execute(update(AttemptRow).values(step="building"))
    queue.tick(seconds=1)
    call = queue.reserve(claim).call_id
    assert the_log(queue).step == "building"
    assert texts(the_log(queue))[-1] == "builder 1: openai:m is asked, up to 100 output tokens"
    queue.tick(seconds=2)
    queue.settle(claim, call)
    queue.tick(seconds=7)
    rule = {"rule": "out of scope", "path": "b.py", "reason": "not the phase's", "action": "refuse"}
    queue.finish(
        claim, AttemptOutcome.FAILED, failure_kind=FailureKind.CHECKS_FAILED, reason="a check failed\nIts output",
        check_report=red(), review={"approved": True, "issues": [], "notes": ""},
        verdict={"decision": "blocked", "reasons": ["red"], "violations": [rule], "others": []},
        timings={"building": 0.0, "checking": 3.5, "auditing": 6.0},
    )  # fmt: skip
    log = the_log(queue)
    assert (log.state, log.step, log.cut) == ("QUEUED", None, False)
    assert [(line.source, line.text) for line in log.lines] == [
        ("claim", "attempt 1 begun; by w1"),
        ("step", "building"),
        ("model", "builder 1: openai:m is asked, up to 100 output tokens"),
        ("model", "builder 1: answered, 30 in, 12 out, stop, 0.2500 USD"),
        ("step", "checking"),
        ("checks", "$ pytest -q"),
        ("checks", "E   boom"),
        ("checks", "1 failed"),
        ("checks", "-> a test failed, exit code 1, 2.0 s, 1 failed"),
        ("checks", "the checks did not pass (sandbox: full)"),
        ("step", "auditing"),
        ("audit", "auditor: approves"),
        ("gate", "gate: blocked: red"),
        ("gate", "  rule 'out of scope' (refuse): b.py: not the phase's"),
        ("attempt", "a check failed"),
        ("event", "attempt ended as FAILED, checks failed; the phase is QUEUED"),
    ]
    assert {line.attempt for line in log.lines} == {1}
    assert [line.at for line in log.lines] == sorted(line.at for line in log.lines)


@ON_BOTH
def test_the_tail_is_of_the_newest_attempts_and_says_that_it_is_one(queue: Queue):
    queue.create(plan(phases=[phase("p1", max_attempts=9)]))
    for number in (1, 2, 3):
        queue.tick(seconds=10)
        output = "\n".join(f"{number}: line {n}" for n in range(50))
        told = {
            "failure_kind": FailureKind.CHECKS_FAILED,
            "reason": f"try {number}",
            "check_report": red(output),
        }
        queue.finish(queue.claim(), AttemptOutcome.FAILED, **told)
    short = the_log(queue, tail=20)
    assert (len(short.lines), short.cut) == (20, True)
    assert texts(short)[-1] == "attempt ended as FAILED, checks failed; the phase is QUEUED"
    assert {line.attempt for line in short.lines} == {3}
    whole = the_log(queue, tail=2000)
    assert (whole.cut, whole.lines[-20:]) == (False, short.lines)
    assert texts(whole, Source.CHECKS).count("1: line 0") == 1
    second = the_log(queue, attempt=2, tail=2000)
    assert {line.attempt for line in second.lines} == {2}
    assert not second.cut


def test_older_reports_are_not_read_once_there_are_lines_enough(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
):
    queue.create(plan(phases=[phase("p1", max_attempts=9)]))
    for number in (1, 2, 3):
        told = {
            "failure_kind": FailureKind.CHECKS_FAILED,
            "reason": f"try {number}",
            "check_report": red("x\n" * 40),
        }
        queue.finish(queue.claim(), AttemptOutcome.FAILED, **told)
    read: list[int] = []
    reported = phase_log._reported
    monkeypatch.setattr(
        phase_log, "_reported", lambda session, row: read.append(row.number) or reported(session, row)
    )
    assert the_log(queue, tail=10).cut
    assert read == [3]


def test_what_a_person_did_is_in_the_log(queue: Queue):
    queue.create(plan())
    queue.finish(
        queue.claim(), AttemptOutcome.FAILED, failure_kind=FailureKind.POLICY_VIOLATION, retryable=False
    )
    with queue.session() as session:
        phase_log.phases.requeue(session, "r1", "p1", actor="Ada (127.0.0.1)", now=queue.now)
    last = the_log(queue).lines[-1]
    assert (last.attempt, last.source) == (None, Source.EVENT)
    assert last.text.startswith("the phase is QUEUED")
    assert last.text.endswith("by Ada (127.0.0.1)")
