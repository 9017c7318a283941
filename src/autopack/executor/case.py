"""What the checks are to judge: a phase's changes on a base, and the tree that they make."""

from collections.abc import Callable
from dataclasses import dataclass

from autopack.domain.changes import Change
from autopack.domain.phases import Claim
from autopack.domain.testing import is_test_file, names_tests
from autopack.workspace.checks import CheckSettings, Job

_PYTEST = ("pytest", "py.test")
_SELECTING = ("-k", "-m", "--pyargs")
_TAKES_PATH = (
    "-c",
    "-p",
    "-o",
    "-W",
    "--rootdir",
    "--confcutdir",
    "--basetemp",
    "--cov",
    "--ignore",
    "--junitxml",
)
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
        """Commands with which the phase itself singles out tests: those are what it is for."""
        named = {each for each in self.claim.phase.scope.checks if names_tests(each) or selects_tests(each)}
        return frozenset(named) - frozenset(self.settings.commands)

    @property
    def removable(self) -> frozenset[str]:
        """Deleted files (a move deletes one) whose tests may go if a person agrees."""
        if self.category not in ("tests", "refactoring"):
            return frozenset()
        return frozenset(change.path for change in self.changes if change.after is None)

    @property
    def category(self) -> str:
        return self.claim.phase.task_category

    def job(self, tree: str) -> Job:
        code = [each.path for each in self.changes if each.after and each.path.endswith(".py")]
        modules = tuple(path for path in code if not is_test_file(path))
        return Job(tree=tree, base=self.base, commands=self.commands, settings=self.settings, modules=modules)


def selects_tests(command: str) -> bool:
    """Whether a command runs pytest on a part of the tests: by name or mark, or by the path of a file or folder."""
    words = [word.strip("'\"") for word in command.split()]
    start = next((at for at, word in enumerate(words) if word.rpartition("/")[2] in _PYTEST), None)
    given = [] if start is None else words[start + 1 :]
    for before, word in zip(["", *given], given, strict=False):
        if word.startswith(_SELECTING):
            return True
        is_path = "/" in word or word.endswith(".py") or is_test_file(f"{word}/x")
        if is_path and not word.startswith("-") and before not in _TAKES_PATH:
            return True
    return False
