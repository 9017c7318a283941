"""Which edits may be made, and who decides: rules, a project's own settings, and the judging of plans and trees. Pure."""

from autopack.domain.policy.ignored import IGNORE_FILE, ignored_paths
from autopack.domain.policy.judge import (
    OUTSIDE,
    check_changes,
    check_plan,
    missing_deliverables,
    refusal_kind,
)
from autopack.domain.policy.paths import is_protected, unsafe_path
from autopack.domain.policy.rules import AUTO_APPROVABLE, RULES, RULES_VERSION, Action, Rule, Violation
from autopack.domain.policy.settings import DualAuditor, OnRefusal, OnTimeout, Policy, load_policy

__all__ = [
    "AUTO_APPROVABLE", "IGNORE_FILE", "OUTSIDE", "RULES", "RULES_VERSION", "Action", "DualAuditor", "OnRefusal", "OnTimeout", "Policy",
    "Rule", "Violation", "check_changes", "check_plan", "ignored_paths", "is_protected", "load_policy",
    "missing_deliverables", "refusal_kind", "unsafe_path",
]  # fmt: skip
