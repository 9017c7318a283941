"""The earlier system's words, moments, paths and numbers, in ours."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from autopack.db.adopt import words
from autopack.db.adopt.names import id_like, ids, is_id
from autopack.db.adopt.scope import path_in, scoped
from autopack.db.adopt.telemetry import is_guessed
from autopack.db.adopt.values import integer, moment
from autopack.domain.phases import PhaseState, RunState
from autopack.schemas import Id, PhaseBody

_ID = TypeAdapter(Id)
AT = datetime(2025, 12, 24, 10, 31, 46, tzinfo=UTC)


@pytest.mark.parametrize(("said", "ours"), [
    ("queued", PhaseState.QUEUED), ("EXECUTING", PhaseState.QUEUED), ("Gate", PhaseState.QUEUED), ("PhaseState.FAILED", PhaseState.FAILED),
    ("complete", PhaseState.COMPLETE), ("in progress", PhaseState.QUEUED), ("canceled", PhaseState.CANCELLED), ("odd", None), (None, None),
    ("Retrying", PhaseState.QUEUED), ("BLOCKED", None),
])  # fmt: skip
def test_states_of_phases_in_any_case(said: str | None, ours: PhaseState | None):
    assert words.phase_state(said) is ours


@pytest.mark.parametrize(("said", "ours"), [
    ("RUN_CREATED", RunState.QUEUED), ("phase_execution", RunState.RUNNING), ("SNAPSHOT_CREATED", RunState.RUNNING),
    ("done_success", RunState.DONE_SUCCESS), ("DONE_FAILED_ENVIRONMENT", RunState.DONE_FAILED_ENVIRONMENT), ("?", None),
    ("DONE_FAILED_TIMEOUT", RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW),
])  # fmt: skip
def test_states_of_runs_in_any_case(said: str, ours: RunState | None):
    assert words.run_state(said) is ours


@pytest.mark.parametrize(("said", "ours"), [
    ("IMPLEMENT_FEATURE", "implementation"), ("bug fix", "implementation"), ("Testing", "tests"), ("documentation", "docs"),
    ("deployment", "configuration"), ("database", "schema_change"), ("data-science", "data_science"), (None, "implementation"),
    ("42", "implementation"),
])  # fmt: skip
def test_categories(said: str | None, ours: str):
    assert words.category(said) == ours


@pytest.mark.parametrize(("said", "ours"), [
    ("MEDIUM-HIGH", "high"), ("low to medium", "medium"), ("SIMPLE", "low"), ("maintenance", "low"), (None, "medium"), ("?", "medium"),
])  # fmt: skip
def test_complexities(said: str | None, ours: str):
    assert words.complexity(said) == ours


@given(st.text(max_size=150))
def test_every_text_has_an_id_that_the_api_takes(said: str):
    made = id_like(said, "run", ())
    assert _ID.validate_python(made) == made
    assert is_id(made)


def test_ids_stay_where_they_may_and_are_all_different():
    assert ids(["a b", "a", "a", "a-b", None, "x" * 128], "phase") == ["a-b-2", "a", "a-2", "a-b", "phase", "x" * 128]  # fmt: skip
    assert ids(["a b"], "run", taken=["a-b"]) == ["a-b-2"]


@pytest.mark.parametrize("said", [
    "2025-12-24 10:31:46", "2025-12-24T10:31:46Z", "2025-12-24 11:31:46+01:00", 1766572306, "1766572306.0", 1766572306000, 1766572306e6,
])  # fmt: skip
def test_one_moment_in_many_formats(said: str | float):
    assert moment(said) == AT


@pytest.mark.parametrize("said", ["yesterday", "", None, b"2025-12-24", 1e300, "0001-01-01 00:00:00+14:00"])
def test_what_is_no_moment(said: str | float | bytes | None):
    assert moment(said) is None


@pytest.mark.parametrize(("said", "ours"), [(7, 7), ("7", 7), (7.0, 7), ("1e3", 1000), (7.5, None), ("7 or so", None), (2**80, None), (b"7", None)])  # fmt: skip
def test_whole_numbers(said: int | float | str | bytes, ours: int | None):
    assert integer(said) == ours


def test_a_scope_in_each_of_its_forms():
    whole = scoped('{"paths": ["src/", "src/*.py"], "read_only_context": [{"path": "docs/a.md", "reason": "x"}], "deliverables": {"code": ["src/a.py"], "tests": ["tests/t/ (10+ tests)"]}}')  # fmt: skip
    assert whole.paths == ("src/", "tests/t/")
    assert (whole.read_only_context, whole.deliverables, whole.unusable) == (("docs/a.md",), ("src/a.py",), 0)
    assert scoped('"{\\"paths\\": [\\"a.py\\"]}"').paths == ("a.py",)
    assert scoped('["a.py"]').paths == ("a.py",)
    assert scoped('{"allowed_paths": ["src/"], "protected_paths": ["src/core/*"], "goal": "g"}').read_only_context == ("src/core/",)  # fmt: skip
    assert scoped("Build a tracer.").words == "Build a tracer."
    assert scoped(None) == scoped("null") == scoped("{}")


@pytest.mark.parametrize(("said", "paths"), [
    ("src/a.py", ("src/a.py",)), ("src/a.py: the parser", ("src/a.py",)), ("src/a.py\ndocs/", ("src/a.py", "docs/")),
    ("src/a.py, src/b.py", ("src/a.py", "src/b.py")), ("src/a.py holds the parser.\nMend it.", ("src/a.py",)),
    ('{"file": "src/b.py"}', ("src/b.py",)), ('{"path": "src/"}', ("src/",)), ('{"files": [{"path": "a.py"}, "b.py"]}', ("a.py", "b.py")),
    ('{"filename": "a.py", "deliverables": ["docs/"]}', ("a.py", "docs/")),
])  # fmt: skip
def test_every_way_to_name_where_a_phase_may_write_limits_it(said: str, paths: tuple[str, ...]):
    found = scoped(said)
    assert (found.paths, found.deliverables, found.limits_nothing) == (paths, (), False)


@pytest.mark.parametrize("said", [
    '{"paths": ["/etc/passwd", "../up"]}', '{"paths": ["../up"], "read_only_context": ["docs/"]}', "../up", "- ../up\n- /etc/passwd",
    '{"deliverables": ["Documentation", "Unit tests"]}', '{"modules": ["parser"]}', '{"protected_paths": ["the secrets here"]}',
])  # fmt: skip
def test_a_scope_that_says_something_and_limits_nothing_is_told(said: str):
    assert scoped(said).limits_nothing


@pytest.mark.parametrize("said", [
    None, "", "[]", "Only the two parser modules.", "backend", "true", '{"paths": []}', '{"goal": "g"}', '{"protected_paths": ["src/core/"]}', '{"paths": ["/etc/passwd"], "deliverables": ["a.py"]}',
])  # fmt: skip
def test_a_scope_that_never_was_a_limit_is_none(said: str | None):
    assert not scoped(said).limits_nothing


def test_words_for_a_scope_are_the_works_and_its_lines_that_are_paths_limit_it():
    said = "Build a tracer.\n\nCODE:\n- src/a.py\n2. `src/b.py`\n\nDOCS:\n* docs/"
    found = scoped(said)
    assert (found.paths, found.words, found.unusable) == (("src/a.py", "src/b.py", "docs/"), said, 0)


def test_what_is_to_be_delivered_are_files_and_no_prose():
    said = [
        "src/a.py: the thing",
        "`src/b.py`",
        "Documentation",
        "Makefile",
        "src/c.py, src/d.py",
        "Unit tests",
    ]
    found = scoped(json.dumps({"deliverables": said}))
    assert (found.deliverables, found.unusable) == (("src/a.py", "src/b.py", "Makefile", "src/c.py", "src/d.py"), 2)  # fmt: skip
    by_path = scoped(
        '{"deliverables": {"src/a.py": "the parser", "src/b.py": ["one", "two"], "code": ["src/c.py"]}}'
    )
    assert by_path.deliverables == ("src/a.py", "src/b.py", "src/c.py")


@pytest.mark.parametrize(("said", "path"), [
    ("src/a.py with ImportGraph class", "src/a.py"), ("docs/My File.md", "docs/My File.md"), ("./a.py", "a.py"), ("src\\a.py", "src/a.py"),
    ("Improved error messages throughout codebase", None), ("docs/BUILD-*_X.md", "docs/"), ("*.md", None), ("C:/a.py", None), ("", None),
    ("requirements.txt updated with a plugin", "requirements.txt"), ("Makefile", "Makefile"), ("a\0b", None),
])  # fmt: skip
def test_the_path_in_what_was_to_be_delivered(said: str, path: str | None):
    assert path_in(said) == path


@given(st.recursive(st.text(max_size=12) | st.none() | st.integers(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["paths", "deliverables", "path", "read_only_context", "x"]), inner, max_size=4), max_leaves=12))  # fmt: skip
def test_every_scope_becomes_one_that_a_plan_may_have(written: object):
    body = PhaseBody.model_validate({"phase_id": "p1", "goal": "g", "scope": scoped(json.dumps(written)).to_json()})  # fmt: skip
    assert body.scope.checks == []


def test_a_guessed_split_is_told_from_a_measured_one():
    assert is_guessed("builder", 1001, 400)
    assert is_guessed("agent:deliverables_manifest", 1000, 800)
    assert is_guessed("something", 1000, 700)
    assert not is_guessed("builder", 1000, 600)
    assert not is_guessed("auditor", 1000, 602)
