"""Figures as series: their number is bounded, and what is unknown is in none of them."""

from typing import Any

from autopack.domain.metrics import MAX_MODELS, CallSums, EstimateSums, Figures, QueueState, families

QUEUE = QueueState(
    runs={"RUNNING": 1}, phases={"QUEUED": 2}, open_attempts=3, reserved_tokens=4, reserved_cost_usd=0.5
)


def calls(**more: Any) -> CallSums:
    values: dict[str, Any] = {
        "role": "builder", "model": "m", "provider_mode": "live", "status": "answered", "first_id": 1, "calls": 2,
        "input_tokens": 30, "output_tokens": 12, "cache_read_tokens": None, "cache_write_tokens": None,
        "reasoning_tokens": None, "unsplit_tokens": 0, "of_unknown_usage": 0, "of_unknown_cost": 0, "cost_usd": 0.1,
    }  # fmt: skip
    return CallSums(**(values | more))


def values(name: str, *rows: CallSums, estimates: tuple[EstimateSums, ...] = ()) -> dict[Any, float]:
    found = families(Figures(calls=rows, estimates=estimates, queue=QUEUE))
    (family,) = [each for each in found if each.name == name]
    return dict(family.values)


def test_a_call_counts_under_one_name_whether_it_was_answered_or_not():
    failed = calls(model="openai:m", status="failed", calls=1, input_tokens=None, output_tokens=None)
    assert values("autopack_llm_calls", calls(), failed) == {
        ("builder", "m", "live", "answered"): 2,
        ("builder", "m", "live", "failed"): 1,
    }


def test_a_kind_of_tokens_that_nobody_reported_is_no_series():
    assert values("autopack_llm_tokens", calls()) == {
        ("builder", "m", "live", "input"): 30,
        ("builder", "m", "live", "output"): 12,
        ("builder", "m", "live", "unsplit"): 0,
    }
    assert values("autopack_llm_cost_usd", calls(cost_usd=None, of_unknown_cost=2)) == {}
    assert values("autopack_llm_calls_of_unknown_cost", calls(cost_usd=None, of_unknown_cost=2)) == {
        ("builder", "m", "live"): 2
    }


def test_roles_are_a_small_set_and_models_a_bounded_one():
    many = [calls(model=f"m{n}", first_id=n, role=f"role-{n}") for n in range(MAX_MODELS + 10)]
    found = values("autopack_llm_calls", *reversed(many))
    assert {role for role, *_ in found} == {"other"}
    assert len(found) == MAX_MODELS + 1
    assert found["other", "other", "live", "answered"] == 20
    assert ("other", "m0", "live", "answered") in found, "the first that were called keep their names"
    (long,) = {model for _, model, *_ in values("autopack_llm_calls", calls(model="x" * 200))}
    assert long == "x" * 80


def test_cost_is_a_sum_that_does_not_fall_by_its_last_digits():
    assert values("autopack_llm_cost_usd", *[calls(cost_usd=0.1)] * 3) == {("builder", "m", "live"): 0.3}


def test_estimates_are_told_by_where_their_budget_came_from():
    row = EstimateSums(
        budget_source="prior", provider_mode="live", estimates=5, truncated=1, of_unknown_actual=2, budget_tokens=90,
        actual_tokens=None,
    )  # fmt: skip
    assert values("autopack_truncations", estimates=(row,)) == {("prior", "live"): 1}
    assert values("autopack_estimate_actual_tokens", estimates=(row,)) == {}
