"""What is known of an attempt so far: its row holds that, however the attempt ends."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from autopack.domain import audit, edits
from autopack.domain.audit import Judged
from autopack.domain.edits import EditPlan
from autopack.domain.gate import Review
from autopack.domain.kept_diff import readable_diff
from autopack.domain.phases import AttemptOutcome, FailureKind, JsonObject, Outcome
from autopack.executor.failure import PhaseFailed
from autopack.executor.ground import Ground
from autopack.workspace.git import GitWorkspace

MAX_STORED_DIFF_CHARS = 200_000
MAX_REPORT_CHARS = 2_000_000
_NAMES = ("rule", "path")  # what a decision is recognised by stays as it is


@dataclass(kw_only=True)
class Record:
    redact: Callable[[str], str]
    base_commit: str | None = None
    policy_hash: str | None = None
    inputs_hash: str | None = None
    plan: JsonObject | None = None
    plan_hash: str | None = None
    result_tree: str | None = None
    changes: tuple[JsonObject, ...] | None = None
    diff: str | None = None
    """Without secrets, and bounded: what it changed, for a person to read."""
    check_report: JsonObject | None = None
    reviews: tuple[Review, ...] = ()
    auditors: int = 1
    judged: Judged | None = None
    approval_id: str | None = None
    """Of the request that a person approved, where it holds."""
    void_reason: str | None = None
    """Why it does not."""

    def stands_on(self, ground: Ground) -> None:
        self.base_commit, self.policy_hash = ground.base, ground.policy.hash

    def proposes(self, plan: EditPlan) -> None:
        """A plan that holds a secret is refused, and not kept: redacted, it would be another plan."""
        stored = edits.to_json(plan)
        self.plan = stored if self._clean(stored) == stored else None
        self.plan_hash = _hash(json.dumps(stored, sort_keys=True))

    def take(self, other: "Record") -> None:
        """What is known of the same edits on another base takes the place of what was."""
        for each in fields(self):
            setattr(self, each.name, getattr(other, each.name))

    async def makes(self, git: GitWorkspace, base: str, tree: str) -> None:
        self.result_tree = tree
        self.changes = tuple(await git.stored_changes(base, tree))

    def shows(self, diff: str) -> None:
        self.diff = readable_diff(diff, self.redact)

    def outcome(self, outcome: AttemptOutcome, *, reason: str | None = None, **more: Any) -> Outcome:
        """The end of the attempt. What secrets a check printed or a model repeated are not kept."""
        return Outcome(
            outcome=outcome, reason=None if reason is None else self.redact(reason), base_commit=self.base_commit,
            policy_hash=self.policy_hash, inputs_hash=self.inputs_hash,
            plan=None if "approval" in more else self.plan,  # the request holds it
            plan_hash=self.plan_hash, result_tree=self.result_tree, changes=self.changes, diff=self.diff,
            check_report=self._clean(_without_excess(self.check_report)), approval_void_reason=self.void_reason,
            review=self._clean(audit.reviews_to_json(self.reviews)),
            verdict=None if self.judged is None else self._clean(audit.verdict_to_json(self.judged)), **more,
        )  # fmt: skip

    def approval(self, diff: str, checks_hash: str, ground: Ground) -> JsonObject:
        """What a person is asked about: exactly this diff, on this base, under this policy, with these checks."""
        assert self.judged is not None
        if self.plan is None:
            raise PhaseFailed(
                FailureKind.POLICY_VIOLATION,
                "the edits hold a secret of this environment or of .env: they are not kept until a person decides",
                retryable=False,
            )
        return {
            "reasons": [self.redact(reason) for reason in self.judged.verdict.reasons], "plan": self.plan,
            "diff": readable_diff(diff, self.redact, MAX_STORED_DIFF_CHARS),
            "diff_hash": diff_hash(diff), "base_commit": ground.base, "policy_hash": ground.policy.hash,
            "checks_hash": checks_hash, "timeout_minutes": ground.policy.approval_timeout_minutes,
            "on_timeout": ground.policy.on_approval_timeout,
        }  # fmt: skip

    def _clean(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, Mapping):
            return {name: each if name in _NAMES else self._clean(each) for name, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._clean(each) for each in value]
        return value


def _without_excess(report: JsonObject | None) -> JsonObject | None:
    """Whatever a test is called, the end of its attempt must reach the queue."""
    if report is None or len(json.dumps(report)) <= MAX_REPORT_CHARS:
        return report
    return {name: report[name] for name in ("passed", "level") if name in report} | {
        "notes": [f"the report was left out: it has more than {MAX_REPORT_CHARS} characters"]
    }


def diff_hash(diff: str) -> str:
    return _hash(diff)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
