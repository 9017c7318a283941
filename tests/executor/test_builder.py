"""The builder: what it is told, which answers are taken, and what becomes of the others."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from autopack.domain.messages import ProviderMode, Role, Usage
from autopack.domain.phases import AttemptOutcome, FailureKind, PhaseState, Scope
from autopack.executor.prompt import paths_to_show
from tests.executor.support_pipeline import completion, files, staged
from tests.support import git, make_workspace, phase

pytestmark = pytest.mark.anyio

GOOD = files({"out/p1.txt": "done\n"})
UNUSABLE = {
    "empty answer": ("", FailureKind.EMPTY_FILES, "the answer is empty"),
    "no files": ('{"summary": "nothing to do"}', FailureKind.EMPTY_FILES, "no `files`"),
    "files is empty": (files(), FailureKind.EMPTY_FILES, "`files` is empty"),
    "prose": ("I have written the file.", FailureKind.PROSE_ONLY, "holds no files"),
    "half a JSON object": (GOOD[:-9], FailureKind.MALFORMED_ANSWER, "not a whole JSON object"),
    "a file twice": (
        json.dumps({"files": [{"path": "out/p1.txt", "content": ""}] * 2}),
        FailureKind.MALFORMED_ANSWER,
        "given twice",
    ),
    "outside the scope": (
        files({"out/p1.txt": "done\n", "src/old.py": "OLD = 2\n"}),
        FailureKind.OUT_OF_SCOPE,
        "src/old.py is outside the phase's scope (out/, out/p1.txt)",
    ),
    "another path": (
        files({"out/p1.md": "done\n"}),
        FailureKind.MISSING_DELIVERABLES,
        "these deliverables would not exist: out/p1.txt",
    ),
}  # fmt: skip
unusable = pytest.mark.parametrize(("answer", "kind", "reason"), UNUSABLE.values(), ids=UNUSABLE.keys())


@unusable
async def test_an_unusable_answer_is_asked_again_with_the_reason(stage, answer, kind, reason):
    await stage.create(phase("p1"))
    stage.llm.will(Role.BUILDER, answer, GOOD)
    await stage.drain()
    assert (await stage.phase()).state is PhaseState.COMPLETE
    assert stage.content("out/p1.txt") == "done"
    first, second = stage.built
    assert second.messages[: len(first.messages)] == first.messages
    said, told = second.messages[len(first.messages) :]
    assert (said.author, said.text) == ("assistant", answer or "(an empty answer)")
    assert told.author == "user"
    assert reason in told.text


@unusable
async def test_two_unusable_answers_fail_the_phase_with_their_kind_and_no_further_attempt(
    stage, answer, kind, reason
):
    await stage.create(phase("p1", max_attempts=3))
    stage.llm.will(Role.BUILDER, answer, answer)
    drained = await stage.drain()
    failed = await stage.phase()
    assert (failed.state, failed.failure_kind, failed.attempts) == (PhaseState.FAILED, kind, 1)
    assert reason in failed.failure_reason
    assert len(stage.built) == 2
    assert stage.audited == []
    assert drained.outcomes == [("p1", AttemptOutcome.FAILED)]
    assert stage.head() == git(stage.workspace, "rev-parse", "main")


@pytest.mark.parametrize("path", ["autopack.toml", ".env", ".env.local", "out/../src/x.py", ".git/config"])
async def test_a_path_that_nobody_may_write_fails_at_once(stage, path):
    scope = {"paths": [], "deliverables": []}
    await stage.create(phase("p1", scope=scope))
    stage.llm.will(Role.BUILDER, files({path: "[checks]\ncommands = []\n"}))
    await stage.drain()
    failed = await stage.phase()
    assert (failed.state, failed.failure_kind) == (PhaseState.FAILED, FailureKind.POLICY_VIOLATION)
    assert failed.attempts == 1
    assert len(stage.built) == 1
    assert stage.head() == git(stage.workspace, "rev-parse", "main")


@pytest.mark.parametrize(
    "answer",
    [
        f"Here it is:\n\n```json\n{GOOD}\n```\n",
        "out/p1.txt\n```\ndone\n```\n",
        "I write one file.\n\n### `out/p1.txt`\n````text\ndone\n````\n",
    ],
    ids=["fenced JSON", "a block", "a block with a longer fence under a heading"],
)
async def test_the_forms_that_the_prompt_allows_are_taken(stage, answer):
    await stage.create(phase("p1"))
    stage.llm.will(Role.BUILDER, answer)
    await stage.drain()
    assert (await stage.phase()).state is PhaseState.COMPLETE
    assert stage.content("out/p1.txt") == "done"


async def test_the_prompt_says_what_the_phase_says_and_shows_what_it_may_see(sqlite_url, tmp_path):
    secrets = {
        ".env": "SECRET=hunter2\n",
        "src/.env.production": "SECRET=hunter3\n",
        "src/.npmrc": "hunter4\n",
    }
    base = {
        "README.md": "# About\n", "docs/guide.md": "The guide.\n", "src/a.py": "A = 1\n", "src/deep/b.py": "B = 2\n",
        "other/c.py": "C = 3\n", "autopack.toml": "[checks]\ncommands = []\n", **secrets,
    }  # fmt: skip
    scope = {
        "paths": ["src/"],
        "read_only_context": ["README.md", "docs/"],
        "deliverables": ["src/new.py"],
        "checks": ["test -f src/new.py"],
    }
    async with staged(sqlite_url, make_workspace(tmp_path / "w", base)) as stage:
        await stage.create(phase("p1", scope=scope, goal="Add a greeting.", name="Greeter"))
        stage.llm.will(Role.BUILDER, files({"src/new.py": "N = 1\n"}))
        await stage.drain()
    (asked,) = stage.built
    system, user = asked.messages
    assert (system.author, user.author) == ("system", "user")
    assert system.text.split(".")[0].startswith("You build one phase of a software project")
    assert "Project goal: A test." in user.text
    assert "Phase p1: Greeter" in user.text
    assert "Category: implementation, complexity: low" in user.text
    assert "What to do:\nAdd a greeting." in user.text
    assert "Deliverables (exact paths, all must exist afterwards):\n- src/new.py\n" in user.text
    assert "Allowed paths:\n- src/\n" in user.text
    assert "These commands must succeed afterwards:\n- test -f src/new.py" in user.text
    in_scope, _, read_only = user.text.partition("Read-only context:")
    assert "The present content of the files in scope:\n\nsrc/a.py\n```\nA = 1\n```" in in_scope
    assert "src/deep/b.py\n```\nB = 2\n```" in in_scope
    assert "README.md\n```\n# About\n```" in read_only
    assert "docs/guide.md\n```\nThe guide.\n```" in read_only
    for hidden in ("hunter", ".env", "C = 3", "autopack.toml"):
        assert hidden not in asked.text


async def test_what_is_too_large_or_no_text_is_only_named(sqlite_url, tmp_path):
    workspace = make_workspace(
        tmp_path / "w", {"src/small.py": "S = 1\n", "src/large.py": "L = 1\n" * 10_000}
    )
    (workspace / "src/picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff")
    git(workspace, "add", "--all")
    git(workspace, "commit", "--quiet", "--message", "a picture")
    async with staged(sqlite_url, workspace) as stage:
        scope = {"paths": ["src/"], "deliverables": ["src/new.py"], "checks": []}
        await stage.create(phase("p1", scope=scope))
        stage.llm.will(Role.BUILDER, files({"src/new.py": "N = 1\n"}))
        await stage.drain()
    text = stage.built[0].text
    assert "src/small.py\n```\nS = 1\n```" in text
    assert "for lack of room or because they are not text: src/large.py, src/picture.png" in text
    assert "L = 1" not in text


async def test_a_file_that_holds_fences_is_shown_in_a_longer_one(sqlite_url, tmp_path):
    content = "# Guide\n\n````sh\n```\nmake\n```\n````\n"
    async with staged(sqlite_url, make_workspace(tmp_path / "w", {"docs/guide.md": content})) as stage:
        scope = {"paths": ["docs/"], "deliverables": ["docs/new.md"], "checks": []}
        await stage.create(phase("p1", scope=scope))
        stage.llm.will(Role.BUILDER, files({"docs/new.md": "# New\n"}))
        await stage.drain()
    assert f"docs/guide.md\n`````\n{content}`````" in stage.built[0].text


async def test_the_same_phase_on_the_same_base_asks_the_same_question_and_another_base_another(stage):
    for run_id in ("r1", "r2"):
        await stage.create(
            phase("p1", scope={"paths": ["src/"], "deliverables": ["src/new.py"]}), run_id=run_id
        )
        stage.llm.will(Role.BUILDER, files({"src/new.py": "N = 1\n"}))
        await stage.drain(run_id)
    (stage.workspace / "src/old.py").write_text("OLD = 2\n", encoding="utf-8")
    git(stage.workspace, "commit", "--quiet", "--all", "--message", "another base")
    await stage.create(phase("p1", scope={"paths": ["src/"], "deliverables": ["src/new.py"]}), run_id="r3")
    stage.llm.will(Role.BUILDER, files({"src/new.py": "N = 1\n"}))
    await stage.drain("r3")
    first, second, third = (asked.key for asked in stage.built)
    assert first == second
    assert third != first
    audits = [asked.key for asked in stage.audited]
    assert audits[0] == audits[1]


async def test_a_truncated_answer_is_asked_again_with_a_larger_budget(stage, sqlite_url):
    await stage.create(phase("p1"))
    cut = completion(GOOD[:20], finish_reason="length", usage=Usage(input_tokens=10, output_tokens=5875))
    stage.llm.will(Role.BUILDER, cut, GOOD)
    await stage.drain()
    assert (await stage.phase()).state is PhaseState.COMPLETE
    first, second = stage.built
    assert second.max_tokens == 2 * first.max_tokens
    assert second.messages == first.messages
    escalations = rows(
        sqlite_url, "SELECT from_budget, to_budget, reason FROM token_budget_escalation_events"
    )
    assert escalations == [(first.max_tokens, second.max_tokens, "truncated")]


async def test_a_budget_that_was_too_small_is_not_paid_for_again(stage, sqlite_url):
    await stage.create(phase("p1"))
    stage.llm.will(Role.BUILDER, completion(GOOD[:20], finish_reason="length"), "no", GOOD)
    await stage.drain()
    assert (await stage.phase()).state is PhaseState.COMPLETE
    assert [asked.max_tokens for asked in stage.built] == [5875, 11_750, 11_750]
    sources = rows(sqlite_url, "SELECT budget_source FROM token_estimation_v2_events ORDER BY event_id")
    assert [source for (source,) in sources] == ["prior", "escalated", "raised"]


async def test_a_phase_that_may_well_fit_is_asked_for_at_the_limit_and_says_so(stage, sqlite_url):
    await stage.create(phase("p1"))
    stage.llm.will(Role.BUILDER, completion(GOOD[:20], finish_reason="length"))
    await stage.drain(wrap=with_builder(output_limit_for=lambda _: 1200))
    failed = await stage.phase()
    assert failed.failure_kind is FailureKind.TRUNCATED
    assert "cut at 1200 tokens; split the phase" in failed.failure_reason
    found = rows(sqlite_url, "SELECT selected_budget, budget_source, alpha FROM token_estimation_v2_events")
    assert found == [(1200, "limited", 0.05)]


async def test_an_answer_that_is_truncated_twice_fails_without_further_attempts(stage):
    await stage.create(phase("p1"))
    cut = completion(GOOD[:20], finish_reason="length")
    stage.llm.will(Role.BUILDER, cut, cut)
    await stage.drain()
    failed = await stage.phase()
    assert (failed.state, failed.failure_kind, failed.attempts) == (
        PhaseState.FAILED,
        FailureKind.TRUNCATED,
        1,
    )
    assert "split the phase" in failed.failure_reason


async def test_a_phase_that_no_answer_can_hold_fails_before_any_call_and_says_to_split_it(stage):
    await stage.create(phase("p1", max_attempts=3))
    await stage.drain(wrap=with_builder(output_limit_for=lambda model: {"openai:scripted": 1133}[model]))
    failed = await stage.phase()
    assert (failed.state, failed.failure_kind, failed.attempts) == (
        PhaseState.FAILED,
        FailureKind.TOO_LARGE,
        1,
    )
    for told in (
        "about 1134 tokens",
        "5.18 times",
        "5875",
        "prior",
        "5.0% of answers",
        "alone above the model's limit of 1133",
        "Split the phase",
    ):
        assert told in failed.failure_reason
    assert stage.built == []
    assert await stage.client.calls("r1") == []


async def test_a_budget_that_the_model_cannot_double_is_raised_to_its_limit_and_at_the_limit_not_at_all(
    stage,
):
    cut = completion(GOOD[:20], finish_reason="length")
    for run_id, limit in (("r1", 6000), ("r2", 5875)):
        await stage.create(phase("p1"), run_id=run_id)
        stage.llm.will(Role.BUILDER, cut, *[cut] * (limit == 6000))
        await stage.drain(run_id, wrap=with_builder(output_limit_for=lambda _, limit=limit: limit))
        failed = await stage.phase(run_id=run_id)
        assert failed.failure_kind is FailureKind.TRUNCATED
        assert f"cut at {limit} tokens" in failed.failure_reason
    assert [asked.max_tokens for asked in stage.built] == [5875, 6000, 5875]


async def test_budgets_are_learned_from_what_live_calls_needed_and_never_from_replayed_ones(
    stage, sqlite_url
):
    learning = with_builder(truncation_target=0.5)  # a rate that one sample can show
    usage = Usage(input_tokens=10, output_tokens=2268)
    for run_id, mode in (("r1", ProviderMode.REPLAY), ("r2", ProviderMode.LIVE), ("r3", ProviderMode.LIVE)):
        await stage.create(phase("p1"), run_id=run_id)
        stage.llm.provider_mode = mode
        stage.llm.will(Role.BUILDER, replace(completion(GOOD, usage=usage), provider_mode=mode))
        await stage.drain(run_id, wrap=learning)
        assert (await stage.phase(run_id=run_id)).state is PhaseState.COMPLETE
    # Half of the lognormal lies below its centre, which is the base; 2,268 of 1,134 tokens are twice as many.
    assert [asked.max_tokens for asked in stage.built] == [1134, 1134, 2268]
    sources = rows(sqlite_url, "SELECT budget_source FROM token_estimation_v2_events ORDER BY event_id")
    assert [source for (source,) in sources] == ["prior", "prior", "conformal"]


@pytest.mark.parametrize(
    ("scope", "files"),
    [
        ({"paths": ["README.md", "src/"], "deliverables": []}, [["mod", "doc"]]),
        ({"paths": ["src/"], "deliverables": []}, [["mod", "code"]]),
        ({"paths": ["src/"], "deliverables": ["src/a.py", "README.md"]}, [["new", "code"], ["mod", "doc"]]),
    ],
)
async def test_an_estimate_counts_deliverables_else_named_files_else_one(stage, sqlite_url, scope, files):
    await stage.create(phase("p1", scope={**scope, "checks": []}))
    cut = completion("", finish_reason="length")
    stage.llm.will(Role.BUILDER, cut, cut)
    await stage.drain()
    ((features,), _) = rows(sqlite_url, "SELECT features_json FROM token_estimation_v2_events")
    assert json.loads(features)["files"] == files


async def test_a_whole_plan_that_was_cut_by_its_budget_is_not_taken(stage):
    await stage.create(phase("p1"))
    stage.llm.will(Role.BUILDER, completion(files({"out/p1.txt": "half"}), finish_reason="length"), GOOD)
    await stage.drain()
    assert stage.content("out/p1.txt") == "done"


async def test_what_a_content_filter_stopped_fails_at_once(stage):
    await stage.create(phase("p1"))
    stage.llm.will(Role.BUILDER, completion(GOOD, finish_reason="content_filter"))
    await stage.drain()
    failed = await stage.phase()
    assert (failed.state, failed.failure_kind) == (PhaseState.FAILED, FailureKind.MALFORMED_ANSWER)
    assert len(stage.built) == 1


async def test_every_builder_answer_leaves_its_estimate_and_its_outcome(stage, sqlite_url):
    await stage.create(phase("p1"))
    stage.llm.will(Role.BUILDER, "no", GOOD)
    await stage.drain()
    found = rows(
        sqlite_url,
        "SELECT category, complexity, deliverable_count, selected_budget, actual_output_tokens, success, truncated, "
        "features_json FROM token_estimation_v2_events ORDER BY event_id",
    )
    assert [row[:7] for row in found] == [
        ("implementation", "low", 1, 5875, 5, 0, 0),
        ("implementation", "low", 1, 5875, 5, 1, 0),
    ]
    assert json.loads(found[0][7]) == {
        "task_category": "implementation", "complexity": "low", "reasoning_level": "none", "files": [["new", "doc"]]
    }  # fmt: skip
    about = (
        "base_output_tokens, reasoning_level, model_family, budget_source, target_rate, alpha, is_complete"
    )
    kept = rows(sqlite_url, f"SELECT {about}, estimator_version FROM token_estimation_v2_events")
    assert kept == [(1134.0, "none", "scripted", "prior", 0.05, 0.05, 1, "linear-2")] * 2
    calls = await stage.client.calls("r1")
    assert [(call.role, call.ask, call.status) for call in calls] == [
        ("builder", 1, "answered"), ("builder", 2, "answered"), ("auditor", 1, "answered"),
    ]  # fmt: skip


async def test_without_telemetry_no_estimate_is_kept_and_usage_still_is(stage):
    await stage.create(phase("p1"))
    stage.llm.will(Role.BUILDER, GOOD)
    await stage.drain(telemetry=False)
    assert (await stage.phase()).state is PhaseState.COMPLETE
    counts = await stage.client.telemetry("r1")
    assert (counts.llm_usage_events, counts.token_estimation_v2_events) == (2, 0)


def with_builder(**more):
    return lambda pipeline: replace(pipeline, builder=replace(pipeline.builder, **more))


def rows(database_url, query):
    with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as connection:
        return connection.execute(query).fetchall()


def test_a_directory_is_shown_whether_its_name_ends_in_a_slash_or_not():
    base = ["a.py", "docs/x.md", "src/b.py", "src/deep/c.py", "srcx/d.py"]
    for end in ("", "/"):
        scope = Scope(paths=(f"src{end}",), read_only_context=(f"docs{end}", "a.py"))
        assert paths_to_show(scope, base) == (["src/b.py", "src/deep/c.py"], ["a.py", "docs/x.md"])
