"""Which failed phase is next, and why another is left alone."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopack.domain.phases import FailureKind, PhaseState, RunState
from autopack.domain.triage import Candidate, Options, Trial
from autopack.domain.triage_order import History, Place, Stop, choose, enough, outlook

RED = FailureKind.CHECKS_FAILED


def candidate(name: str, **more: Any) -> Candidate:
    """Named as run and number: "a1" is the first phase of run "a"."""
    values: dict[str, Any] = {
        "run_id": name[0], "run_state": RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW, "has_base": True, "phase_id": name,
        "tier_index": 0, "phase_index": int(name[1:]), "task_category": "implementation", "state": PhaseState.FAILED,
        "failure_kind": RED, "failure_reason": "red", "signature": f"of {name}", "tried": 0,
    }  # fmt: skip
    return Candidate(**(values | more))


def trial(name: str, after: PhaseState = PhaseState.FAILED, **more: Any) -> Trial:
    values: dict[str, Any] = {
        "run_id": name[0], "phase_id": name, "before": PhaseState.FAILED, "after": after, "attempts": 1,
        "llm_usage_events": 0, "token_estimation_v2_events": 0, "seconds": 1.0,
    }  # fmt: skip
    return Trial(**(values | more))


def session(*trials: Trial, earlier: int = 0) -> History:
    """Of which the first `earlier` are of calls before this one."""
    return History(trials=list(trials), began=earlier)


def names(candidates: list[Candidate], history: History, options: Options = Options()) -> list[str]:  # noqa: B008
    return [
        look.candidate.phase_id
        for look in outlook(candidates, history, options)
        if look.place is not Place.LEFT
    ]


def left(each: Candidate, history: History | None = None, options: Options = Options()) -> str | None:  # noqa: B008
    (look,) = outlook([each], history or History(), options)
    return look.reason if look.place is Place.LEFT else None


ALL = [candidate(name) for name in ("a1", "a2", "a3", "b1", "b2", "c1")]


def test_of_each_run_one_phase_comes_before_the_others():
    looks = outlook(ALL, History(), Options())
    assert [look.candidate.phase_id for look in looks] == ["a1", "b1", "c1", "a2", "a3", "b2"]
    assert [look.place for look in looks] == [Place.SAMPLE] * 3 + [Place.WAITS] * 3


def test_nothing_is_chosen_where_nothing_is_left():
    assert choose([], History(), Options()) is None
    everything = session(*(trial(each.phase_id, PhaseState.COMPLETE) for each in ALL))
    assert choose(ALL, everything, Options()) is None


@pytest.mark.parametrize(
    "sample",
    [
        trial("a1", PhaseState.COMPLETE),
        trial("a1", PhaseState.GATE),
        trial("a1", token_estimation_v2_events=1),
        trial("a1", PhaseState.QUEUED, timed_out=True),
        trial("a1", new_failure=True),
    ],
    ids=["complete", "waits for a person", "telemetry", "timeout", "new failure"],
)
def test_a_promising_sample_opens_its_run(sample: Trial):
    assert names(ALL, session(sample)) == ["b1", "c1", "a2", "a3", "b2"]


def test_a_run_whose_sample_failed_as_before_is_left_alone():
    assert names(ALL, session(trial("a1"))) == ["b1", "c1", "b2"]
    assert "a1 failed again without anything new" in (left(candidate("a2"), session(trial("a1"))) or "")


def test_a_sample_that_says_nothing_does_not_decide_for_its_run():
    waited = trial("a1", PhaseState.QUEUED, again=True)
    blocked = trial("a1", attempts=0)
    for said_nothing in (waited, blocked):
        (look,) = outlook([candidate("a2")], session(said_nothing), Options())
        assert look.place is Place.SAMPLE


def test_runs_whose_sample_did_best_go_on_first():
    history = session(
        trial("a1", new_failure=True), trial("b1", PhaseState.COMPLETE), trial("c1", token_estimation_v2_events=1)
    )  # fmt: skip
    more = [*ALL, candidate("c2")]
    assert names(more, history) == ["b2", "c2", "a2", "a3"]


def test_in_a_run_earlier_tiers_come_first_then_what_another_try_may_help():
    of_run = [
        candidate("a1", tier_index=1, failure_kind=FailureKind.MODEL_ERROR),
        candidate("a2", failure_kind=FailureKind.POLICY_VIOLATION),
        candidate("a3", failure_kind=FailureKind.STUCK),
        candidate("a4"),
        candidate("a5", failure_kind=FailureKind.WORKER_LOST),
    ]
    assert names(of_run, History()) == ["a5", "a4", "a3", "a2", "a1"]


def test_samples_that_another_try_may_help_come_first():
    assert names([candidate("a1"), candidate("b1", failure_kind=FailureKind.MODEL_ERROR)], History()) == ["b1", "a1"]  # fmt: skip


def test_a_resumed_session_begins_with_what_was_under_way():
    history = session(trial("b2", PhaseState.QUEUED, again=True), earlier=1)
    queued = [*ALL[:4], candidate("b2", state=PhaseState.QUEUED), ALL[5]]
    looks = outlook(queued, history, Options())
    assert (looks[0].candidate.phase_id, looks[0].place) == ("b2", Place.AGAIN)
    assert [look.candidate.phase_id for look in looks if look.place is Place.SAMPLE] == ["a1", "c1"]


def test_a_phase_is_tried_once_in_a_call_whatever_came_of_it():
    queued = candidate("a1", state=PhaseState.QUEUED)
    waited = trial("a1", PhaseState.QUEUED, again=True)
    assert left(queued, session(waited, earlier=1)) is None
    assert left(queued, session(waited)) == "this session has tried it"
    assert left(candidate("a1"), session(trial("a1"), earlier=1)) == "this session has tried it"


def test_a_run_with_queued_phases_is_not_left_alone_for_it():
    """That a phase waits for the failed one is a reason to try it."""
    assert left(candidate("a1", run_state=RunState.RUNNING)) is None


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"run_state": RunState.PAUSED}, "the run is PAUSED"),
        ({"run_state": RunState.CANCELLED}, "the run is CANCELLED"),
        ({"run_state": RunState.DONE_FAILED_BUDGET_EXHAUSTED}, "the run is DONE_FAILED_BUDGET_EXHAUSTED"),
        ({"has_base": False}, "name it with --run-id"),
        ({"failure_kind": FailureKind.APPROVAL_REJECTED}, "a person rejected it"),
        ({"tried": 3}, "triage has made 3 attempts"),
        ({"state": PhaseState.QUEUED}, "a drain takes it"),
    ],
)
def test_some_phases_are_left_alone(more: dict[str, Any], reason: str):
    assert reason in (left(candidate("a1", **more)) or "")


def test_options_leave_runs_alone_and_take_what_was_left():
    assert left(candidate("a1"), options=Options(skip_run_prefixes=("x", "a"))) == "--skip-run-prefix a"
    assert left(candidate("a1", has_base=False), options=Options(run_ids=("a",))) is None
    assert left(candidate("a1", tried=3), options=Options(max_attempts_per_phase=4)) is None
    assert left(candidate("a1"), History(left_runs={"a": "not this workspace"})) == "not this workspace"
    assert left(candidate("a1"), History(left_phases={("a", "a1"): "it is COMPLETE"})) == "it is COMPLETE"


def test_a_failure_that_was_seen_three_times_stops_its_class():
    tried = [trial(f"{run}1", signature="S", new_failure=True) for run in "abc"]
    same, another = candidate("d1", signature="S"), candidate("d2", signature="T")
    assert left(same, session(*tried[:2])) is None
    assert "seen 3 times" in (left(same, session(*tried)) or "")
    assert left(another, session(*tried)) is None
    assert left(same, session(*tried), Options(max_fingerprint_repeats=4)) is None
    lost = [replace(each, after=PhaseState.QUEUED, again=True) for each in tried]
    assert left(same, session(*lost)) is None, "nothing was learned of what was interrupted"
    unknown = [replace(each, signature=None) for each in tried]
    assert left(candidate("d1", signature=None), session(*unknown)) is None, "unknown failures are no class"


def test_a_run_in_which_two_phases_ran_out_of_time_is_left_alone():
    timeouts = [trial(name, PhaseState.QUEUED, timed_out=True) for name in ("a1", "a2")]
    assert left(candidate("a3"), session(*timeouts[:1])) is None
    assert "ran out of time" in (left(candidate("a3"), session(*timeouts)) or "")
    assert left(candidate("b1"), session(*timeouts)) is None
    assert left(candidate("a3"), session(*timeouts, earlier=1)), "over the whole session"


def test_a_call_ends_when_it_has_done_enough():
    done, nothing = trial("a1", token_estimation_v2_events=1), trial("a2")
    assert enough(session(done, nothing), Options(), 1e6) is None
    assert enough(session(done, done), Options(batch_size=2), 0.0) == (Stop.BATCH_SIZE, "2 phases were asked for, and are done")  # fmt: skip
    assert enough(session(done, done, earlier=1), Options(batch_size=2), 0.0) is None, "of this call"
    waited = trial("a1", PhaseState.QUEUED, again=True)
    assert enough(session(waited, done), Options(batch_size=2), 0.0) is None, "one had to wait"
    late = Options(max_total_minutes=1.5)
    assert enough(session(), late, 1.4) is None
    assert (enough(session(), late, 1.5) or [None])[0] is Stop.TIME


def test_tries_in_a_row_that_bring_nothing_end_a_call():
    done, nothing = trial("a1", token_estimation_v2_events=1), trial("a2", PhaseState.COMPLETE)
    two = Options(max_consecutive_zero_yield=2)
    assert enough(session(nothing, done, nothing), two, 0.0) is None
    assert enough(session(nothing, nothing, earlier=1), two, 0.0) is None, "of this call"
    assert (enough(session(done, nothing, nothing), two, 0.0) or [None])[0] is Stop.ZERO_YIELD
    waited = trial("a3", PhaseState.QUEUED, again=True)
    assert enough(session(waited, nothing, waited), two, 0.0) is None, "what had to wait is no try"
    assert (enough(session(nothing, waited, nothing), two, 0.0) or [None])[0] is Stop.ZERO_YIELD


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9)), unique=True, max_size=12),
    st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=12, max_size=12),
)
@settings(max_examples=60)
def test_a_session_tries_each_phase_at_most_once_and_comes_to_an_end(keys: Any, ends: Any):
    """Whatever comes of each try; and a second phase of a run is never tried before its sample is in."""
    phases = [candidate(f"{run}{number}") for run, number in keys]
    history, tried = History(), []
    while (look := choose(phases, history, Options(batch_size=100))) is not None:
        key = look.candidate.phase_id
        said = [each for each in history.trials if each.run_id == key[0] and each.judged]
        assert (look.place is Place.SAMPLE) == (not said)
        good, again, timed_out = ends[len(tried)]
        state = PhaseState.COMPLETE if good else PhaseState.FAILED
        history.trials.append(trial(key, state, again=again and not good, timed_out=timed_out and not good))
        tried.append(key)
    assert len(tried) == len(set(tried)) <= len(phases)
