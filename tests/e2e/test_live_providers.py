"""Whole drains over the live transport, served by llmock: an OpenAI-compatible and an Anthropic server not ours."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from llmock.scenarios import Fail, Match, Reply, StreamFault, ToolCall

from tests.support import git, phase, plan, run_script, served

pytestmark = [pytest.mark.slow]

MODELS = {"openai": "openai:gpt-4o", "anthropic": "anthropic:claude-sonnet-4-5"}
BUILDING, AUDITING = Match(tools=False), Match(tools=True)  # only the auditor is offered a tool
APPROVED = {"approved": True, "issues": [], "notes": "as asked"}


@pytest.fixture(params=["openai", "anthropic"])
def vendor(request):
    return request.param


@pytest.fixture
def drain(llmock, vendor, sqlite_url, workspace, tmp_path):
    """Seeds a run of `phases` and drains it with the real script; the result with what llmock saw."""

    def drain(*phases, api_url=None, **environment):
        path = tmp_path / "plan.yaml"
        path.write_text(yaml.safe_dump(plan("live", phases)), encoding="utf-8")
        database = () if api_url else ("--database-url", sqlite_url)
        seeded = run_script(
            "autopack", "run", "create", str(path), "--database-url", sqlite_url, cwd=tmp_path, warm=True
        )
        assert seeded.returncode == 0, seeded.stderr
        env = {
            "AUTOPACK_MODEL": MODELS[vendor], "AUTOPACK_BASE_URL": llmock.base_url(vendor),
            "OPENAI_API_KEY": "sk-dummy-openai", "ANTHROPIC_API_KEY": "sk-dummy-anthropic", **environment,
        }  # fmt: skip
        where = ("--api-url", api_url) if api_url else ("--in-process",)
        return run_script(
            "drain_queued_phases.py", "--run-id", "live", *where, *database, "--workspace", str(workspace),
            cwd=tmp_path, env=env, warm=True,
        )  # fmt: skip

    return drain


def built(phase_id, content="done\n"):
    files = [{"path": f"out/{phase_id}.txt", "content": content}]
    return json.dumps({"summary": f"wrote {phase_id}", "files": files})


def builds(*texts):
    return [Reply(text=text, match=BUILDING) for text in texts]


def audits(*verdicts):
    """A dictionary is called as the tool, a text is said."""
    return [
        Reply(text=verdict, match=AUDITING) if isinstance(verdict, str)
        else Reply(tool_calls=(ToolCall("submit_review", verdict),), match=AUDITING)
        for verdict in verdicts
    ]  # fmt: skip


def rows(database_url, query):
    with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query)]


def calls(database_url):
    return rows(database_url, "SELECT * FROM llm_usage_events ORDER BY id")


def states(database_url):
    return {row["phase_id"]: row["state"] for row in rows(database_url, "SELECT phase_id, state FROM phases")}


def committed(workspace: Path, path: str) -> str:
    return git(workspace, "show", f"autopack/live:{path}")


def tokens(*texts):
    """As llmock counts: a token for four characters of each text."""
    return sum(len(text) // 4 for text in texts)


def said(record):
    """The texts of a request as llmock saw it, in either dialect."""
    body = record.body
    texts = [
        part if isinstance(part, str) else " ".join(each["text"] for each in part)
        for part in (message["content"] for message in body["messages"])
    ]
    return [*texts, *([body["system"]] if isinstance(body.get("system"), str) else [])]


def test_a_run_is_drained_and_every_request_is_a_row_as_the_provider_reported_it(
    drain, llmock, vendor, sqlite_url, workspace
):
    checks = ["grep -q done out/p1.txt"]
    llmock.add(*builds(built("p1"), built("p2", "red\n"), built("p2", "green\n"), built("p3")))
    llmock.add(
        *audits(
            APPROVED,
            json.dumps(APPROVED),
            {"approved": False, "issues": [{"severity": "major", "message": "p3 says too little"}]},
            f"```json\n{json.dumps(APPROVED)}\n```",
        )
    )
    llmock.add(*builds(built("p3", "done, and more\n")))
    done = drain(
        phase("p1", checks=checks),
        phase("p2", checks=["grep green out/p2.txt"]),
        phase("p3", depends_on=["p2"]),
    )
    assert done.returncode == 0, done.stderr
    assert set(states(sqlite_url).values()) == {"COMPLETE"}
    assert f"model: {MODELS[vendor]}" in done.stderr
    assert [committed(workspace, f"out/p{n}.txt") for n in (1, 2, 3)] == ["done", "green", "done, and more"]
    found = calls(sqlite_url)
    assert [(row["phase_id"], row["role"], row["ask"]) for row in found] == [
        ("p1", "builder", 1), ("p1", "auditor", 1), ("p2", "builder", 1), ("p2", "builder", 2), ("p2", "auditor", 1),
        ("p3", "builder", 1), ("p3", "auditor", 1), ("p3", "builder", 2), ("p3", "auditor", 2),
    ]  # fmt: skip
    assert len(llmock.requests) == len(found)
    for row, request in zip(found, llmock.requests, strict=True):
        assert (row["provider_mode"], row["usage_source"], row["status"]) == ("live", "provider", "answered")
        assert (row["is_complete"], row["is_truncated"], row["retries"]) == (1, 0, 0)
        assert row["cost_usd"] is None, "nobody knows what this server charges"
        assert row["request_max_tokens"] == request.body["max_tokens"]
        assert row["input_tokens"] == tokens(*said(request))
        assert row["response_id"]
        assert row["duration_seconds"] > 0
    answered = [row["output_tokens"] for row in found if row["role"] == "builder"]
    assert answered[:4] == [tokens(built("p1")), *[tokens(built("p2", f"{x}\n")) for x in ("red", "green")], tokens(built("p3"))]  # fmt: skip
    estimates = rows(sqlite_url, "SELECT * FROM token_estimation_v2_events ORDER BY event_id")
    assert [(row["phase_id"], row["success"], row["actual_output_tokens"]) for row in estimates] == [
        ("p1", 1, answered[0]), ("p2", 0, answered[1]), ("p2", 1, answered[2]), ("p3", 0, answered[3]), ("p3", 1, answered[4]),
    ]  # fmt: skip
    assert {row["provider_mode"] for row in estimates} == {"live"}
    (run,) = rows(sqlite_url, "SELECT * FROM runs")
    assert run["tokens_used"] == sum(row["input_tokens"] + row["output_tokens"] for row in found)
    assert (run["tokens_reserved"], run["calls_of_unknown_usage"]) == (0, 0)
    assert "sk-dummy" not in done.stdout + done.stderr
    asked = [" ".join(said(request)) for request in llmock.requests]
    assert "p3 says too little" in asked[7]
    llmock.assert_resilient(strict=True)


@pytest.mark.parametrize("vendor", ["openai"], indirect=True)
def test_a_remote_drain_over_a_live_server_does_the_same(drain, llmock, sqlite_url, workspace, tmp_path):
    llmock.add(*builds(built("p1"), built("p2")), *audits(APPROVED, json.dumps(APPROVED)))
    llmock.add(Fail(429, retry_after=0.4, match=BUILDING))
    with served(sqlite_url, cwd=tmp_path, warm=True) as url:
        done = drain(phase("p1"), phase("p2"), api_url=url)
    assert done.returncode == 0, done.stderr
    assert set(states(sqlite_url).values()) == {"COMPLETE"}
    assert [committed(workspace, f"out/p{n}.txt") for n in (1, 2)] == ["done", "done"]
    assert [row["retries"] for row in calls(sqlite_url)] == [1, 0, 0, 0]
    llmock.assert_resilient(strict=True)


@pytest.mark.parametrize("vendor", ["openai"], indirect=True)
def test_a_provider_that_asks_to_wait_is_given_the_time_and_the_retries_are_kept(drain, llmock, sqlite_url):
    llmock.add(
        Fail(429, retry_after=0.7, times=2, match=BUILDING), Fail(429, retry_after=0.3, match=AUDITING)
    )
    llmock.add(*builds(built("p1"), built("p2")), *audits(APPROVED, APPROVED))
    done = drain(phase("p1"), phase("p2"))
    assert done.returncode == 0, done.stderr
    assert [row["retries"] for row in calls(sqlite_url)] == [2, 1, 0, 0]
    assert {row["status"] for row in calls(sqlite_url)} == {"answered"}
    llmock.assert_resilient()
    assert len(llmock.requests) == 7
    assert [finding.code for finding in llmock.verdict().findings if finding.severity == "error"] == []
    (attempts,) = rows(sqlite_url, "SELECT count(*) AS number FROM attempts")
    assert attempts["number"] == 2, "a wait is not an attempt"


@pytest.mark.parametrize(("fault", "after_chunks"), [("truncate", 5), ("disconnect", 5)])
def test_a_stream_that_was_cut_is_never_an_answer(
    drain, llmock, vendor, sqlite_url, workspace, fault, after_chunks
):
    content = "".join(f"line {number}\n" for number in range(40))
    llmock.add(StreamFault(fault, after_chunks=after_chunks, match=Match(stream=True, tools=False)))
    llmock.add(StreamFault(fault, after_chunks=after_chunks, match=Match(stream=True, tools=True)))
    llmock.add(*builds(*[built("p1", content)] * 2), *audits(*[APPROVED] * 2))
    done = drain(phase("p1", checks=["grep -qx 'line 39' out/p1.txt"]))
    assert done.returncode == 0, done.stderr
    assert states(sqlite_url) == {"p1": "COMPLETE"}
    assert committed(workspace, "out/p1.txt") + "\n" == content
    found = calls(sqlite_url)
    assert [(row["role"], row["status"], row["is_complete"]) for row in found] == [
        ("builder", "failed", 0), ("builder", "answered", 1), ("auditor", "failed", 0), ("auditor", "answered", 1),
    ]  # fmt: skip
    for row in (found[0], found[2]):
        assert (row["usage_source"], row["input_tokens"], row["output_tokens"]) == ("missing", None, None)
        assert row["cost_usd"] is None
        assert row["error"].startswith("incomplete_response:")
    estimates = rows(sqlite_url, "SELECT actual_output_tokens, success FROM token_estimation_v2_events")
    assert {row["actual_output_tokens"] for row in estimates if row["success"]} == {found[1]["output_tokens"]}
    assert [row["success"] for row in estimates if row["actual_output_tokens"]] == [1]
    (run,) = rows(sqlite_url, "SELECT * FROM runs")
    assert run["calls_of_unknown_usage"] == 2
    assert run["tokens_reserved"] > 0, "what may have been paid stays set aside"
    responses = rows(sqlite_url, "SELECT * FROM llm_responses")
    assert len(responses) == 2, "only whole answers are journaled"
    llmock.assert_resilient(strict=True)


@pytest.mark.parametrize("vendor", ["anthropic"], indirect=True)
def test_an_answer_that_was_cut_by_its_length_is_asked_for_with_more_room(
    drain, llmock, sqlite_url, workspace
):
    llmock.add(Reply(text=built("p1", "half"), finish_reason="length", match=BUILDING))
    llmock.add(*builds(built("p1", "whole\n")), *audits(APPROVED))
    done = drain(phase("p1"))
    assert done.returncode == 0, done.stderr
    assert committed(workspace, "out/p1.txt") == "whole"
    first, second = (request.body["max_tokens"] for request in llmock.requests[:2])
    assert second > first
    escalations = rows(sqlite_url, "SELECT from_budget, to_budget FROM token_budget_escalation_events")
    assert escalations == [{"from_budget": first, "to_budget": second}]
    found = [row for row in calls(sqlite_url) if row["role"] == "builder"]
    assert [(row["finish_reason"], row["is_truncated"], row["is_complete"]) for row in found] == [
        ("length", 1, 1), ("stop", 0, 1),
    ]  # fmt: skip
    estimates = rows(
        sqlite_url, "SELECT truncated, success FROM token_estimation_v2_events ORDER BY event_id"
    )
    assert [(row["truncated"], row["success"]) for row in estimates] == [(1, 0), (0, 1)]


def test_a_key_that_the_provider_refuses_ends_the_drain_before_anything_is_lost(
    drain, llmock, vendor, sqlite_url
):
    llmock.fail(401, times=None)
    done = drain(phase("p1"), phase("p2"))
    assert done.returncode == 3
    assert f"check {vendor.upper()}_API_KEY" in done.stderr
    assert "sk-dummy" not in done.stdout + done.stderr
    assert states(sqlite_url) == {"p1": "QUEUED", "p2": "QUEUED"}
    assert len(llmock.requests) == 1
