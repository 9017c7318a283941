"""The checks that need the whole plan, and the hash that says whether two plans are the same."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopack.domain.phases import Scope
from autopack.domain.plan import PhasePlan, Plan, TierPlan, content_hash, problems
from autopack.schemas import PlanBody


def phase(phase_id: str, *depends_on: str, **scope: tuple[str, ...]) -> PhasePlan:
    return PhasePlan(
        phase_id=phase_id, name=phase_id, goal="g", task_category="docs", complexity="low",
        scope=Scope(**scope), depends_on=depends_on,
    )  # fmt: skip


def plan(*tiers: tuple[PhasePlan, ...], **more: Any) -> Plan:
    made = tuple(TierPlan(tier_id=f"T{n}", name=f"T{n}", phases=phases) for n, phases in enumerate(tiers, 1))
    return Plan(**{"run_id": "r1", "goal": "", "tiers": made, **more})


def test_a_sound_plan_has_no_problems():
    paths = ("src", "src/", "app/[id]/page.tsx")
    sound = plan(
        (phase("a", paths=paths), phase("b", "a")), (phase("c", "a", "b", deliverables=("src/c.py",)),)
    )
    assert problems(sound) == []
    assert [(tier, each.phase_id) for tier, each in sound.phases()] == [(0, "a"), (0, "b"), (1, "c")]


UNSOUND = {
    "a phase twice in a tier": (plan((phase("a"), phase("a"))), "phase a is given twice"),
    "a phase twice across tiers": (plan((phase("a"),), (phase("a"),)), "phase a is given twice"),
    "a dangling dependency": (plan((phase("a", "z"),)), "phase a depends on z, which is not in the plan"),
    "a backward dependency": (
        plan((phase("a", "b"),), (phase("b"),)),
        "phase a depends on b, which is in a later tier",
    ),
    "itself": (plan((phase("a", "a"),)), "depends_on forms a cycle among: a"),
    "a cycle": (
        plan((phase("a", "c"), phase("b", "a"), phase("c", "b"), phase("d"))),
        "depends_on forms a cycle among: a, b, c",
    ),
    "a dependency twice": (plan((phase("a"), phase("b", "a", "a"))), "phase b: depends_on a is given twice"),
    "an unsafe path": (plan((phase("a", paths=("../x/",)),)), "phase a: path '../x/': '..' component"),
    "an absolute context": (plan((phase("a", read_only_context=("/etc/passwd",)),)), "absolute or home path"),
    "a deliverable that is a directory": (
        plan((phase("a", deliverables=("src/",)),)),
        "deliverable 'src/' is a directory; name a file",
    ),
    "a pattern": (plan((phase("a", paths=("src/**",)),)), "path 'src/**': paths are no patterns"),
    "a pattern of names": (
        plan((phase("a", deliverables=("a?.py",)),)),
        "path 'a?.py': paths are no patterns",
    ),
    "a pattern as context": (plan((phase("a", read_only_context=("**/*.py",)),)), "with a slash at its end"),
    "the root as a path": (plan((phase("a", paths=("/",)),)), "empty path"),
}


@pytest.mark.parametrize(("unsound", "words"), UNSOUND.values(), ids=UNSOUND)
def test_an_unsound_plan_is_told_what_is_wrong(unsound: Plan, words: str):
    assert words in "; ".join(problems(unsound))


def test_a_tier_given_twice_is_told():
    tier = TierPlan(tier_id="T1", name="T1", phases=(phase("a"),))
    twice = Plan(run_id="r1", goal="", tiers=(tier, replace(tier, phases=(phase("b"),))))
    assert problems(twice) == ["tier T1 is given twice"]


def test_every_problem_of_a_kind_is_told_at_once():
    found = problems(plan((phase("a", "x"), phase("b", "y", paths=("..",)))))
    assert len(found) == 3


@given(st.lists(st.lists(st.integers(0, 9), max_size=3, unique=True), min_size=1, max_size=10))
def test_a_plan_is_sound_exactly_when_its_dependencies_can_be_ordered(edges: list[list[int]]):
    wanted = {n: {e for e in found if e < len(edges)} for n, found in enumerate(edges)}
    made = plan(tuple(phase(f"p{n}", *(f"p{e}" for e in sorted(found))) for n, found in wanted.items()))
    left = dict(wanted)
    while ready := [n for n, found in left.items() if not found & left.keys()]:
        for each in ready:
            del left[each]
    assert (problems(made) == []) == (not left)


def test_a_long_chain_needs_no_recursion():
    chain = [phase("p0"), *(phase(f"p{n}", f"p{n - 1}") for n in range(1, 5000))]
    assert problems(plan(tuple(chain))) == []


BODY = {
    "autopack": 1,
    "run_id": "r1",
    "goal": "caf\u00e9",
    "tiers": [{"tier_id": "T1", "phases": [{"phase_id": "a", "goal": "g"}, {"phase_id": "b", "goal": "g"}]}],
}


def test_the_same_content_has_the_same_hash_however_it_was_written():
    spelled_out = {**BODY, "goal": "cafe\u0301", "token_cap": None, "safety_profile": "standard"}
    first, second = (content_hash(PlanBody.model_validate(body).to_domain()) for body in (BODY, spelled_out))
    assert first == second
    assert len(first) == 64


@pytest.mark.parametrize(
    "change",
    [
        {"run_id": "r2"}, {"goal": "other"}, {"token_cap": 5}, {"cost_cap_usd": 0.5}, {"max_phases": 1},
        {"tiers": [{"tier_id": "T1", "phases": [{"phase_id": "b", "goal": "g"}, {"phase_id": "a", "goal": "g"}]}]},
        {"tiers": [{"tier_id": "T1", "phases": [{"phase_id": "a", "goal": "g"}, {"phase_id": "b", "goal": "h"}]}]},
    ],
)  # fmt: skip
def test_other_content_has_another_hash(change: dict[str, Any]):
    first, second = (
        content_hash(PlanBody.model_validate({**BODY, **more}).to_domain()) for more in ({}, change)
    )
    assert first != second


def test_a_plan_of_an_earlier_version_keeps_its_hash():
    """Runs are known by it: the hash was made by version 0.1.0, before phases had a risk."""
    from tests.support import phase as phase_body
    from tests.support import plan as plan_body

    written = plan_body("r1", [phase_body("p1"), phase_body("p2", depends_on=["p1"])], token_cap=5)
    known = "deb8a02fe51d10e0114742c3086d80139ea27514aabd59ca816cadd118200eb7"
    assert content_hash(PlanBody.model_validate(written).to_domain()) == known


def test_a_risk_is_part_of_a_plan():
    risky = replace(phase("a"), risk="high")
    assert content_hash(plan((risky,))) != content_hash(plan((phase("a"),)))
    assert content_hash(plan((replace(risky, risk="normal"),))) == content_hash(plan((phase("a"),)))
