"""`autopack plan`: every problem in one go and by its place; the same plan in three formats; lists made into plans."""

import getpass
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import phase, plan

WRONG = """autopack: 1
run_id: 5
tokencap: 3
goal: 2030-01-01
tiers:
  - tier_id: T1
    phases:
      - phase_id: a
        goal: x
        depends_on: [b, zz]
        scope: {path: [x], paths: ["../x"]}
      - phase_id: b
        goal: "a\\0b"
        depends_on: [a]
        complexity: huge
"""
TOML = """autopack = 1
run_id = "r1"
goal = "A test."
[[tiers]]
tier_id = "T1"
[[tiers.phases]]
phase_id = "p1"
goal = "Write out/p1.txt."
complexity = "low"
scope = { paths = ["out/"], deliverables = ["out/p1.txt"] }
"""


@pytest.fixture
def file(tmp_path: Path) -> Any:
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_all_that_is_wrong_is_said_at_once(shell, file):
    path = file("wrong.yaml", WRONG)
    ended = shell("plan", "validate", path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.splitlines() == [
        f"{path}: tiers.0.phases.1.goal: text holds a NUL character (phase b, line 13)",
        f"{path}: run_id: Input should be a valid string; this reads as a number: put it in quotes (line 2)",
        f"{path}: goal: Input should be a valid string; this reads as a date: put it in quotes (line 4)",
        f"{path}: tiers.0.phases.0.scope.path: Extra inputs are not permitted; paths is meant? (phase a, line 11)",
        f"{path}: tiers.0.phases.1.complexity: Input should be 'low', 'medium' or 'high' (phase b, line 15)",
        f"{path}: tokencap: Extra inputs are not permitted; token_cap is meant? (line 3)",
        f"{path}: tiers.0.phases.0: phase a depends on zz, which is not in the plan (line 8)",
        f"{path}: tiers.0.phases.0: phase a: path '../x': '..' component (line 8)",
        f"{path}: depends_on forms a cycle among: a, b",
        f"autopack: {path} is no valid plan: 9 problems",
    ]


def test_problems_as_json_have_their_tier_phase_and_line(shell, file):
    ended = shell("plan", "validate", file("wrong.yaml", WRONG), "--json")
    told = json.loads(ended.out)
    assert (ended.code, told["valid"], len(told["problems"])) == (2, False, 9)
    assert told["problems"][0] == {
        "place": "tiers.0.phases.1.goal", "tier_id": "T1", "phase_id": "b", "line": 13, "message": "text holds a NUL character",
    }  # fmt: skip


def test_a_path_that_is_no_normal_form_is_no_problem_beside_a_real_one(shell, file):
    value = plan(phases=[phase("p1", scope={"paths": ["cafe\u0301/"]}, complexity="huge")])
    ended = shell("plan", "validate", file("p.json", json.dumps(value)), "--json")
    assert [each["place"] for each in json.loads(ended.out)["problems"]] == ["tiers.0.phases.0.complexity"]


def test_one_plan_in_three_formats_is_one_run(shell, file):
    value = plan(phases=[phase("p1")])
    del value["tiers"][0]["phases"][0]["scope"]["checks"]
    paths = [file("a.yaml", yaml.safe_dump(value)), file("b.json", json.dumps(value)), file("c.toml", TOML)]
    told = [json.loads(shell("plan", "validate", path, "--json").out) for path in paths]
    assert [each["format"] for each in told] == ["yaml", "json", "toml"]
    assert len({each["plan_hash"] for each in told}) == 1
    assert [json.loads(shell("run", "create", path, "--json").out)["created"] for path in paths] == [
        True,
        False,
        False,
    ]


TWICE = '{"autopack": 1, "autopack": 1}'
UNREADABLE: dict[str, tuple[bytes, str]] = {
    "twice.json": (TWICE.encode(), "key 'autopack' is given twice"),
    "nan.json": (b'{"a": NaN}', "NaN is no number of JSON"),
    "syntax.json": (b'{"a":\n 1,}', "line 2"),
    "deep.json": (b"[" * 100_000, "is not JSON"),
    "list.json": (b"[]", "holds no plan"),
    "nul.json": (b'{"a": "\0"}', "is not JSON"),
    "twice.toml": (b"a = 1\na = 2\n", "line 2"),
    "syntax.toml": (b"a = \n", "is not TOML"),
    "deep.toml": (b"a = " + b"[" * 100_000, "is not TOML"),
    "nul.toml": (b'a = "\0"\n', "is not TOML"),
    "empty.toml": (b"", "Field required"),
    "utf16.yaml": ("autopack: 1".encode("utf-16"), "it is UTF-16; save it as UTF-8"),
    "large.toml": (b"#" * 1_100_000, "1048576 bytes"),
    "date.toml": (b'autopack = 1\nrun_id = 2030-01-01\n', "this reads as a date: put it in quotes"),
    "number.toml": (b"autopack = 1\ntoken_cap = 99999999999999999999\n", "token_cap: an integer is beyond 63 bits"),
}  # fmt: skip


def test_what_cannot_be_read_is_said_in_every_format(shell, file):
    for name, (content, words) in UNREADABLE.items():
        path = file(name, content)
        for command in (("plan", "validate"), ("run", "create")):
            ended = shell(*command, path)
            assert (ended.code, ended.out) == (2, ""), (name, ended.err)
            assert words in ended.err, (name, ended.err[:500])
            assert str(path) in ended.err


def test_a_plan_may_come_from_stdin(shell, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbf" + TOML.encode())))
    assert shell("plan", "validate", "-", "--format", "toml").out.startswith(
        "stdin is valid: run r1, 1 tier, 1 phase,"
    )
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TOML.encode())))
    ended = shell("run", "create", "-")
    assert (ended.code, "it was read as YAML; --format names another" in ended.err) == (2, True)


def test_rendering_goes_to_a_new_file_or_none(shell, file, tmp_path: Path):
    path = file("a.toml", TOML)
    out = tmp_path / "out.yaml"
    assert shell("plan", "render", path, "-o", out).code == 0
    before = out.read_bytes()
    again = shell("plan", "render", path, "-o", out, "--format", "json")
    assert (again.code, out.read_bytes() == before) == (2, True)
    assert "--overwrite" in again.err
    assert (
        shell("plan", "validate", out).out.split(":")[1:]
        == shell("plan", "validate", path).out.split(":")[1:]
    )


def test_a_list_becomes_a_run(shell, file, tmp_path: Path):
    todo = file("To Do.md", "- [ ] Write it (makes: `out/a.txt`)\n- [x] done\n")
    out = tmp_path / "plan.yaml"
    ended = shell("plan", "import", todo, "--from", "markdown", "-o", out, "--json")
    told = json.loads(ended.out)
    assert (told["phases"], told["done"], told["notes"], told["output"]) == (1, 1, [], str(out))
    assert told["plan"]["run_id"] == "to-do"
    assert "1 task became a phase; 1 was done already. Their words" in ended.err
    assert "run to-do created: 1 phase (" in shell("run", "create", out).out
    assert f"  {getpass.getuser()} (127.0.0.1 autopack/" in shell("run", "events", "to-do").out


@pytest.mark.parametrize(
    ("kind", "content", "options", "words"),
    [
        ("markdown", "", (), "is empty"),
        ("markdown", "words\n", (), "no tasks were found; an open task is a line `- [ ] what to do`"),
        ("markdown", "- [ ] a (id: a) (after: b)\n- [ ] b (id: b) (after: a)\n", (), "cycle among: a, b"),
        ("markdown", "- [ ] a\n", ("--run-id", "a b"), "cannot be a run's id"),
        ("gh-issues", "[{]", (), "is not JSON"),
        ("gh-issues", "{}", (), "gh issue list --json"),
    ],
)
def test_a_list_that_makes_no_plan_is_refused(
    shell, file, kind: str, content: str, options: tuple[str, ...], words: str
):
    path = file("list", content)
    ended = shell("plan", "import", path, "--from", kind, *options)
    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err
    assert options or str(path) in ended.err


def test_the_schema_is_that_of_the_plan(shell):
    schema = json.loads(shell("plan", "schema").out)
    assert schema["required"] == ["autopack", "run_id", "tiers"]
    assert schema["additionalProperties"] is False
