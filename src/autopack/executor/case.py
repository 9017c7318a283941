"""What the checks are to judge: a phase's changes on a base, and the tree that they make."""

from collections.abc import Callable
from dataclasses import dataclass

from autopack.domain.changes import Change
from autopack.domain.phases import Claim
from autopack.domain.testing import is_test_file, names_tests
from autopack.workspace.checks import CheckSettings, Job

Step = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is judged: a phase's changes on a base, and the tree that they make."""

    claim: Claim
    base: str
    tree: str
    changes: tuple[Change, ...]
    settings: CheckSettings
    commands: tuple[str, ...]
    trusted: bool
    step: Step

    @property
    def deliverables(self) -> frozenset[str]:
        return frozenset(self.claim.phase.scope.deliverables)

    @property
    def acceptance(self) -> frozenset[str]:
        """Commands with which the phase itself names single test files: those are what it is for."""
        return frozenset(filter(names_tests, self.claim.phase.scope.checks))

    @property
    def category(self) -> str:
        return self.claim.phase.task_category

    def job(self, tree: str) -> Job:
        code = [each.path for each in self.changes if each.after and each.path.endswith(".py")]
        modules = tuple(path for path in code if not is_test_file(path))
        return Job(tree=tree, base=self.base, commands=self.commands, settings=self.settings, modules=modules)
