"""Two auditors: two calls, neither of which sees the other's word; and what an auditor is shown and may say."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from autopack.clock import Clock
from autopack.domain.gate import Issue, Recommendation, Review
from autopack.domain.messages import Completion, Message, Role
from autopack.domain.phases import FailureKind
from autopack.domain.policy import Action, Violation
from autopack.executor.auditor import Auditor
from autopack.executor.failure import PhaseFailed
from autopack.executor.ledger import Ledger
from autopack.schemas import ClaimBody
from tests.executor.support_pipeline import ScriptedLLM, completion, major, review
from tests.support import git, phase

pytestmark = pytest.mark.anyio

PHASE: Any = SimpleNamespace(
    phase_id="p1",
    name="P",
    goal="Write it.",
    scope=SimpleNamespace(deliverables=(), paths=("src/",), checks=()),
)
YES = json.dumps(review())
NO = json.dumps(review(approved=False, issues=[major("it drops data")]))
ASKED = Violation(
    rule="delete a file", path="a.py", reason="a.py: delete a file: a person decides", action=Action.ASK
)


@dataclass
class PlainLedger:
    """The same method as `Ledger`, without a queue behind it."""

    asked: list[tuple[str, tuple[Message, ...]]] = field(default_factory=list)

    async def ask(self, llm: Any, role: Role, messages: Sequence[Message], **more: Any) -> Completion:
        self.asked.append((llm.model, tuple(messages)))
        label = SimpleNamespace(role=role)
        return await llm.complete(messages, max_tokens=more["max_tokens"], label=label, tool=more["tool"])


def model(name: str, *answers: str | Completion) -> ScriptedLLM:
    made = ScriptedLLM()
    made.model = name
    made.will(Role.AUDITOR, *answers)
    return made


async def reviewed(auditor: Auditor, ledger: PlainLedger, **more: Any) -> tuple[Review, ...]:
    return await auditor.reviews(PHASE, ledger, diff="+x = 1", checks="All 1 checks passed.", **more)


async def test_one_auditor_is_asked_where_one_is_wanted():
    ledger = PlainLedger()
    auditor = Auditor(llm=model("first", YES), second=model("second", NO))
    assert await reviewed(auditor, ledger) == (Review(approved=True),)
    assert [name for name, _ in ledger.asked] == ["first"]


async def test_two_are_asked_each_for_itself():
    ledger = PlainLedger()
    auditor = Auditor(llm=model("first", YES), second=model("second", NO))
    reviews = await reviewed(auditor, ledger, dual=True)
    assert reviews == (
        Review(approved=True),
        Review(approved=False, issues=(Issue(severity="major", message="it drops data"),)),
    )
    (first, (system, user)), (second, (second_system, second_user)) = ledger.asked
    assert (first, second) == ("first", "second")
    assert user == second_user
    assert YES not in user.text + second_user.text
    assert second_system.text.startswith(system.text.rstrip())
    assert "You are the second auditor" in second_system.text
    assert "second auditor" not in system.text


async def test_the_second_is_asked_though_the_first_rejects():
    ledger = PlainLedger()
    reviews = await reviewed(Auditor(llm=model("a", NO), second=model("b", YES)), ledger, dual=True)
    assert [each.approved for each in reviews] == [False, True]


async def test_no_verdict_of_either_is_ever_an_approval():
    with pytest.raises(PhaseFailed) as caught:
        await reviewed(
            Auditor(llm=model("a", YES), second=model("b", "fine", "fine")), PlainLedger(), dual=True
        )
    assert caught.value.kind is FailureKind.MALFORMED_ANSWER


async def test_the_same_model_is_asked_twice_and_paid_for_twice(stage):
    """The journal would answer an equal question; the second auditor's is another one."""
    await stage.create(phase("p1"))
    body = ClaimBody(
        run_id="r1", worker="w", lease_token="t" * 32, base_commit=git(stage.workspace, "rev-parse", "HEAD")
    )
    claim = (await stage.client.claim(body)).claim
    ledger = Ledger(client=stage.client, claim=claim, clock=Clock(), base=body.base_commit)
    stage.llm.will(Role.AUDITOR, YES, NO)
    reviews = await Auditor(llm=stage.llm).reviews(claim.phase, ledger, diff="d", checks="c", dual=True)
    assert [each.approved for each in reviews] == [True, False]
    assert [asked.label.ask for asked in stage.audited] == [1, 2]
    assert stage.audited[0].key != stage.audited[1].key


async def test_the_auditor_sees_what_the_policy_found():
    ledger = PlainLedger()
    await reviewed(Auditor(llm=model("a", YES)), ledger, findings=[ASKED])
    await reviewed(Auditor(llm=model("a", YES)), ledger)
    (_, (_, found)), (_, (_, nothing)) = ledger.asked
    assert "What the policy found:\n- a.py: delete a file: a person decides" in found.text
    assert "What the policy found:\n- nothing" in nothing.text
    assert "The checks:\nAll 1 checks passed." in found.text


@pytest.mark.parametrize("said", [*Recommendation, None])
async def test_a_recommendation_is_read(said: Recommendation | None):
    answer = completion(
        tool_call={**review(), "recommendation": said and said.value}, finish_reason="tool_call"
    )
    (found,) = await reviewed(Auditor(llm=model("a", answer)), PlainLedger())
    assert found.recommendation is said


async def test_a_recommendation_that_is_none_of_them_is_asked_for_again():
    wrong = json.dumps({**review(), "recommendation": "ship it"})
    ledger = PlainLedger()
    (found,) = await reviewed(Auditor(llm=model("a", wrong, YES)), ledger)
    assert found.recommendation is None
    assert "recommendation" in ledger.asked[1][1][-1].text
