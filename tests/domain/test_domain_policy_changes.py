"""What only the resulting tree shows: what is new in a file, what is lost, what moved, and a project's own settings."""

import pytest

from autopack.domain import policy
from autopack.domain.changes import Change, File
from autopack.domain.phases import FailureKind, Scope
from autopack.domain.policy import Action, OnRefusal, Policy, Violation
from tests.domain.support_policy import LONG, deletes, essence, moves, on_plan, on_tree, writes

MODE = "100644"
TOKEN = "ghp_" + "a1" * 18
LINES = [f"line {n}\n" for n in range(10)]


def changed(
    path: str,
    before: bytes | None,
    after: bytes | None,
    *,
    settings: Policy | None = None,
    category: str = "docs",
) -> list[Violation]:
    """One file's change, judged."""
    change = Change(
        path=path, before=None if before is None else File(content=before), after=None if after is None else File(content=after)
    )  # fmt: skip
    base = {} if before is None else {path: MODE}
    return policy.check_changes([change], Scope(), settings or Policy(), base, category)


@pytest.mark.parametrize(
    ("before", "after", "rule"),
    [
        ("a = 'x\u202e'\n", "a = 'x\u202e'\nb = 1\n", None),
        (
            "a = 'x\u202e'\n",
            "a = 'y\u202e'\n",
            "bidirectional control character in the content (CVE-2021-42574)",
        ),
        (f"k = '{TOKEN}'\n", f"key = '{TOKEN}'\n", None),
        (f"k = '{TOKEN}'\n", f"k = '{TOKEN}b2'\n", "looks like a secret"),
        ("a\n", f"a\nk = '{TOKEN}'\n", "looks like a secret"),
        ("<<<<<<< ours\n", "<<<<<<< ours\nx\n", None),
        ("a\n", "a\n>>>>>>> theirs\n", None),
        ("<<<<<<< a\n=======\n>>>>>>> b\n", "<<<<<<< a\nx\n=======\n>>>>>>> b\n", None),
        ("<<<<<<< a\n", "<<<<<<< a\nx\n=======\n>>>>>>> b\n", "conflict marker"),
        ("a\r\n", "<<<<<<< a\r\na\r\n||||||| c\r\n=======\r\n>>>>>>> b\r\n", "conflict marker"),
        ("a\n", "a\n\ufeffb\n", "invisible character in the content"),
        ("a\n", "\ufeffa\n", None),
    ],
)
def test_only_what_is_new_counts(before: str, after: str, rule: str | None):
    refused = [each.rule for each in changed("a.py", before.encode(), after.encode())]
    assert refused == ([] if rule is None else [rule])


@pytest.mark.parametrize(
    ("before", "after", "rule"),
    [
        (None, b"# caf\xe9\n", "not UTF-8"),
        (b"# cafe\n", b"# caf\xe9\n", "not UTF-8"),
        (b"# caf\xe9\n", b"# caf\xe9!\n", None),
        (b"# caf\xe9\n", "# caf\u00e9\n".encode(), None),
        (b"\x89PNG\0\n", b"\x89PNG\0\0\n", "binary content"),
        (b"a" * 2**21, b"b" * 2**21, None),
        (b"a" * 2**21, b"b" * (2**21 + 1), "file too large"),
    ],
    ids=["new latin-1", "became latin-1", "was latin-1", "became UTF-8", "binary", "large as before", "larger"],
)  # fmt: skip
def test_bytes_that_are_no_text(before: bytes | None, after: bytes, rule: str | None):
    assert [each.rule for each in changed("a.py", before, after)] == ([] if rule is None else [rule])


def test_a_secret_in_a_file_of_another_encoding_is_found():
    (found,) = changed("a.py", b"# caf\xe9\n", b"# caf\xe9\n" + TOKEN.encode() + b"\n")
    assert found.rule == "looks like a secret"
    assert TOKEN not in found.reason


@pytest.mark.parametrize(
    ("after", "rules"),
    [
        ("".join(LINES[:5]), set()),
        ("".join(LINES[:4]), {"deletes more than half of a file"}),
        ("", {"deletes more than half of a file"}),
        ("".join(line.upper() for line in LINES), set()),
    ],
    ids=["half", "more than half", "emptied", "rewritten at its length"],
)
def test_a_file_that_loses_more_than_half_of_its_lines_asks(after: str, rules: set[str]):
    assert essence(changed("a.txt", "".join(LINES).encode(), after.encode())) == {
        (rule, Action.ASK) for rule in rules
    }


def test_over_200_deleted_lines_ask_also_in_several_files_and_where_others_take_their_place():
    gone = b"".join(LONG.splitlines(keepends=True)[:90])
    replaced = gone.upper()
    changes = [
        Change(
            path=f"f{n}.txt",
            before=File(content=LONG),
            after=File(content=replaced + LONG.removeprefix(gone)),
        )
        for n in range(3)
    ]
    base = dict.fromkeys(("f0.txt", "f1.txt", "f2.txt"), MODE)
    found = policy.check_changes(changes, Scope(), Policy(), base, "docs")
    assert essence(found) == {("deletes many lines", Action.ASK)}
    assert "270 lines; at most 200" in found[0].reason
    assert policy.check_changes(changes, Scope(), Policy(max_deleted_lines=300), base, "docs") == []


def test_lines_that_are_only_moved_about_are_not_deleted():
    lines = LONG.splitlines(keepends=True)
    assert changed("a.txt", LONG, b"".join(reversed(lines))) == []


# Moves, found from the contents


def moved(before: bytes, after: bytes, target: str = "new.txt") -> list[Violation]:
    changes = [
        Change(path="old.txt", before=File(content=before), after=None),
        Change(path=target, before=None, after=File(content=after)),
    ]
    return policy.check_changes(changes, Scope(), Policy(), {"old.txt": MODE}, "docs")


TEN = "".join(LINES).encode()


@pytest.mark.parametrize(
    ("after", "rules"),
    [
        (TEN, set()),
        (TEN + b"more\n", set()),
        ("".join([*LINES[:6], "new\n"]).encode(), set()),
        ("".join(LINES[:5]).encode(), {"delete a file"}),
        (b"something else\n", {"delete a file"}),
    ],
    ids=["as it was", "and more", "most of it", "half of it", "nothing of it"],
)
def test_a_file_whose_content_lives_on_is_moved_and_not_deleted(after: bytes, rules: set[str]):
    assert essence(moved(TEN, after)) == {(rule, Action.ASK) for rule in rules}


def test_a_binary_file_may_be_moved_as_it_is():
    assert moved(b"\0\1\n", b"\0\1\n") == []
    assert essence(moved(b"\0\1\na\nb\n", b"\0\1\na\nc\n")) == {("binary content", Action.REFUSE)}


def test_a_move_that_differs_only_by_case_is_refused_from_the_tree_alone():
    assert ("rename whose ends differ only by case", Action.REFUSE) in essence(moved(TEN, TEN, "OLD.txt"))


def test_two_files_cannot_both_be_the_one_that_was_deleted():
    changes = [
        Change(path="old.txt", before=File(content=TEN), after=None),
        Change(path="gone.txt", before=File(content=TEN), after=None),
        Change(path="new.txt", before=None, after=File(content=TEN)),
    ]
    found = policy.check_changes(changes, Scope(), Policy(), {"old.txt": MODE, "gone.txt": MODE}, "docs")
    assert essence(found) == {("delete a file", Action.ASK)}
    assert len(found) == 1


def test_a_file_may_take_the_place_of_a_directory_that_is_emptied():
    changes = [
        Change(path="a/b.txt", before=File(content=b"1\n"), after=None),
        Change(path="a", before=None, after=File(content=b"2\n")),
    ]
    assert essence(policy.check_changes(changes, Scope(), Policy(), {"a/b.txt": MODE}, "docs")) == {
        ("delete a file", Action.ASK)
    }
    assert ("target is not a regular file", Action.REFUSE) in essence(
        policy.check_changes(changes, Scope(), Policy(), {"a/b.txt": MODE, "a/c.txt": MODE}, "docs")
    )


# Settings of the project


@pytest.mark.parametrize("judged", [on_plan, on_tree])
def test_a_project_protects_asks_and_freezes_more(judged):
    settings = Policy(protected=("deploy/",), ask=("src/**/*.sql", "LICENSE"), frozen=("spec_*.py",))
    outcomes = {
        path: essence(judged([writes(path)], settings=settings))
        for path in (
            "deploy/x",
            "Deploy/y",
            "src/a/b/c.sql",
            "src/c.sql",
            "license",
            "spec_a.py",
            "src/spec_a.py",
        )
    }
    assert outcomes == {
        "deploy/x": {("protected by the policy", Action.REFUSE)},
        "Deploy/y": {("protected by the policy", Action.REFUSE)},
        "src/a/b/c.sql": {("asked by the policy", Action.ASK)},
        "src/c.sql": {("asked by the policy", Action.ASK)},
        "license": {("asked by the policy", Action.ASK)},
        "spec_a.py": {("frozen file (acceptance test)", Action.REFUSE)},
        "src/spec_a.py": set(),
    }


@pytest.mark.parametrize("judged", [on_plan, on_tree])
def test_auto_approve_allows_what_would_be_asked_by_its_rule_only(judged):
    settings = Policy(auto_approve=("delete a file", "lock file"))
    assert essence(judged([deletes("src/app.py")], settings=settings)) == {("delete a file", Action.ALLOW)}
    assert essence(judged([writes("uv.lock")], settings=settings)) == {("lock file", Action.ALLOW)}
    assert essence(judged([writes("Makefile")], settings=settings)) == {
        ("decides how the project is built or tested", Action.ASK)
    }


@pytest.mark.parametrize("judged", [on_plan, on_tree])
def test_a_refusal_may_be_put_to_a_person_unless_it_is_about_safety(judged):
    settings = Policy(violations=OnRefusal.ASK, protected=("deploy/",), frozen=("acceptance/",))
    narrow = Scope(paths=("src/",))
    assert essence(judged([writes("README.md")], narrow, settings)) == {(policy.OUTSIDE, Action.ASK)}
    assert essence(judged([writes("deploy/x")], settings=settings)) == {
        ("protected by the policy", Action.ASK)
    }
    for edit in (
        writes("../x"), writes(".git/config"), writes("link.py"), writes("src/new.py", TOKEN + "\n"),
        writes("src/new.py", "\u202e\n"), moves("README.md", "src/app.py"), writes("acceptance/test_it.py"),
        writes("src/new", "x", "120000"),
    ):  # fmt: skip
        assert Action.REFUSE in {action for _, action in essence(judged([edit], narrow, settings))}, edit


def test_no_rule_about_safety_may_be_auto_approved_or_softened():
    for rule in policy.RULES.values():
        assert not (rule.auto and rule.action is Action.REFUSE)
        assert not (rule.auto and rule.name not in policy.AUTO_APPROVABLE)
    assert not policy.AUTO_APPROVABLE & {
        "weakens tests",
        "test file cannot be parsed",
        "look-alike of an existing name",
    }


@pytest.mark.parametrize("judged", [on_plan, on_tree])
def test_a_new_file_that_the_project_ignores_asks(judged):
    changes = [Change(path="build/out.txt", before=None, after=File(content=b"x\n"))]
    found = policy.check_changes(changes, Scope(), Policy(), {}, "docs", ignored=["build/out.txt"])
    assert essence(found) == {("ignored file", Action.ASK)}
    assert judged([writes("build/out.txt")]) == []


@pytest.mark.parametrize(
    ("rules", "kind"),
    [
        ([], None),
        ([policy.OUTSIDE], FailureKind.OUT_OF_SCOPE),
        (["weakens tests"], FailureKind.TESTS_WEAKENED),
        ([policy.OUTSIDE, "looks like a secret"], FailureKind.POLICY_VIOLATION),
    ],
)
def test_the_kind_of_a_refusal(rules: list[str], kind: FailureKind | None):
    refused = [Violation(rule=rule, path="p", reason="r") for rule in rules]
    asked = Violation(rule="delete a file", path="p", reason="r", action=Action.ASK)
    assert policy.refusal_kind([*refused, asked]) is kind
