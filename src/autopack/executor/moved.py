"""Which tests that are gone only have another name, or another file, now."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from autopack.domain.changes import Change, File
from autopack.domain.policy import python_tests
from autopack.domain.testing import TestOutcome, in_file
from autopack.domain.testing.results import RED


class Moves:
    """Bodies of the tests in the changed Python files, as they were and as they are. Pure."""

    def __init__(self, changes: Sequence[Change]) -> None:
        self._changes = [change for change in changes if change.path.endswith(".py")]

    def moved(
        self, vanished: Sequence[str], baseline: Mapping[str, TestOutcome], head: Mapping[str, TestOutcome], directory: str
    ) -> dict[str, str]:  # fmt: skip
        """Each with the new test of the same body, for the same case, that passes; or fails as the old one did."""
        if not vanished:
            return {}
        held: dict[tuple[str, str], list[str]] = {}
        for each in head:
            if each not in baseline and (body := _body(each, self._after, directory)):
                held.setdefault((body, _case(each)), []).append(each)
        found: dict[str, str] = {}
        for each in vanished:
            good = RED | {TestOutcome.PASSED} if baseline[each] in RED else {TestOutcome.PASSED}
            same = held.get((_body(each, self._before, directory), _case(each)), [])
            if new := next((one for one in same if head[one] in good), None):
                found[each] = new
        return found

    def came_from(self, test_id: str, directory: str) -> bool:
        """Whether its body stood under another name, or in another file, where it is no more."""
        gone = {
            body
            for path, bodies in self._before.items()
            for name, body in bodies.items()
            if name not in self._after[path]
        }
        return _body(test_id, self._after, directory) in gone

    @cached_property
    def _before(self) -> dict[str, dict[str, str]]:
        return {change.path: dict(_bodies(change.before)) for change in self._changes}

    @cached_property
    def _after(self) -> dict[str, dict[str, str]]:
        return {change.path: dict(_bodies(change.after)) for change in self._changes}


def _bodies(file: File | None) -> Iterator[tuple[str, str]]:
    """By "Class.test"."""
    if file is None:
        return
    try:
        held = python_tests.read(file.content.decode("utf-8-sig", "replace"))
    except SyntaxError:
        return
    for name in held.tests():
        yield name, held.functions[name].body


def _body(test_id: str, files: Mapping[str, Mapping[str, str]], directory: str) -> str:
    """Empty where no changed file holds the test: one that a class inherits is not looked for."""
    prefix = f"{directory}/" if directory else ""
    owner, _, name = test_id.partition("[")[0].rpartition("::")
    for path, bodies in files.items():
        if in_file(test_id, path, directory):
            module = path[len(prefix) :].removesuffix(".py").replace("/", ".")
            inner = owner[len(module) :].removeprefix(".")
            return bodies.get(f"{inner}.{name}" if inner else name, "")
    return ""


def _case(test_id: str) -> str:
    return test_id.partition("[")[2]
