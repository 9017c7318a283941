"""Which edits may be made: the same rules for a plan, before any git object is written, and for the tree that results.

The answer of a model is data from outside. A refusal fails the attempt; an "ask" lets the work go on to
the gate, where a person decides.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from autopack.domain.changes import Change
from autopack.domain.edits import EditPlan
from autopack.domain.phases import FailureKind, Scope
from autopack.domain.policy import rules, touches
from autopack.domain.policy.rules import Action, Rule, Violation
from autopack.domain.policy.settings import OnRefusal, Policy
from autopack.domain.policy.table import Case, Finding, findings, many_lines, of_the_whole
from autopack.domain.policy.tests_rules import weakened
from autopack.domain.policy.touches import Tree

OUTSIDE = rules.OUTSIDE_SCOPE.name


def check_plan(
    plan: EditPlan,
    scope: Scope,
    policy: Policy,
    base: Mapping[str, str],
    seen: Mapping[str, str] | None = None,
    base_oids: Mapping[str, str] | None = None,
    *,
    ignored: Collection[str] = (),
) -> list[Violation]:
    """Every rule that the plan breaks, as far as a plan can say.

    `base` are the git file modes of the base tree, by path. `seen` are the blobs that the model was shown, `base_oids`
    those of the base (without `seen`, whole files may replace what nobody showed). `ignored` are the paths among the
    plan's that the project's ignore files name.
    """
    found = touches.of_plan(plan, base)
    case = Case(
        touches=found, scope=scope, policy=policy, base=Tree(modes=base), ignored=ignored, seen=seen,
        oids=base_oids or {},
    )  # fmt: skip
    return _judged(case, [*of_the_whole(case), *(findings(touch, case) for touch in found)])


def check_changes(
    changes: Sequence[Change],
    scope: Scope,
    policy: Policy,
    base: Mapping[str, str],
    category: str,
    *,
    ignored: Collection[str] = (),
) -> list[Violation]:
    """Every rule that the resulting tree breaks. What a plan may do, the tree may: the rules are the same ones."""
    found = touches.of_changes(changes)
    case = Case(touches=found, scope=scope, policy=policy, base=Tree(modes=base), ignored=ignored)
    by_path = {touch.path: findings(touch, case) for touch in found}
    for rule, path, why in weakened(found, category):
        by_path[path].append(Finding(rule=rule, path=path, why=why))
    return _judged(case, [*of_the_whole(case), *many_lines(case), *by_path.values()])


def missing_deliverables(scope: Scope, paths_afterwards: Mapping[str, object]) -> list[str]:
    """The deliverables (exact paths) that would not exist in a tree that holds `paths_afterwards`."""
    return [path for path in scope.deliverables if path not in paths_afterwards]


def refusal_kind(violations: Iterable[Violation]) -> FailureKind | None:
    """What kind of failure the refusals among the violations are; None where nothing is refused."""
    refused = {violation.rule for violation in violations if violation.action is Action.REFUSE}
    if not refused:
        return None
    for kind, names in _KINDS.items():
        if refused <= names:
            return kind
    return FailureKind.POLICY_VIOLATION


_KINDS = {
    FailureKind.OUT_OF_SCOPE: {rules.OUTSIDE_SCOPE.name, rules.READ_ONLY.name},
    FailureKind.TESTS_WEAKENED: {rules.WEAKENS_TESTS.name},
    FailureKind.BASE_MOVED: {rules.STALE.name},
    FailureKind.EDIT_NOT_APPLICABLE: {rules.NOT_SEEN.name},
}


def _judged(case: Case, groups: Iterable[Sequence[Finding]]) -> list[Violation]:
    """Of each path the first refusal, else all that is asked or allowed."""
    return [
        violation
        for group in groups
        for violation in _first_refusal([_violation(finding, case) for finding in group])
    ]


def _first_refusal(violations: list[Violation]) -> list[Violation]:
    return [each for each in violations if each.action is Action.REFUSE][:1] or violations


def _violation(finding: Finding, case: Case) -> Violation:
    action = _action(finding.rule, case.policy)
    name = f"{finding.rule.name} {finding.about}".strip()
    return Violation(
        rule=name, path=finding.path, reason=_reason(finding, name, action, case.scope), action=action
    )


def _action(rule: Rule, policy: Policy) -> Action:
    if rule.action is Action.REFUSE:
        return Action.ASK if rule.soft and policy.violations is OnRefusal.ASK else Action.REFUSE
    return Action.ALLOW if rule.auto and rule.name in policy.auto_approve else rule.action


def _reason(finding: Finding, name: str, action: Action, scope: Scope) -> str:
    path = finding.path if finding.path.isprintable() and finding.path.isascii() else repr(finding.path)
    if finding.rule is rules.OUTSIDE_SCOPE:
        return f"{path} is {name} ({', '.join([*scope.paths, *scope.deliverables])})"
    said = f"{path}: {name}" if finding.path else name
    said += f" ({finding.why})" if finding.why else ""
    return {Action.ASK: f"{said}: a person decides", Action.ALLOW: f"{said}: allowed by the policy"}.get(
        action, said
    )
