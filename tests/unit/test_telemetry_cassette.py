"""The plan and the hand-written answers that ship with the package: their form, and that they really work."""

import ast
import json
import os
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from autopack.domain import edits
from autopack.domain.messages import CallLabel, Role
from autopack.llm import cassette

DATA = files("autopack") / "data"
PLAN = yaml.safe_load((DATA / "telemetry_collection.yaml").read_text(encoding="utf-8"))
LINES = (DATA / "replay.jsonl").read_text(encoding="utf-8").splitlines()
ANSWERS = [json.loads(line) for line in LINES]
GOVERNED = yaml.safe_load((DATA / "governance_demo.yaml").read_text(encoding="utf-8"))["tiers"][0]["phases"]
CASSETTE = cassette.load(DATA / "replay.jsonl", "replay.jsonl")
PHASES: list[dict[str, Any]] = PLAN["tiers"][0]["phases"]
BY_ID = {phase["phase_id"]: phase for phase in PHASES}
FOLDER = "examples/telemetry_utils/"
LIST_UTIL = "telemetry-p3-list-util"
DATE_UTIL = "telemetry-p4-date-util"
MEDIUM_FLOOR = 12_288
SETTLED = 99  # an `ask` that no special first answer is for

each_phase = pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase["phase_id"])


def answer(role: Role, phase_id: str, ask: int = SETTLED) -> cassette.Answer:
    label = CallLabel(role=role, run_id=PLAN["run_id"], phase_id=phase_id, ask=ask)
    found = CASSETTE.find("", label)
    assert found is not None, label
    return found


def built(phase_id: str, ask: int = SETTLED) -> dict[str, str]:
    """The files of the builder's answer."""
    plan = edits.parse(answer(Role.BUILDER, phase_id, ask).body)
    return {edit.path: edit.content for edit in plan.files}


def write(root: Path, *trees: dict[str, str]) -> None:
    for tree in trees:
        for path, content in tree.items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content, encoding="utf-8")


def run(check: str, root: Path, temporary: Path) -> subprocess.CompletedProcess[str]:
    """The check with nothing around it but a bare python3, outside any virtual environment."""
    env = {
        "PATH": os.pathsep.join([str(Path(sys.base_prefix) / "bin"), os.defpath]),
        "HOME": str(temporary),
        "TMPDIR": str(temporary),
    }
    return subprocess.run(
        ["sh", "-c", check], cwd=root, env=env, capture_output=True, text=True, timeout=60, check=False
    )


def assert_green(phase: dict[str, Any], root: Path, temporary: Path) -> None:
    for check in phase["scope"]["checks"]:
        done = run(check, root, temporary)
        assert done.returncode == 0, f"{check}\n{done.stdout}{done.stderr}"


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "tree"
    folder.mkdir()
    return folder


@pytest.fixture
def temporary(tmp_path):
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


# The plan


def test_the_plan_has_one_tier_with_the_ten_phases():
    assert set(PLAN) == {"autopack", "run_id", "goal", "tiers"}
    assert (PLAN["autopack"], PLAN["run_id"]) == (1, "telemetry-collection-v4")
    assert [tier["tier_id"] for tier in PLAN["tiers"]] == ["T1"]
    assert [(phase["phase_id"], phase["complexity"], phase["task_category"]) for phase in PHASES] == [
        ("telemetry-p1-string-util", "low", "implementation"),
        ("telemetry-p2-number-util", "low", "implementation"),
        ("telemetry-p3-list-util", "medium", "implementation"),
        ("telemetry-p4-date-util", "medium", "implementation"),
        ("telemetry-p5-dict-util", "medium", "implementation"),
        ("telemetry-p6-string-tests", "medium", "tests"),
        ("telemetry-p7-number-tests", "low", "tests"),
        ("telemetry-p8-list-tests", "medium", "tests"),
        ("telemetry-p9-readme", "low", "docs"),
        ("telemetry-p10-file-util", "medium", "implementation"),
    ]


@each_phase
def test_a_phase_has_the_fields_of_the_plan_format(phase):
    assert set(phase) == {
        "phase_id", "name", "goal", "task_category", "complexity", "scope", "depends_on", "max_attempts"
    }  # fmt: skip
    assert isinstance(phase["name"], str)
    assert "\n" not in phase["goal"]
    assert 2 <= len(re.findall(r"\.(?: |$)", phase["goal"])) <= 6
    assert phase["max_attempts"] == 3


@each_phase
def test_a_scope_is_the_folder_with_deliverables_inside_and_one_line_checks(phase):
    scope = phase["scope"]
    assert set(scope) <= {"paths", "read_only_context", "deliverables", "checks"}
    assert scope["paths"] == [FOLDER]
    assert len(scope["deliverables"]) == (2 if phase["phase_id"] == "telemetry-p6-string-tests" else 1)
    assert all(path.startswith(FOLDER) for path in scope["deliverables"])
    assert scope["checks"]
    assert all(isinstance(check, str) and "\n" not in check for check in scope["checks"])


def test_deliverables_differ_and_the_goal_names_each_of_them():
    named = [(path, phase["goal"]) for phase in PHASES for path in phase["scope"]["deliverables"]]
    assert len({path for path, _ in named}) == len(named) == 11
    assert [path for path, goal in named if path.rpartition("/")[2] not in goal] == []


def test_a_phase_depends_on_earlier_phases_that_make_all_that_it_reads():
    for position, phase in enumerate(PHASES):
        earlier = {before["phase_id"] for before in PHASES[:position]}
        assert set(phase["depends_on"]) <= earlier
        made = [path for needed in phase["depends_on"] for path in BY_ID[needed]["scope"]["deliverables"]]
        assert made == phase["scope"].get("read_only_context", [])
    assert BY_ID["telemetry-p6-string-tests"]["depends_on"] == ["telemetry-p1-string-util"]
    assert BY_ID["telemetry-p7-number-tests"]["depends_on"] == ["telemetry-p2-number-util"]
    assert BY_ID["telemetry-p8-list-tests"]["depends_on"] == ["telemetry-p3-list-util"]


# The answers


@pytest.mark.parametrize("entry", ANSWERS, ids=lambda entry: "-".join(map(str, entry["match"].values())))
def test_an_answer_is_synthetic_complete_and_found_by_role_and_phase(entry):
    assert set(entry) == {"match", "text", "usage", "finish_reason", "origin"}
    assert (entry["origin"], entry["finish_reason"]) == ("synthetic", "stop")
    assert {"role", "phase_id"} <= set(entry["match"]) <= {"role", "phase_id", "ask"}
    assert entry["match"]["role"] in set(Role)
    assert entry["match"]["phase_id"] in {phase["phase_id"] for phase in (*PHASES, *GOVERNED)}
    assert set(entry["usage"]) == {"input_tokens", "output_tokens"}
    assert 500 <= entry["usage"]["input_tokens"] <= 3_000
    if entry["match"] != {"role": "builder", "phase_id": DATE_UTIL, "ask": 1}:
        assert entry["usage"]["output_tokens"] == pytest.approx(len(entry["text"]) / 4, rel=0.1)


def test_every_phase_has_a_builder_and_an_auditor_answer_for_any_ask_and_two_have_a_first_one():
    matches = [entry["match"] for entry in ANSWERS]
    lasting = [
        (match["phase_id"], match["role"])
        for match in matches
        if "ask" not in match and match["phase_id"] in BY_ID
    ]
    assert lasting == [(phase_id, role) for phase_id in BY_ID for role in ("builder", "auditor")]
    assert [match for match in matches if "ask" in match] == [
        {"role": "builder", "phase_id": LIST_UTIL, "ask": 1},
        {"role": "builder", "phase_id": DATE_UTIL, "ask": 1},
    ]
    for phase_id in (LIST_UTIL, DATE_UTIL):
        assert answer(Role.BUILDER, phase_id, 1) != answer(Role.BUILDER, phase_id, 2)
        assert answer(Role.BUILDER, phase_id, 2) == answer(Role.BUILDER, phase_id, 3)


@each_phase
@pytest.mark.parametrize("ask", [1, SETTLED])
def test_a_build_makes_its_deliverables_and_nothing_else(phase, ask):
    made = built(phase["phase_id"], ask)
    assert sorted(made) == sorted(phase["scope"]["deliverables"])
    assert all(content.endswith("\n") and len(content) > 500 for content in made.values())


def test_every_accepted_form_of_an_answer_is_shown():
    forms: dict[str, list[str]] = {"json": [], "fenced": [], "blocks": []}
    for phase_id in BY_ID:
        text = answer(Role.BUILDER, phase_id).body
        form = "json" if text.startswith("{") else "fenced" if text.startswith("```json\n{") else "blocks"
        forms[form].append(phase_id)
        if form == "json":
            value = json.loads(text)
            assert set(value) == {"summary", "files"}
            assert all(set(entry) == {"path", "content"} for entry in value["files"])
    assert forms["fenced"] == ["telemetry-p8-list-tests"]
    assert forms["blocks"] == ["telemetry-p2-number-util", "telemetry-p6-string-tests"]


@each_phase
def test_the_auditor_approves_with_at_most_minor_issues_that_point_at_a_line(phase):
    verdict = json.loads(answer(Role.AUDITOR, phase["phase_id"]).body)
    assert set(verdict) == {"approved", "issues", "notes"}
    assert verdict["approved"] is True
    assert verdict["notes"]
    made = built(phase["phase_id"])
    for issue in verdict["issues"]:
        assert set(issue) == {"severity", "path", "line", "message"}
        assert issue["severity"] == "minor"
        assert made[issue["path"]].splitlines()[issue["line"] - 1].strip()


@each_phase
def test_the_code_needs_no_newer_python_than_3_9_and_only_the_standard_library(phase):
    own = {Path(path).stem for path in phase["scope"]["deliverables"]}
    own |= {Path(path).stem for path in phase["scope"].get("read_only_context", [])}
    for path, content in built(phase["phase_id"]).items():
        if not path.endswith(".py"):
            continue
        tree = ast.parse(content, feature_version=(3, 9))
        imported = {
            alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        }
        imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert imported <= sys.stdlib_module_names | own, path


# What the checks say to them


@each_phase
def test_the_checks_are_green_when_the_answers_are_applied_in_plan_order(phase, root, temporary):
    position = PHASES.index(phase)
    write(root, *(built(before["phase_id"]) for before in PHASES[: position + 1]))
    assert_green(phase, root, temporary)


@each_phase
def test_the_checks_are_green_after_dependencies_alone_whatever_else_the_workspace_holds(
    phase, root, temporary
):
    broken = "raise RuntimeError('not the module that was meant')\n"
    write(root, {f"{name}.py": broken for name in ("unittest", "re", "string_util", "list_util", "conftest")})
    write(root, {"examples/__init__.py": broken, f"{FOLDER}__init__.py": "", f"{FOLDER}README.md": "old\n"})
    write(root, {"tests/test_string_util.py": broken, f"{FOLDER}test_other.py": broken})
    write(root, *(built(phase_id) for phase_id in [*phase["depends_on"], phase["phase_id"]]))
    assert_green(phase, root, temporary)


@each_phase
def test_every_check_fails_while_the_phase_is_not_built(phase, root, temporary):
    write(root, {f"{FOLDER}.keep": ""}, *(built(phase_id) for phase_id in phase["depends_on"]))
    for check in phase["scope"]["checks"]:
        assert run(check, root, temporary).returncode != 0, check


def test_the_first_list_utilities_fail_their_check_which_says_what_is_wrong(root, temporary):
    write(root, built(LIST_UTIL, ask=1))
    first, second = BY_ID[LIST_UTIL]["scope"]["checks"]
    done = run(first, root, temporary)
    assert done.returncode == 1
    assert "the last chunk may be shorter" in done.stderr
    assert "[[1, 2], [3, 4]] != [[1, 2], [3, 4], [5]]" in done.stderr
    assert run(second, root, temporary).returncode == 0


def test_the_first_date_utilities_are_longer_than_the_budget_of_a_medium_phase_and_the_second_are_not():
    first, second = (answer(Role.BUILDER, DATE_UTIL, ask).usage for ask in (1, 2))
    assert first is not None
    assert second is not None
    assert MEDIUM_FLOOR < first.output_tokens < 2 * MEDIUM_FLOOR
    assert second.output_tokens < MEDIUM_FLOOR


each_phase_of_tests = pytest.mark.parametrize("phase", PHASES[5:8], ids=lambda phase: phase["phase_id"])


@each_phase_of_tests
def test_a_phase_of_tests_refuses_tests_that_assert_nothing(phase, root, temporary):
    write(root, *(built(phase_id) for phase_id in [*phase["depends_on"], phase["phase_id"]]))
    methods = "".join(f"    def test_{number}(self):\n        pass\n" for number in range(9))
    hollow = f"import unittest\n\n\nclass Hollow(unittest.TestCase):\n{methods}"
    write(root, {phase["scope"]["deliverables"][0]: hollow})
    *others, last = (run(check, root, temporary).returncode for check in phase["scope"]["checks"])
    assert last == 1
    assert set(others) == {0}
