"""A plan written out: read again it is the same plan, and for people it is words and a picture."""

import json
import tomllib
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from autopack.cli.plan import Rendering, rendered
from autopack.cli.plans import Document, PlanFormat
from autopack.domain.phases import Scope
from autopack.domain.plan import PhasePlan, Plan, TierPlan, content_hash
from autopack.domain.toml_text import to_toml
from autopack.schemas import PlanBody

_AWKWARD = "ab \n\t:#'\"\\-|>&*!%@`\r\x85\u2028\x7f\ufeff0é\U0001f680"
TEXT = st.text(_AWKWARD, min_size=1, max_size=12) | st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=12
)
SMALL = Plan(
    run_id="r1", goal="Say <b>it</b>", token_cap=5,
    tiers=(
        TierPlan(
            tier_id="T1", name="First", phases=(
                PhasePlan(
                    phase_id="end", name='A "quoted" name', goal="Do\nit", task_category="tests", complexity="low",
                    scope=Scope(paths=("src/",), checks=("a `b`",)), priority=2,
                ),
                PhasePlan(phase_id="p2", name="p2", goal="Then", task_category="docs", complexity="high", depends_on=("end",)),
            ),
        ),
    ),
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(goal=TEXT, name=TEXT, check=TEXT, cost=st.floats(min_value=1e-6, max_value=1e12) | st.none())
def test_every_format_is_read_again_as_the_same_plan(goal: str, name: str, check: str, cost: float | None):
    phase = replace(SMALL.tiers[0].phases[0], goal=goal, name=name, scope=Scope(checks=(check,)))
    tier = replace(SMALL.tiers[0], phases=(phase,))
    plan = PlanBody.model_validate(
        json.loads(rendered(replace(SMALL, tiers=(tier,), cost_cap_usd=cost), Rendering.JSON))
    ).to_domain()
    for form in PlanFormat:
        text = rendered(plan, Rendering(form))
        again = PlanBody.model_validate(Document.parse(text, "plan", form).value).to_domain()
        assert again == plan, (form, text)
        assert content_hash(again) == content_hash(plan)


def test_what_is_as_it_would_be_anyway_is_left_out():
    assert rendered(SMALL, Rendering.YAML) == (
        "autopack: 1\nrun_id: r1\ngoal: Say <b>it</b>\ntoken_cap: 5\ntiers:\n"
        "  - tier_id: T1\n    name: First\n    phases:\n"
        "      - phase_id: end\n        name: A \"quoted\" name\n        goal: |-\n          Do\n          it\n"
        "        task_category: tests\n        complexity: low\n"
        "        scope:\n          paths:\n            - src/\n          checks:\n            - a `b`\n"
        "        priority: 2\n"
        "      - phase_id: p2\n        goal: Then\n        task_category: docs\n        complexity: high\n"
        "        depends_on:\n          - end\n"
    )  # fmt: skip


def test_toml_has_plain_values_before_tables():
    value = {
        "b": {"x": 1},
        "a": [1, 2.5, True],
        "odd key": 'q"\\\x01',
        "c": [{"d": []}, {"e": {"f": "l1\nl2"}}],
    }
    assert tomllib.loads(to_toml(value)) == value


def test_markdown_is_for_people():
    text = rendered(SMALL, Rendering.MARKDOWN)
    assert "Say \\<b\\>it\\</b\\>" in text
    assert '- **end** A "quoted" name (tests, low)\n  > Do\n  > it\n' in text
    assert "  - checked by: `` a `b` ``\n" in text
    assert "  - after: `end`\n" in text


def test_mermaid_takes_no_name_for_a_word_of_its_own():
    assert rendered(SMALL, Rendering.MERMAID) == (
        'flowchart TD\n  subgraph t0["First"]\n    p0["end: A #34;quoted#34; name"]\n    p1["p2"]\n  end\n  p0 --> p1\n'
    )
