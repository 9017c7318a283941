"""What Python's syntax says about tests: which statements can fail, and which only look as if they could. Pure."""

import ast
from collections.abc import Iterator, Mapping, Sequence

_SKIPS = frozenset({
    "skip", "skipif", "skipIf", "skipUnless", "xfail", "expectedFailure", "importorskip", "skipTest", "SkipTest",
})  # fmt: skip
RAISES = frozenset(
    {"raises", "warns", "assertRaises", "assertRaisesRegex", "assertWarns", "assertWarnsRegex"}
)
WIDE = frozenset({"Exception", "BaseException"})
_SWALLOWED = WIDE | {"AssertionError"}
_TRUTHS = ("assertTrue", "assertFalse", "assertIsNotNone")
_ASSERTING = ("assert", "check", "verify", "expect", "fail")
DEFINITION = ast.FunctionDef | ast.AsyncFunctionDef


def live(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that can run and whose failure is seen, each without the blocks inside it."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.While):
            truth = _constant(node.test)
            yield from live(node.body if truth is not False else [])
            yield from live(node.orelse if truth is not True else [])
        elif isinstance(node, ast.For | ast.AsyncFor):
            yield from live([*(node.body if _constant(node.iter) is not False else []), *node.orelse])
        elif isinstance(node, ast.With | ast.AsyncWith):
            yield from live([] if any(_suppresses(item.context_expr) for item in node.items) else node.body)
        elif isinstance(node, ast.Try | ast.TryStar):
            swallowed = any(_swallows(handler) for handler in node.handlers)
            handlers = [statement for handler in node.handlers for statement in handler.body]
            yield from live([*([] if swallowed else node.body), *handlers, *node.orelse, *node.finalbody])
        elif isinstance(node, ast.Match):
            yield from live([statement for case in node.cases for statement in case.body])
        if isinstance(node, ast.Return | ast.Raise | ast.Break | ast.Continue):
            return


def assertions_of(statement: ast.stmt) -> Iterator[ast.expr]:
    """What this statement itself asserts, and that could fail."""
    if isinstance(statement, ast.Assert):
        if not _is_trivial(statement.test):
            yield statement.test
        return
    for call in calls_in(head_of(statement)):
        if _is_asserting(call) and not _is_trivial_call(call):
            yield call


def _is_asserting(call: ast.Call) -> bool:
    name = last_name(call.func) or ""
    return name in RAISES or name.startswith(_ASSERTING)


def head_of(statement: ast.stmt) -> list[ast.AST]:
    """The expressions of a statement itself: its blocks come as statements of their own."""
    blocks = ("body", "orelse", "finalbody", "handlers", "cases")
    fields = [getattr(statement, name) for name in statement._fields if name not in blocks]
    return [
        each
        for value in fields
        for each in (value if isinstance(value, list) else [value])
        if isinstance(each, ast.AST)
    ]


def calls_in(nodes: Sequence[ast.AST]) -> Iterator[ast.Call]:
    return (each for node in nodes for each in ast.walk(node) if isinstance(each, ast.Call))


def _is_trivial(test: ast.expr) -> bool:
    """True whatever the code under test does."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.Or):
        return any(map(_is_trivial, test.values))
    if isinstance(test, ast.BoolOp):
        return all(map(_is_trivial, test.values))
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        same = ast.dump(test.left) == ast.dump(test.comparators[0])
        return same and isinstance(test.ops[0], ast.Eq | ast.Is | ast.LtE | ast.GtE)
    if isinstance(test, ast.Call) and last_name(test.func) == "isinstance" and len(test.args) == 2:
        return last_name(test.args[1]) == "object"
    return isinstance(test, ast.Lambda) or _constant(test) is True


def _constant(test: ast.expr) -> bool | None:
    """The truth of a literal; None where it depends on something."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        truth = _constant(test.operand)
        return None if truth is None else not truth
    if isinstance(test, ast.Constant):
        return bool(test.value)
    if isinstance(test, ast.Tuple | ast.List | ast.Set):
        return bool(test.elts)
    return None


def _is_trivial_call(call: ast.Call) -> bool:
    name, values = last_name(call.func), call.args
    if name in ("assertTrue", "assertIsNotNone") and values:
        return _constant(values[0]) is True
    if name == "assertFalse" and values:
        return _constant(values[0]) is False
    same = name in ("assertEqual", "assertIs", "assertListEqual", "assertDictEqual") and len(values) > 1
    return same and ast.dump(values[0]) == ast.dump(values[1])


def compares(assertion: ast.expr) -> bool:
    """Compared with a mere True, False or None, a value is asserted as little as on its own."""
    if isinstance(assertion, ast.Call):
        return _is_asserting(assertion) and last_name(assertion.func) not in _TRUTHS
    compared = (node for node in ast.walk(assertion) if isinstance(node, ast.Compare))
    return any(not all(map(_is_truth, node.comparators)) for node in compared)


def _is_truth(node: ast.expr) -> bool:
    # `in (True, ...)` would take 1 for True.
    return isinstance(node, ast.Constant) and any(node.value is each for each in (True, False, None))


def skips_in(nodes: Sequence[ast.AST]) -> int:
    """How often something in there skips or expects a failure."""
    names = (
        last_name(each)
        for node in nodes
        for each in ast.walk(node)
        if isinstance(each, ast.Name | ast.Attribute)
    )
    return sum(name in _SKIPS for name in names)


def module_skips(module: ast.Module) -> int:
    plain = [
        node
        for node in module.body
        if not isinstance(node, DEFINITION | ast.ClassDef | ast.Import | ast.ImportFrom)
    ]
    return skips_in(plain) + sum(_turns_off(node) for node in plain)


def class_skips(node: ast.ClassDef) -> int:
    plain = [each for each in node.body if not isinstance(each, DEFINITION | ast.ClassDef)]
    return skips_in(plain)


def is_uncollected(node: ast.ClassDef) -> bool:
    """pytest passes over a class that has a constructor, says that it is no test, or is called nothing like one."""
    if not node.name.startswith("Test") and not node.bases:
        return True
    constructor = any(
        isinstance(each, DEFINITION) and each.name in ("__init__", "__new__") for each in node.body
    )
    return constructor or any(map(_turns_off, node.body))


def _turns_off(node: ast.stmt) -> bool:
    """`__test__ = False`, and the lists by which a module takes files out."""
    if not isinstance(node, ast.Assign):
        return False
    names = {last_name(target) for target in node.targets}
    return "__test__" in names or bool(names & {"collect_ignore", "collect_ignore_glob"})


def _suppresses(expression: ast.expr) -> bool:
    if not isinstance(expression, ast.Call) or last_name(expression.func) != "suppress":
        return False
    return any(last_name(each) in _SWALLOWED for each in expression.args)


def _swallows(handler: ast.ExceptHandler) -> bool:
    """Whether a failed assertion ends in this handler and is not raised again."""
    if handler.type is not None:
        caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
        if not any(last_name(each) in _SWALLOWED for each in caught):
            return False
    nodes = [each for statement in handler.body for each in ast.walk(statement)]
    return not any(
        isinstance(each, ast.Raise) or (isinstance(each, ast.Call) and last_name(each.func) == "fail")
        for each in nodes
    )


def assigned_names(module: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in module.body:
        if isinstance(node, ast.Assign):
            yield from ((target.id, node.value) for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            yield node.target.id, node.value


def deleted_names(module: ast.Module) -> Iterator[str]:
    for node in module.body:
        if isinstance(node, ast.Delete):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def size_of(value: ast.expr, known: Mapping[str, int]) -> int | None:
    """How many cases a literal holds, also by the name of one, or by `.items()` of one."""
    if isinstance(value, ast.List | ast.Tuple | ast.Set):
        return None if any(isinstance(each, ast.Starred) for each in value.elts) else len(value.elts)
    if isinstance(value, ast.Dict):
        return None if None in value.keys else len(value.keys)
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
        return size_of(value.func.value, known) if value.func.attr in ("items", "values", "keys") else None
    return known.get(value.id) if isinstance(value, ast.Name) else None


def last_name(node: ast.AST) -> str | None:
    """The last word of a dotted name, of a call too."""
    if isinstance(node, ast.Call):
        return last_name(node.func)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None
