"""What the tests of a Python file assert, read from its syntax; and in which ways a later version asserts less. Pure.

A floor, not a proof: a test can be hollowed out in ways that only running it shows. What is found here is certain
enough to refuse.
"""

import ast
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from autopack.domain.policy.python_syntax import (
    DEFINITION,
    RAISES,
    WIDE,
    assertions_of,
    assigned_names,
    calls_in,
    class_skips,
    compares,
    deleted_names,
    head_of,
    is_uncollected,
    last_name,
    live,
    module_skips,
    size_of,
    skips_in,
)


@dataclass(frozen=True, kw_only=True)
class Raises:
    """An expectation that something raises: which classes, and whether the message is looked at."""

    classes: tuple[str, ...]
    matched: bool

    def is_wider_than(self, other: "Raises") -> bool:
        if not set(self.classes) >= set(other.classes):
            return bool(WIDE.intersection(self.classes)) and not WIDE.intersection(other.classes)
        return len(self.classes) > len(other.classes) or (other.matched and not self.matched)


@dataclass(frozen=True, kw_only=True)
class Function:
    """`assertions` can fail; `comparisons` are those of them that compare with something. `cases` None: not known."""

    assertions: int = 0
    comparisons: int = 0
    raises: tuple[Raises, ...] = ()
    skips: int = 0
    cases: int | None = 1
    body: str = ""
    collected: bool = True


@dataclass(frozen=True, kw_only=True)
class Asserted:
    functions: Mapping[str, Function] = field(default_factory=dict)
    module_skips: int = 0

    def tests(self) -> set[str]:
        """Names of what a runner collects; the other functions may assert on behalf of these."""
        found = {name for name, each in self.functions.items() if each.collected}
        return {name for name in found if name.rpartition(".")[2].startswith("test")}

    def bodies(self) -> set[str]:
        return {self.functions[name].body for name in self.tests()}


def read(source: str) -> Asserted:
    """Raises SyntaxError where Python could not read it either (also for NUL and for nesting without end)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # about a doubtful escape in somebody's test, which is not ours to say
            return _Reader(ast.parse(source)).tests()
    except (ValueError, RecursionError, MemoryError) as error:
        raise SyntaxError(str(error)) from error


def weaknesses(before: Asserted, after: Asserted, elsewhere: frozenset[str] = frozenset()) -> list[str]:
    """In which ways `after` asserts less; `elsewhere` are bodies of tests that other changed files hold now."""
    found = []
    kept = after.bodies() | elsewhere
    for name in sorted(before.tests() - after.tests()):
        if before.functions[name].body not in kept:
            found.append(f"{name} is gone")
    for name in sorted(before.functions.keys() & after.functions.keys()):
        found += [f"{name} {what}" for what in _less(before.functions[name], after.functions[name])]
    if after.module_skips > before.module_skips:
        found.append("the module skips its tests")
    return found


def _less(before: Function, after: Function) -> Iterator[str]:
    if after.assertions < before.assertions:
        yield f"asserts less: {before.assertions} before, {after.assertions} now"
    elif after.comparisons < before.comparisons:
        yield "has assertions that no longer compare"
    if after.skips > before.skips:
        yield "is skipped, or expected to fail"
    if before.cases is not None and after.cases is not None and after.cases < before.cases:
        yield f"has fewer cases: {before.cases} before, {after.cases} now"
    if any(now.is_wider_than(then) for then, now in _paired(before.raises, after.raises)):
        yield "expects a wider exception"


def _paired(before: Sequence[Raises], after: Sequence[Raises]) -> list[tuple[Raises, Raises]]:
    """Where one was added or taken away, which belongs to which is not known."""
    return list(zip(before, after, strict=True)) if len(before) == len(after) else []


class _Reader:
    def __init__(self, module: ast.Module) -> None:
        self._module = module
        self._sizes = {
            name: size for name, value in assigned_names(module) if (size := size_of(value, {})) is not None
        }
        self._functions: dict[str, Function] = {}

    def tests(self) -> Asserted:
        self._read(self._module.body, "", 0)
        hidden = {name for name, value in assigned_names(self._module)} | set(deleted_names(self._module))
        functions = {
            name: each for name, each in self._functions.items() if name.partition(".")[0] not in hidden
        }
        return Asserted(functions=functions, module_skips=module_skips(self._module))

    def _read(self, body: Sequence[ast.stmt], prefix: str, skips: int, collected: bool = True) -> None:
        """A later definition of a name takes the place of an earlier one, as in Python."""
        for node in body:
            if isinstance(node, DEFINITION):
                self._functions[prefix + node.name] = replace(
                    self._function(node, skips), collected=collected
                )
            elif isinstance(node, ast.ClassDef):
                within = skips + skips_in(node.decorator_list) + class_skips(node)
                self._read(node.body, f"{prefix}{node.name}.", within, collected and not is_uncollected(node))
            elif isinstance(node, ast.If | ast.Try | ast.With):
                inside = [each for each in live([node]) if isinstance(each, DEFINITION | ast.ClassDef)]
                self._read(inside, prefix, skips, collected)

    def _function(self, node: DEFINITION, skips: int) -> Function:
        statements = [each for each in live(node.body) if not isinstance(each, DEFINITION | ast.ClassDef)]
        asserted = [each for statement in statements for each in assertions_of(statement)]
        return Function(
            assertions=len(asserted),
            comparisons=sum(map(compares, asserted)),
            raises=tuple(each for statement in statements for each in _raises(statement)),
            skips=skips + skips_in(node.decorator_list) + skips_in(node.body),
            cases=self._cases(node.decorator_list),
            body="\n".join(ast.dump(each) for each in [*node.decorator_list, *node.body]),
        )

    def _cases(self, decorators: Sequence[ast.expr]) -> int | None:
        total = 1
        for call in decorators:
            if isinstance(call, ast.Call) and last_name(call.func) == "parametrize" and len(call.args) > 1:
                size = size_of(call.args[1], self._sizes)
                if size is None:
                    return None
                total *= size
        return total


def _raises(statement: ast.stmt) -> Iterator[Raises]:
    for call in calls_in(head_of(statement)):
        if last_name(call.func) in RAISES and call.args:
            classes = call.args[0].elts if isinstance(call.args[0], ast.Tuple) else [call.args[0]]
            matched = any(each.arg == "match" for each in call.keywords) or "Regex" in (
                last_name(call.func) or ""
            )
            yield Raises(classes=tuple(ast.unparse(each) for each in classes), matched=matched)
