"""The project's own checks: which commands, what they need, how they are run, and what they said."""

from autopack.workspace.checks.report import CheckReport, CheckResult
from autopack.workspace.checks.runner import Checks, Job, open_checks
from autopack.workspace.checks.sentinel import Selection, is_pytest
from autopack.workspace.checks.settings import CheckSettings, load_check_settings

__all__ = [
    "CheckReport",
    "CheckResult",
    "CheckSettings",
    "Checks",
    "Job",
    "Selection",
    "is_pytest",
    "load_check_settings",
    "open_checks",
]
