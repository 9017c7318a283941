"""Bad input, case by case: the exit code of DESIGN section 8, words that help, and nothing lost or claimed."""

import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support import (
    builder_answer,
    free_port,
    git,
    make_workspace,
    phase,
    plan,
    run_script,
    write_cassette,
)

USAGE, REFUSED, UNREACHABLE = 2, 3, 4


def snapshot(database: Path) -> dict[str, Any]:
    """What the queue holds: rows of every table, and each phase's state and attempts."""
    with sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        counts = {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in tables}
        states = connection.execute(
            "SELECT run_id, phase_id, state, attempts FROM phases ORDER BY id"
        ).fetchall()
    connection.close()
    return {"counts": counts, "phases": states}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "autopack.db"


@pytest.fixture
def seeded(seed, database: Path) -> dict[str, Any]:
    """A run `r1` of two phases; what the queue holds before the bad input comes."""
    seed(plan(phases=[phase("p1"), phase("p2", depends_on=["p1"])]))
    return snapshot(database)


def says(ended: Any, code: int, *words: str) -> None:
    assert ended.code == code, ended.err
    assert ended.out == ""
    for word in words:
        assert word in ended.err, ended.err


# Plans


def one(**more: Any) -> dict[str, Any]:
    return plan(phases=[phase("p1", **more)])


def with_scope(**more: Any) -> dict[str, Any]:
    made = one()
    made["tiers"][0]["phases"][0]["scope"] |= more
    return made


def at_depth(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


WRONG_PLANS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "no run_id": ({"autopack": 1, "tiers": []}, ("run_id: Field required", "tiers:")),
    "version 2": ({**one(), "autopack": 2}, ("autopack: Input should be 1",)),
    "version true": ({**one(), "autopack": True}, ("autopack:",)),
    "no version": ({key: value for key, value in one().items() if key != "autopack"}, ("autopack: Field required",)),
    "unknown field at the top": ({**one(), "tokencap": 5}, ("tokencap: Extra inputs are not permitted",)),
    "unknown field in a tier": (
        {**one(), "tiers": [{"tier_id": "T1", "phases": [phase("p1")], "colour": "red"}]},
        ("tiers.0.colour: Extra inputs",),
    ),
    "unknown field in a phase": (one(deliverables=["a"]), ("tiers.0.phases.0.deliverables: Extra inputs",)),
    "unknown field in a scope": (with_scope(path=["src/"]), ("phases.0.scope.path: Extra inputs",)),
    "run_id is a number": ({**one(), "run_id": 5}, ("run_id: Input should be a valid string",)),
    "run_id is a path": ({**one(), "run_id": "a/b"}, ("run_id:",)),
    "run_id with dots": ({**one(), "run_id": "a..b"}, ("run_id: must not hold '..'",)),
    "run_id is an emoji": ({**one(), "run_id": "\U0001f600"}, ("run_id:",)),
    "tiers is an object": ({**one(), "tiers": {"T1": []}}, ("tiers: Input should be a valid list",)),
    "no tiers": ({**one(), "tiers": []}, ("tiers: List should have at least 1 item",)),
    "no phases": (plan(phases=[]), ("tiers.0.phases: List should have at least 1 item",)),
    "a phase without a goal": (
        {**one(), "tiers": [{"tier_id": "T1", "phases": [{"phase_id": "p1"}]}]},
        ("tiers.0.phases.0.goal: Field required",),
    ),
    "an empty goal": (one(goal=""), ("phases.0.goal:",)),
    "a goal that is a date": (one(goal=__import__("datetime").date(2030, 1, 1)), ("goal: Input should be a valid string",)),
    "unknown complexity": (one(complexity="huge"), ("complexity: Input should be 'low', 'medium' or 'high'",)),
    "max_attempts 0": (one(max_attempts=0), ("max_attempts: Input should be greater than or equal to 1",)),
    "max_attempts true": (one(max_attempts=True), ("max_attempts: Input should be a valid integer",)),
    "a negative cap": ({**one(), "token_cap": -1}, ("token_cap: Input should be greater than or equal to 1",)),
    "a cap of text": ({**one(), "token_cap": "500"}, ("token_cap: Input should be a valid integer",)),
    "a cap of NaN": ({**one(), "cost_cap_usd": float("nan")}, ("cost_cap_usd: Input should be a finite number",)),
    "an infinite cap": ({**one(), "cost_cap_usd": float("inf")}, ("cost_cap_usd:",)),
    "a cost cap of text": ({**one(), "cost_cap_usd": "5"}, ("cost_cap_usd: Input should be a valid number",)),
    "beyond 63 bits": ({**one(), "token_cap": 2**63}, ("an integer is beyond 63 bits",)),
    "far beyond 63 bits": ({**one(), "max_phases": 10**300}, ("an integer is beyond 63 bits",)),
    "tiers of one id": (
        {**one(), "tiers": [{"tier_id": "T1", "phases": [phase("a")]}, {"tier_id": "T1", "phases": [phase("b")]}]},
        ("tier T1 is given twice",),
    ),
    "phases of one id": (plan(phases=[phase("a"), phase("a")]), ("phase a is given twice",)),
    "phases of one id in two tiers": (
        {**one(), "tiers": [{"tier_id": "T1", "phases": [phase("a")]}, {"tier_id": "T2", "phases": [phase("a")]}]},
        ("phase a is given twice",),
    ),
    "a dangling dependency": (one(depends_on=["nothing"]), ("phase p1 depends on nothing, which is not in the plan",)),
    "a backward dependency": (
        {**one(), "tiers": [{"tier_id": "T1", "phases": [phase("a", depends_on=["b"])]}, {"tier_id": "T2", "phases": [phase("b")]}]},
        ("phase a depends on b, which is in a later tier",),
    ),
    "a cycle": (
        plan(phases=[phase("a", depends_on=["b"]), phase("b", depends_on=["a"]), phase("c")]),
        ("depends_on forms a cycle among: a, b",),
    ),
    "on itself": (one(depends_on=["p1"]), ("depends_on forms a cycle among: p1",)),
    "a path out of the tree": (with_scope(paths=["../secrets/"]), ("phase p1: path '../secrets/': '..' component",)),
    "an absolute path": (with_scope(read_only_context=["/etc/passwd"]), ("'/etc/passwd': absolute or home path",)),
    "a deliverable that is a directory": (with_scope(deliverables=["out/"]), ("deliverable 'out/' is a directory; name a file",)),
    "an empty path": (with_scope(paths=[""]), ("scope.paths.0: String should have at least 1 character",)),
    "an empty check": (with_scope(checks=[""]), ("scope.checks.0:",)),
    "deep nesting": ({**one(), "goal": at_depth(60)}, ("nested more than 50 levels deep",)),
    "a list at the top": ([one()], ("holds no plan",)),
    "text at the top": ("a plan", ("holds no plan",)),
    "null": (None, ("holds no plan",)),
}  # fmt: skip


def test_a_plan_with_something_wrong_in_it_is_refused_by_its_place(shell, database: Path, tmp_path: Path):
    import yaml

    before = snapshot(database)
    for name, (value, words) in WRONG_PLANS.items():
        path = tmp_path / "plan.yaml"
        path.write_text(yaml.safe_dump(value), encoding="utf-8")
        ended = shell("run", "create", path)
        assert (ended.code, ended.out) == (USAGE, ""), (name, ended.err)
        assert all(word in ended.err for word in (str(path), *words)), (name, ended.err)
    assert snapshot(database) == before


HEAD = "autopack: 1\nrun_id: r1\n"
WRONG_FILES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "empty": (b"", ("holds no plan", "autopack: 1")),
    "only comments": (b"# nothing\n", ("holds no plan",)),
    "a syntax error": (f"{HEAD}tiers: [\n  {{tier_id: T1\n".encode(), ("is not YAML or JSON", "line 5")),
    "a tab": (f"{HEAD}\tgoal: x\n".encode(), ("is not YAML or JSON", "line 3")),
    "duplicate keys": (f"{HEAD}goal: a\ngoal: b\n".encode(), ("key 'goal' is given twice", "line 4")),
    "duplicate keys in JSON": (b'{"run_id": "a", "run_id": "b"}', ("key 'run_id' is given twice",)),
    "an alias": (f"{HEAD}goal: &g x\ntiers: [*g]\n".encode(), ("aliases are not allowed", "line 4")),
    "a thousand laughs": (
        b"a: &a [x,x]\n" + b"".join(f"b{n}: &b{n} [*{'a' if not n else f'b{n - 1}'},*a]\n".encode() for n in range(30)),
        ("aliases are not allowed",),
    ),
    "a tag of Python": (f"{HEAD}goal: !!python/object/apply:os.system [id]\n".encode(), ("is not YAML or JSON", "python/object")),
    "two documents": (f"{HEAD}---\n{HEAD}".encode(), ("is not YAML or JSON",)),
    "not UTF-8": (f"{HEAD}goal: ".encode() + b"\xff\xfe\n", ("is not UTF-8 text",)),
    "UTF-16": (f"{HEAD}goal: x\n".encode("utf-16"), ("is not UTF-8 text",)),
    "a raw NUL": (f"{HEAD}goal: a\0b\n".encode(), ("is not YAML or JSON",)),
    "an escaped NUL": (json.dumps({**one(), "goal": "a\0b"}).encode(), ("text holds a NUL character",)),
    "a lone surrogate": (json.dumps({**one(), "goal": "a\ud800b"}).encode(), ("lone surrogate",)),
    "a number of 5000 digits": (f"{HEAD}token_cap: {'9' * 5000}\n".encode(), ("4300",)),
    "an impossible date": (f"{HEAD}goal: 2024-13-45\n".encode(), ("is not YAML or JSON", "month")),
    "a key that is a list": (f"{HEAD}? [a]\n: b\n".encode(), ("is not YAML or JSON",)),
    "keys that are no text": (f"{HEAD}5: x\nyes: y\n".encode(), ("5",)),
    "a hundred thousand brackets": (b"[" * 100_000, ("is not YAML or JSON",)),
    "binary": (bytes(range(256)), ("is not",)),
    "over a mebibyte": (f"{HEAD}goal: ".encode() + b"x" * 1_100_000, ("1048576 bytes", "split it")),
}  # fmt: skip


def test_a_file_that_is_no_plan_is_refused_by_its_name(shell, database: Path, tmp_path: Path):
    before = snapshot(database)
    for name, (content, words) in WRONG_FILES.items():
        path = tmp_path / "plan.yaml"
        path.write_bytes(content)
        ended = shell("run", "create", path)
        assert (ended.code, ended.out) == (USAGE, ""), (name, ended.err)
        assert all(word in ended.err for word in (str(path), *words)), (name, ended.err[:2000])
        assert len(ended.err) < 3000, name
    assert snapshot(database) == before


@pytest.mark.parametrize(
    ("name", "words"),
    [("nowhere.yaml", "there is no plan"), (".", "is a directory"), ("/dev/zero", "1048576 bytes"), ("x" * 300, "cannot be read")],
)  # fmt: skip
def test_a_plan_that_is_not_there_is_said(shell, database: Path, name: str, words: str):
    before = snapshot(database)
    says(shell("run", "create", name), USAGE, words, name)
    assert snapshot(database) == before


def test_another_plan_under_the_same_id_is_refused_and_the_same_is_not(
    shell, seeded, database: Path, tmp_path: Path
):
    other = tmp_path / "other.json"
    other.write_text(json.dumps(plan(phases=[phase("p1")])))
    says(shell("run", "create", other), REFUSED, "run r1 exists with other content", "choose another run_id")
    assert snapshot(database) == seeded
    again = shell("run", "create", tmp_path / "r1.yaml")
    assert (again.code, "is already there" in again.out) == (0, True)
    assert snapshot(database) == seeded


def test_names_in_any_script_are_kept(shell, seed):
    seed(one(name="\U0001f680 \u65e5\u672c\u8a9e"))
    shown = json.loads(shell("run", "show", "r1", "--json").out)
    assert shown["phases"][0]["name"] == "\U0001f680 \u65e5\u672c\u8a9e"


# Flags

WRONG_FLAGS: list[tuple[tuple[str, ...], int, tuple[str, ...]]] = [
    (("drain", "--run-id", "r1", "--in-process", "--api-url", "http://127.0.0.1:1"), USAGE, ("exclude each other",)),
    (("drain", "--run-id", "r1", "--api-url", "127.0.0.1:8000"), USAGE, ("is no address", "http://HOST:PORT")),
    (("drain", "--run-id", "r1", "--api-url", "ftp://host"), USAGE, ("is no address",)),
    (("drain", "--run-id", "r1", "--api-url", ""), USAGE, ("is no address",)),
    (("drain", "--run-id", "r1", "--api-url", "http://"), USAGE, ("is no address",)),
    (("drain", "--run-id", "r1", "--api-url", "http://["), USAGE, ("is no address",)),
    (("drain", "--run-id", "r1", "--api-url", "http://host:99999999"), USAGE, ("is no address",)),
    (("identity", "--api-url", "nonsense"), USAGE, ("is no address",)),
    (("usage", "--run-id", "\udcff"), USAGE, ("argument 3 of the command is not UTF-8",)),
    (("telemetry", "export", "--run-id", "\udcff"), USAGE, ("argument 4", "not UTF-8")),
    (("telemetry", "otlp", "--dry-run", "--name", "\udcff"), USAGE, ("argument 5", "not UTF-8")),
    (("run", "show", "\udcff"), USAGE, ("cannot be an id",)),
    (("drain",), USAGE, ("--run-id",)),
    (("drain", "--run-id"), USAGE, ("--run-id",)),
    (("drain", "--run-id", "r1", "--batch-size", "0"), USAGE, ("--batch-size", "equal to 1")),
    (("drain", "--run-id", "r1", "--batch-size", "many"), USAGE, ("--batch-size",)),
    (("drain", "--run-id", "r1", "--max-batches", "-1"), USAGE, ("--max-batches", "equal to 1")),
    (("drain", "--run-id", "r1", "--concurrency", "0"), USAGE, ("--concurrency", "equal to 1")),
    (("drain", "--run-id", "r1", "--concurrency", "99999999999999999999"), USAGE, ("--concurrency",)),
    (("drain", "--run-id", "r1", "--no-such-flag"), USAGE, ("--no-such-flag",)),
    (("drain", "--run-id", "r1", "surplus"), USAGE, ("surplus",)),
    (("no-such-command",), USAGE, ("no-such-command",)),
    (("drain", "--run-id", "nothing"), REFUSED, ("there is no run nothing",)),
    (("drain", "--run-id", "../etc"), USAGE, ("cannot be an id",)),
    (("drain", "--run-id", "\U0001f600"), USAGE, ("cannot be an id",)),
    (("drain", "--run-id", "a b?c#d"), USAGE, ("cannot be an id",)),
    (("drain", "--run-id", ""), USAGE, ("cannot be an id",)),
    (("drain-one", "--run-id", "r1"), USAGE, ("--phase-id",)),
    (("drain-one", "--run-id", "r1", "--phase-id", "nothing"), REFUSED, ("run r1 has no phase nothing",)),
    (("drain-one", "--run-id", "r1", "--phase-id", "p2"), REFUSED, ("held back", "depends on p1", "--force")),
    (("probe", "--run-id", "r1", "--phase-id", "nothing"), REFUSED, ("run r1 has no phase nothing",)),
    (("run", "show", "nothing"), REFUSED, ("there is no run nothing",)),
    (("run", "resume", "r1"), REFUSED, ("run r1 is QUEUED, not PAUSED",)),
    (("run", "resume", "r1", "--token-cap", "0"), USAGE, ("--token-cap",)),
    (("run", "resume", "r1", "--cost-cap-usd", "nan"), USAGE, ("cost",)),
    (("run", "resume", "r1", "--token-cap", "99999999999999999999"), USAGE, ("63 bits",)),
    (("phase", "requeue", "r1", "p1"), REFUSED, ("phase p1 of run r1 is QUEUED",)),
    (("phase", "skip", "r1", "nothing"), REFUSED, ("run r1 has no phase nothing",)),
    (("run", "pause", "r1", "--by", ""), USAGE, ("by",)),
    (("run", "pause", "r1", "--by", "x" * 600), USAGE, ("by",)),
    (("approvals", "approve", "nothing"), REFUSED, ("there is no approval request nothing",)),
    (("approvals", "list", "--status", "lost"), USAGE, ("status",)),
    (("seed-telemetry", "--run-id", "bad id"), USAGE, ("'bad id' cannot be a run's id",)),
    (("serve", "--host", "0.0.0.0"), USAGE, ("AUTOPACK_API_KEY", "127.0.0.1")),
    (("serve", "--port", "99999"), USAGE, ("--port",)),
    (("drain", "--run-id", "r1", "--workspace", "/nowhere/at/all"), REFUSED, ("/nowhere/at/all does not exist",)),
]  # fmt: skip


def test_a_wrong_flag_is_named_and_nothing_is_claimed(shell, seeded, database: Path):
    for arguments, code, words in WRONG_FLAGS:
        ended = shell(*arguments)
        assert (ended.code, ended.out) == (code, ""), (arguments, ended.err)
        assert all(word in ended.err for word in words), (arguments, ended.err)
        assert snapshot(database) == seeded, arguments


def test_the_password_of_an_address_is_never_said(shell, seeded, monkeypatch):
    nobody = f"http://user:s3cret@127.0.0.1:{free_port()}"
    for url, code in (
        ("grpc://user:s3cret@host", USAGE),
        ("http://user:s3cret@host:99999", USAGE),
        (nobody, UNREACHABLE),
    ):
        said = shell("drain", "--run-id", "r1", "--api-url", url)
        monkeypatch.setenv("AUTOPACK_API_URL", url)
        also = shell("run", "list")
        monkeypatch.delenv("AUTOPACK_API_URL")
        assert (said.code, also.code) == (code, code)
        assert "s3cret" not in said.err + also.err, url


@pytest.mark.parametrize(
    "arguments", [("run", "list"), ("telemetry", "export", "--format", "csv"), ("--help",)]
)
def test_a_result_for_which_there_is_no_room_is_said(shell, seeded, monkeypatch, arguments: tuple[str, ...]):
    full = Path("/dev/full").open("w", encoding="utf-8")  # noqa: SIM115 - closing it fails as well
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout", full)
        ended = shell(*arguments)
    with pytest.raises(OSError, match="No space left"):
        full.close()
    assert (ended.code, ended.out) == (REFUSED, "")
    assert "the result cannot be written: No space left on device" in ended.err


def test_talk_for_which_there_is_no_room_stops_nothing(shell, seeded, database: Path, monkeypatch):
    full = Path("/dev/full").open("w", encoding="utf-8")  # noqa: SIM115
    with monkeypatch.context() as patch:
        patch.setattr("sys.stderr", full)
        ended = shell("drain", "--run-id", "r1")
    with pytest.raises(OSError, match="No space left"):
        full.close()
    assert ended.code == 0
    assert [state for _, _, state, _ in snapshot(database)["phases"]] == ["COMPLETE", "COMPLETE"]


# Environment

WRONG_ENVIRONMENT: list[tuple[dict[str, str], int, tuple[str, ...]]] = [
    ({"AUTOPACK_LEASE_SECONDS": "abc"}, USAGE, ("AUTOPACK_LEASE_SECONDS", "valid number")),
    ({"AUTOPACK_LEASE_SECONDS": "0"}, USAGE, ("AUTOPACK_LEASE_SECONDS", "greater than or equal to 1")),
    ({"TELEMETRY_DB_ENABLED": "perhaps"}, USAGE, ("TELEMETRY_DB_ENABLED", "boolean")),
    ({"AUTOPACK_API_KEY": "schl\u00fcssel"}, USAGE, ("AUTOPACK_API_KEY",)),
    ({"AUTOPACK_API_URL": "not an address"}, USAGE, ("AUTOPACK_API_URL",)),
    ({"DATABASE_URL": ""}, REFUSED, ("DATABASE_URL in the environment is empty", "remove it")),
    ({"DATABASE_URL": "mysql://u:hunter2@h/n"}, REFUSED, ("'mysql' databases are not supported", "sqlite:///FILE")),
    ({"DATABASE_URL": "sqlite:///:memory:"}, REFUSED, ("names no file", "must outlive its process")),
    ({"DATABASE_URL": "nonsense"}, REFUSED, ("cannot be read", "sqlite:///FILE")),
    ({"DATABASE_URL": "sqlite:////nowhere/at/all.db"}, REFUSED, ("there is no database at /nowhere/at/all.db", "autopack migrate")),
    ({"DATABASE_URL": "sqlite:////etc/hostname"}, REFUSED, ("/etc/hostname is not a SQLite database. Is this the file you meant? Name another",)),
    ({"DATABASE_URL": "sqlite:////etc"}, REFUSED, ("/etc is not a file",)),
    ({"DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/n"}, REFUSED, ("postgresql", "cannot be reached")),
    ({"AUTOPACK_REPLAY": "", "AUTOPACK_MODEL": "gpt-something"}, REFUSED, ("'gpt-something' names no model", "openai:NAME")),
    ({"AUTOPACK_REPLAY": "", "AUTOPACK_MODEL": "openai:gpt-something"}, REFUSED, ("needs a key: set OPENAI_API_KEY",)),
    ({"AUTOPACK_REPLAY": "", "AUTOPACK_MODEL": "anthropic:x"}, REFUSED, ("needs a key: set ANTHROPIC_API_KEY",)),
    ({"AUTOPACK_REPLAY": "", "AUTOPACK_MODEL": "openai:x", "OPENAI_API_KEY": "a b"}, REFUSED, ("OPENAI_API_KEY",)),
    ({"AUTOPACK_REPLAY": "", "AUTOPACK_MODEL": "openai:x", "AUTOPACK_BASE_URL": "nonsense"}, REFUSED, ("AUTOPACK_BASE_URL",)),
    ({"AUTOPACK_REPLAY": "/nowhere.jsonl"}, REFUSED, ("/nowhere.jsonl cannot be read", "AUTOPACK_REPLAY=FILE")),
    ({"AUTOPACK_REPLAY": "/etc"}, REFUSED, ("/etc cannot be read",)),
    ({"AUTOPACK_RECORD": "/tmp/never-written.jsonl"}, REFUSED, ("nothing to record",)),
]  # fmt: skip


def test_a_wrong_environment_is_named_by_its_variable(shell, seeded, database: Path, monkeypatch):
    for variables, code, words in WRONG_ENVIRONMENT:
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            ended = shell("drain", "--run-id", "r1")
        assert (ended.code, ended.out) == (code, ""), (variables, ended.err)
        assert all(word in ended.err for word in words), (variables, ended.err)
        assert "hunter2" not in ended.err
        assert snapshot(database) == seeded, variables


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2"), ("[]", "line 2"), ('{"match": {}, "text": 5}', "line 2"), ('{"text": "x"}', "exactly one of"),
        ('{"match": {"rolle": "builder"}, "text": "x"}', "rolle"), ('{"match": {}, "text": "x", "usage": {"input_tokens": -1, "output_tokens": 1}}', "input_tokens"),
    ],
)  # fmt: skip
def test_a_malformed_cassette_is_named_by_file_and_line(shell, seeded, database: Path, tmp_path: Path, monkeypatch, line: str, words: str):  # fmt: skip
    cassette = write_cassette(tmp_path / "broken.jsonl", [builder_answer("p1")])
    cassette.write_text(cassette.read_text() + line + "\n")
    monkeypatch.setenv("AUTOPACK_REPLAY", str(cassette))
    says(shell("drain", "--run-id", "r1"), REFUSED, "broken.jsonl", words)
    assert snapshot(database) == seeded


def test_an_answer_that_is_not_on_the_cassette_gives_the_phase_back(shell, seeded, database: Path, tmp_path: Path, monkeypatch):  # fmt: skip
    monkeypatch.setenv(
        "AUTOPACK_REPLAY", str(write_cassette(tmp_path / "other.jsonl", [builder_answer("x")]))
    )
    says(
        shell("drain", "--run-id", "r1"),
        REFUSED,
        "has no answer for role builder, phase 'p1'",
        "AUTOPACK_MODEL",
    )
    assert snapshot(database)["phases"] == seeded["phases"]


def test_a_demo_in_a_wrong_environment_is_refused_in_words(shell, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("AUTOPACK_LEASE_SECONDS", "abc")
    ended = shell("demo", "--directory", tmp_path / "demo")
    assert (ended.code, "AUTOPACK_LEASE_SECONDS" in ended.err) == (USAGE, True)


def test_a_demo_does_not_clear_a_directory_that_is_not_its_own(shell, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    says(shell("demo", "--directory", tmp_path / "mine"), USAGE, "is not empty and not a demo's")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


# Workspaces


def drained(ended: Any) -> None:
    assert ended.code == 0, ended.err
    assert "DONE_SUCCESS" in ended.out


@pytest.fixture
def workspace(shell, tmp_path: Path) -> Path:
    return tmp_path / "workspace"


def test_a_workspace_that_cannot_be_built_on_is_refused_before_anything_is_claimed(shell, seeded, database: Path, tmp_path: Path):  # fmt: skip
    (tmp_path / "plain").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "--quiet")
    broken = make_workspace(tmp_path / "broken")
    shutil.rmtree(broken / ".git" / "objects")
    (broken / ".git" / "objects").write_text("not a directory")
    sealed = make_workspace(tmp_path / "sealed")
    unwritable(sealed / ".git" / "objects")
    cases = [
        (tmp_path / "nowhere", "does not exist"),
        (tmp_path / "file", "is not a directory"),
        (tmp_path / "plain", "is not in a git repository"),
        (tmp_path / "empty", "has no commit to build on"),
        (broken, "broken"),
        (sealed, "No object can be written"),
    ]
    for path, words in cases:
        ended = shell("drain", "--run-id", "r1", "--workspace", path)
        assert (ended.code, ended.out) == (REFUSED, ""), (path, ended.err)
        assert words in ended.err
        assert str(path) in ended.err
        assert snapshot(database) == seeded, path


def unwritable(objects: Path) -> None:
    """Root writes everywhere; a file where git must make each directory stops it too."""
    for number in range(256):
        fan_out = objects / f"{number:02x}"
        if not fan_out.exists():
            fan_out.write_text("")
        elif os.getuid() != 0:
            fan_out.chmod(0o500)


def test_a_dirty_checkout_is_built_on_its_commit_and_left_as_it_is(shell, seeded, workspace: Path):
    (workspace / "README.md").write_text("changed, not committed\n")
    (workspace / "untracked.txt").write_text("mine\n")
    git(workspace, "add", "README.md")
    (workspace / "README.md").write_text("changed again\n")
    before = (
        git(workspace, "status", "--porcelain"),
        git(workspace, "diff"),
        git(workspace, "rev-parse", "HEAD"),
    )
    ended = shell("drain", "--run-id", "r1")
    drained(ended)
    assert "uncommitted changes are not seen" in ended.err
    assert (
        git(workspace, "status", "--porcelain"),
        git(workspace, "diff"),
        git(workspace, "rev-parse", "HEAD"),
    ) == before
    assert git(workspace, "show", "autopack/r1:README.md") == "# A workspace"
    assert git(workspace, "show", "autopack/r1:out/p1.txt") == "done"


def test_a_detached_head_is_built_on(shell, seeded, workspace: Path):
    git(workspace, "checkout", "--quiet", "--detach")
    drained(shell("drain", "--run-id", "r1"))
    assert git(workspace, "rev-parse", "--abbrev-ref", "HEAD") == "HEAD"


def test_a_run_that_was_started_in_another_repository_is_refused(
    shell, seeded, database: Path, tmp_path: Path
):
    assert shell("drain", "--run-id", "r1", "--batch-size", "1", "--max-batches", "1").code == 0
    half_way = snapshot(database)
    assert [state for _, _, state, _ in half_way["phases"]] == ["COMPLETE", "QUEUED"]
    other = make_workspace(tmp_path / "other", {"else.txt": "another project\n"})
    says(
        shell("drain", "--run-id", "r1", "--workspace", other),
        REFUSED,
        "autopack/r1 is gone",
        "name the workspace",
    )
    assert snapshot(database) == half_way
    drained(shell("drain", "--run-id", "r1"))


def test_a_branch_that_was_deleted_is_not_made_again_without_its_work(
    shell, seeded, database: Path, workspace: Path
):
    assert shell("drain", "--run-id", "r1", "--batch-size", "1", "--max-batches", "1").code == 0
    half_way, head = snapshot(database), git(workspace, "rev-parse", "autopack/r1")
    git(workspace, "branch", "-D", "autopack/r1")
    says(shell("drain", "--run-id", "r1"), REFUSED, "autopack/r1 is gone", f"git branch autopack/r1 {head}")
    git(workspace, "branch", "autopack/r1", "main")
    says(shell("drain", "--run-id", "r1"), REFUSED, "does not hold", head)
    assert snapshot(database) == half_way
    git(workspace, "branch", "-f", "autopack/r1", head)
    drained(shell("drain", "--run-id", "r1"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[checks]\ncommands = 'pytest'\n", "commands must be a list"),
        ("[checks]\nspeed = 5\n", "[checks] speed is not known"),
        ("[checks\n", "is not TOML"),
        ("checks = 5\n", "must be a table"),
        ("[checks]\ntimeout_seconds = -1\n", "timeout_seconds"),
        ("[checks.env]\nDATABASE_URL = 'sqlite:///x'\n", "DATABASE_URL"),
    ],
)
def test_settings_of_the_workspace_that_are_wrong_give_the_phase_back(shell, seeded, database: Path, workspace: Path, text: str, words: str):  # fmt: skip
    (workspace / "autopack.toml").write_text(text)
    git(workspace, "add", "--all")
    git(workspace, "commit", "--quiet", "--message", "settings")
    says(shell("drain", "--run-id", "r1"), REFUSED, "autopack.toml", words)
    assert snapshot(database)["phases"] == seeded["phases"]


# Servers


@pytest.fixture
def impostor() -> Iterator[Callable[[int, str, bytes], str]]:
    """A server that is not Autopack's, and answers everything alike."""
    answer: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answer["status"])
            self.send_header("Content-Type", answer["kind"])
            self.send_header("Content-Length", str(len(answer["body"])))
            for name, value in answer.get("headers", {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer["body"])

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()

    def at(status: int, kind: str, body: bytes, **headers: str) -> str:
        answer.update(status=status, kind=kind, body=body, headers=headers)
        return f"http://127.0.0.1:{server.server_port}"

    yield at
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_address_where_nobody_answers_is_said(shell, seeded, database: Path, monkeypatch):
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.delenv("DATABASE_URL")
    for arguments in (("drain", "--run-id", "r1"), ("run", "list"), ("phase", "show", "r1", "p1")):
        says(shell(*arguments, "--api-url", url), UNREACHABLE, f"no answer from {url}", "autopack serve")
    monkeypatch.setenv("AUTOPACK_API_URL", url)
    says(shell("run", "show", "r1"), UNREACHABLE, url)
    assert snapshot(database) == seeded


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (200, "text/html", b"<html>hello</html>"),
        (404, "text/html", b"<html>not here</html>"),
        (502, "text/html", b"<html>bad gateway</html>"),
        (302, "text/html", b""),
        (200, "application/json", b'{"hello": "world"}'),
        (200, "application/json", b"[]"),
        (200, "application/json", b'{"database_id": 5}'),
        (404, "application/json", b'{"code": 404, "message": "no"}'),
        (404, "application/json", b'{"code": {"a": 1}}'),
        (404, "application/json", b'"no"'),
        (200, "application/json", b"\xff\xfe"),
    ],
)
def test_a_server_that_is_not_ours_is_said_to_be_none(shell, seeded, database: Path, monkeypatch, impostor, status: int, kind: str, body: bytes):  # fmt: skip
    monkeypatch.delenv("DATABASE_URL")
    url = impostor(status, kind, body)
    says(shell("drain", "--run-id", "r1", "--api-url", url), UNREACHABLE, url, "Autopack's API")
    assert snapshot(database) == seeded


def test_a_body_that_cannot_be_unpacked_is_no_answer(shell, monkeypatch, impostor):
    monkeypatch.delenv("DATABASE_URL")
    url = impostor(200, "application/json", b"not gzip", **{"Content-Encoding": "gzip"})
    says(shell("run", "list", "--api-url", url), UNREACHABLE, url)


# The same through the scripts, really started


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "arguments", "code", "words"),
    [
        ("drain_queued_phases.py", ["--run-id", "r1", "--in-process", "--api-url", "http://x"], USAGE, "exclude each other"),
        ("drain_queued_phases.py", ["--run-id", "r1"], REFUSED, "there is no database"),
        ("drain_one_phase.py", ["--run-id", "r1"], USAGE, "--phase-id"),
        ("create_telemetry_collection_run.py", ["--run-id", "a/b"], USAGE, "cannot be a run's id"),
        ("db_identity_check.py", ["--database-url", ""], REFUSED, "--database-url is empty"),
        ("probe_telemetry_phase.py", ["--run-id", "r1", "--phase-id", "p", "--api-url", "http://127.0.0.1:1"], UNREACHABLE, "no answer"),
    ],
)  # fmt: skip
def test_a_script_ends_as_its_command_does(
    tmp_path: Path, script: str, arguments: list[str], code: int, words: str
):
    ended = run_script(script, *arguments, cwd=tmp_path, warm=True)
    assert (ended.returncode, ended.stdout) == (code, ""), ended.stderr
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == [], "a wrong path makes no empty database"
