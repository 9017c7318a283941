"""What can be said of phases before they are drained: their order, their paths, and what the policy makes of them."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopack.domain.phases import Phase, PhaseState, Scope
from autopack.domain.policy import Policy
from autopack.domain.preflight import (
    Base,
    Finding,
    Level,
    Order,
    graph_of,
    overlaps,
    policy_findings,
    scope_findings,
    worst,
    worst_first,
)
from autopack.domain.testing.programs import started

NOW = datetime(2030, 1, 1, tzinfo=UTC)
BASE = Base(
    modes=dict.fromkeys(("README.md", "src/a.py", "docs/x.md"), "100644"),
    ignore_files={".gitignore": "*.log\n"},
)


def phase(phase_id: str, tier: int = 0, *, after: tuple[str, ...] = (), **scope: tuple[str, ...]) -> Phase:
    return Phase(
        run_id="r", phase_id=phase_id, tier_id=f"T{tier}", tier_index=tier, phase_index=0, name=phase_id, goal="g",
        task_category="implementation", complexity="low", state=PhaseState.QUEUED, scope=Scope(**scope), depends_on=after,
        created_at=NOW, updated_at=NOW,
    )  # fmt: skip


def test_the_graph_says_what_must_wait_and_what_may_go_together():
    graph = graph_of(
        [phase("a"), phase("b", after=("a",)), phase("c"), phase("d", 1), phase("e", 1, after=("d",))]
    )
    assert (graph.phases, graph.tiers, graph.at_once) == (5, 2, 2)
    assert graph.longest_chain == ("a", "b", "d", "e")
    assert graph_of([]).longest_chain == ()


def test_thousands_in_a_row_are_one_chain():
    row = [phase(f"p{number}", after=(f"p{number - 1}",), paths=("src/",)) for number in range(3000)]
    assert len(graph_of(row).longest_chain) == 3000
    assert overlaps(row) == []


def test_phases_that_may_change_the_same_files_are_named_unless_one_waits_for_the_other():
    phases = [
        phase("whole", paths=("src/",)),
        phase("part", deliverables=("src/b.py",)),
        phase("other", deliverables=("src.py",)),
        phase("later", 1, paths=("src/",)),
        phase("middle", after=("whole",)),
        phase("last", after=("middle",), paths=("src/b.py",)),
    ]
    (found,) = overlaps(phases)
    assert found.level is Level.NOTE
    assert "whole and part" in found.text
    assert found.phases == ("last", "part", "whole")
    assert "whole and last" not in found.text


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(["a", "a/", "a/b", "a/b/c", "ab", "b/"]), max_size=3), min_size=2, max_size=4
    )
)
def test_paths_meet_where_one_is_the_other_or_above_it(scopes: list[list[str]]):
    phases = [phase(f"p{number}", paths=tuple(paths)) for number, paths in enumerate(scopes)]

    def meet(one: str, other: str) -> bool:
        one, other = one.rstrip("/") + "/", other.rstrip("/") + "/"
        return one.startswith(other) or other.startswith(one)

    expected = {
        each.phase_id
        for each in phases
        for other in phases
        if other is not each and any(meet(x, y) for x in each.scope.paths for y in other.scope.paths)
    }
    assert {each for finding in overlaps(phases) for each in finding.phases} == expected


def test_what_earlier_phases_make_is_there():
    order = Order(
        [
            phase("a", deliverables=("a",)), phase("b", after=("a",), deliverables=("b",)), phase("c", after=("b",)),
            phase("d", deliverables=("d",)), phase("e", 1),
        ]
    )  # fmt: skip
    found = {each.phase_id: order.made_before(each) for each in order.phases}
    assert found == {"a": set(), "b": {"a"}, "c": {"a", "b"}, "d": set(), "e": {"a", "b", "d"}}


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        ({"paths": ("src/", "README.md", "docs")}, None),
        ({"paths": ("new/",), "deliverables": ("new/x.py",)}, None),
        ({"paths": ("made/",)}, None),
        ({"paths": ("scr/",)}, "scope.paths names scr/, which matches nothing"),
        ({"paths": ("README.md/",)}, "README.md/, which matches nothing"),
        ({"paths": ("src/",), "read_only_context": ("doc/",)}, "read_only_context names doc/"),
        ({"paths": ("src/",), "read_only_context": ("made/y.py",)}, None),
        ({"paths": ("src/",), "deliverables": ("docs/y.md",)}, "docs/y.md lies outside scope.paths"),
        ({}, "no paths and no deliverables"),
    ],
)
def test_a_path_that_matches_nothing_is_told(scope: dict[str, tuple[str, ...]], words: str | None):
    found = list(scope_findings(phase("p", **scope), BASE, {"made/y.py"}))
    assert [words in each.text for each in found if words] == ([True] if words else [])
    assert bool(found) == bool(words)


@pytest.mark.parametrize(
    ("scope", "policy", "level", "words"),
    [
        ({"deliverables": ("autopack.toml",)}, Policy(), Level.PROBLEM, "protected file"),
        ({"paths": (".git/",)}, Policy(), Level.WARNING, ".git/: protected directory .git"),
        ({"deliverables": ("src/a.py",)}, Policy(frozen=("src/",)), Level.PROBLEM, "frozen"),
        ({"deliverables": ("Makefile",)}, Policy(), Level.WARNING, "waits for a person: Makefile"),
        ({"deliverables": ("x.log",)}, Policy(), Level.WARNING, "ignored file"),
        ({"paths": (".github",)}, Policy(), Level.NOTE, "CI configuration"),
        ({"deliverables": ("Makefile",)}, Policy(auto_approve=("decides how the project is built or tested",)), None, ""),
        ({"paths": ("src/", "README.md"), "deliverables": ("src/a.py", "src/new.py")}, Policy(), None, ""),
    ],
)  # fmt: skip
def test_the_rules_that_judge_the_work_judge_its_paths(
    scope, policy: Policy, level: Level | None, words: str
):
    base = replace(BASE, modes={**BASE.modes, ".github/x.yml": "100644"})
    found = list(policy_findings(phase("p", **scope), base, policy))
    assert [each.level for each in found] == ([level] if level else [])
    assert all(words in each.text for each in found)


def test_what_is_worst_is_told_first():
    found = [
        Finding(level=level, about="x", text=level)
        for level in (Level.OK, Level.PROBLEM, Level.NOTE, Level.WARNING)
    ]
    assert [each.text for each in worst_first(found)] == ["problem", "warning", "note", "ok"]
    assert (worst(found), worst([])) == (Level.PROBLEM, Level.OK)


@pytest.mark.parametrize(
    ("command", "programs"),
    [
        ("pytest -q", ["pytest"]),
        (
            "PYTHONPATH=src python3 -m pytest | tee log && make lint; ./run.sh",
            ["python3", "tee", "make", "./run.sh"],
        ),
        ("if true; then ruff check; fi", ["true", "ruff"]),
        ("$RUNNER tests", []),
        ("echo 'open", []),
    ],
)
def test_the_programs_of_a_command(command: str, programs: list[str]):
    assert started(command) == programs
