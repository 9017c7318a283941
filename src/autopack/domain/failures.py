"""What is done about a failure: each kind has one action. Pure, and total over `FailureKind`.

| action | the phase becomes | an attempt is spent |
| --- | --- | --- |
| retry | QUEUED while attempts are left, then FAILED; the next prompt holds the reason | yes |
| escalate_budget | the same; the answer was cut, and is asked for with more room | yes |
| escalate_model | the same; the next try is built by the next model of the ladder, where there is one | yes |
| wait | QUEUED, due when the provider said, at once where nobody said when | no |
| give_up | FAILED at once: a rule, or a person, has said no | yes |
| ask_person | FAILED at once, and the reason says what a person can do | yes |

A worker that reports an attempt as not retryable ends any of the first three in FAILED. So it does with an answer that
cannot be used: the model was told within the attempt what was wrong, or got twice the room, and only a stronger model of
the ladder, where there is one, makes another try worth its price. Work that a person may allow
does not fail at all: it ends as NEEDS_APPROVAL and waits in GATE. The kinds of `ask_person` are what is left then:
TOO_LARGE, TESTS_WEAKENED where the policy asks nobody, APPROVAL_TIMED_OUT, REPEATED_INPUTS and STUCK.
"""

from collections.abc import Mapping
from enum import StrEnum

from autopack.domain.phases import FailureKind


class Action(StrEnum):
    RETRY = "retry"
    ESCALATE_BUDGET = "escalate_budget"
    ESCALATE_MODEL = "escalate_model"
    WAIT = "wait"
    GIVE_UP = "give_up"
    ASK_PERSON = "ask_person"


ACTIONS: Mapping[FailureKind, Action] = {
    FailureKind.TRUNCATED: Action.ESCALATE_BUDGET,
    FailureKind.MALFORMED_ANSWER: Action.ESCALATE_MODEL,
    FailureKind.PROSE_ONLY: Action.ESCALATE_MODEL,
    FailureKind.MIXED_FORMATS: Action.ESCALATE_MODEL,
    FailureKind.EMPTY_FILES: Action.ESCALATE_MODEL,
    FailureKind.WRONG_PATHS: Action.ESCALATE_MODEL,
    FailureKind.EDIT_NOT_APPLICABLE: Action.ESCALATE_MODEL,
    FailureKind.CHECKS_FAILED: Action.ESCALATE_MODEL,
    FailureKind.AUDIT_REJECTED: Action.ESCALATE_MODEL,
    FailureKind.OUT_OF_SCOPE: Action.ESCALATE_MODEL,
    FailureKind.MISSING_DELIVERABLES: Action.ESCALATE_MODEL,
    # The reason says how to mend it.
    FailureKind.CHECKS_TIMED_OUT: Action.RETRY,
    FailureKind.COLLECTION_ERROR: Action.RETRY,
    FailureKind.NO_TESTS: Action.RETRY,
    FailureKind.CHECKS_VOID: Action.RETRY,
    FailureKind.TESTS_VANISHED: Action.RETRY,
    FailureKind.TESTS_SKIPPED: Action.RETRY,
    FailureKind.NOT_RED_FIRST: Action.RETRY,
    # Not the work's fault.
    FailureKind.BASE_MOVED: Action.RETRY,
    FailureKind.MODEL_ERROR: Action.RETRY,
    FailureKind.WORKER_LOST: Action.RETRY,
    FailureKind.INTERNAL_ERROR: Action.RETRY,
    FailureKind.PROVIDER_LIMIT: Action.WAIT,
    FailureKind.BUDGET: Action.WAIT,
    FailureKind.INTERRUPTED: Action.WAIT,
    FailureKind.POLICY_VIOLATION: Action.GIVE_UP,
    FailureKind.APPROVAL_REJECTED: Action.GIVE_UP,
    FailureKind.UNDONE: Action.GIVE_UP,
    FailureKind.TOO_LARGE: Action.ASK_PERSON,
    FailureKind.TESTS_WEAKENED: Action.ASK_PERSON,
    FailureKind.APPROVAL_TIMED_OUT: Action.ASK_PERSON,
    FailureKind.REPEATED_INPUTS: Action.ASK_PERSON,
    FailureKind.STUCK: Action.ASK_PERSON,
}

_TRIED_AGAIN = frozenset({Action.RETRY, Action.ESCALATE_BUDGET, Action.ESCALATE_MODEL})
_SAYS_NOTHING = frozenset(
    {FailureKind.BASE_MOVED, FailureKind.MODEL_ERROR, FailureKind.WORKER_LOST, FailureKind.INTERNAL_ERROR}
)


def action(kind: FailureKind | None) -> Action:
    """A failure without a kind is tried again."""
    return Action.RETRY if kind is None else ACTIONS[kind]


def retryable(kind: FailureKind | None) -> bool:
    """Whether another try, of which the attempts are counted, may end otherwise."""
    return action(kind) in _TRIED_AGAIN


def judges_the_work(kind: FailureKind | None) -> bool:
    """Whether the same work would fail again: false for a provider, a machine or a branch that was in the way."""
    return kind is not None and kind not in _SAYS_NOTHING and ACTIONS[kind] is not Action.WAIT
