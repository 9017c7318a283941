"""INCIDENTS D3 and D7: the server works on another database than the one that is meant. Noticed before any write."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.support_incidents import (
    another_database,
    database_id,
    ended_at_last,
    is_warm,
    outcome,
    query,
    rows,
    seed,
    small_run,
    states,
    until,
)
from tests.support import TELEMETRY_RUN, free_port, git, run_script, served, start_script, start_warm

pytestmark = pytest.mark.slow

PHASE = "telemetry-p1-string-util"
DRAINS = {
    "one": ("drain_one_phase.py", "--run-id", TELEMETRY_RUN, "--phase-id", PHASE),
    "queued": ("drain_queued_phases.py", "--run-id", TELEMETRY_RUN, "--batch-size", "10"),
    "probe": ("probe_telemetry_phase.py", "--run-id", TELEMETRY_RUN, "--phase-id", PHASE),
}
IDENTITY, SEED = ("db_identity_check.py",), ("create_telemetry_collection_run.py",)


@pytest.fixture
def seeded(database_url: str, tmp_path: Path) -> str:
    """Database A of the incident: the run is there, ten phases are queued."""
    done = run_script(
        "create_telemetry_collection_run.py", "--database-url", database_url, cwd=tmp_path, warm=True
    )
    assert done.returncode == 0, outcome(done)
    return database_url


@pytest.fixture
def other(seeded: str) -> Iterator[str]:
    """Database B: whole, and without any run."""
    with another_database(seeded, "other") as url:
        yield url


def shown(url: str) -> str:
    """The database in a URL of ours, however the URL is written: its file, or its name."""
    return url.partition("?")[0].rpartition("/")[2]


def refused(url: str, api_url: str, script: tuple[str, ...], workspace: Path) -> str:
    done = run_script(
        *script, "--api-url", api_url, cwd=workspace, env={"DATABASE_URL": url}, warm=is_warm(url)
    )
    assert done.returncode == 3, outcome(done)
    assert "Traceback" not in done.stderr
    return done.stderr


def test_every_script_refuses_a_server_on_another_database_and_names_both(
    seeded: str, other: str, workspace: Path, tmp_path: Path
) -> None:
    before = rows(seeded), rows(other)
    with served(other, cwd=tmp_path, warm=is_warm(other)) as api_url:
        for script in (*DRAINS.values(), IDENTITY, SEED):
            told = refused(seeded, api_url, script, workspace)
            assert f"the server at {api_url} works on" in told
            assert f"{shown(other)}" in told
            assert f"{shown(seeded)}" in told.replace(shown(other), "")
            assert database_id(other) in told
            assert "Nothing was claimed. Start the server on the same DATABASE_URL, or unset DATABASE_URL here." in told  # fmt: skip
            assert (rows(seeded), rows(other)) == before
    assert git(workspace, "branch", "--format=%(refname:short)") == "main"


def test_a_server_on_a_copy_with_the_same_identity_is_refused_too(
    seeded: str, workspace: Path, tmp_path: Path
) -> None:
    with another_database(seeded, "copy", copied=True) as copy:
        assert database_id(copy) == database_id(seeded)
        before = rows(copy)
        with served(copy, cwd=tmp_path, warm=is_warm(copy)) as api_url:
            for script in (DRAINS["queued"], IDENTITY):
                told = refused(seeded, api_url, script, workspace)
                assert shown(copy) in told
                assert shown(seeded) in told.replace(shown(copy), "")
        assert rows(copy) == before
    assert query(seeded, "SELECT count(*) FROM attempts") == [(0,)]
    assert set(states(seeded, TELEMETRY_RUN).values()) == {"QUEUED"}


def test_the_same_database_on_both_sides_is_drained_through_the_server(
    sqlite_url: str, workspace: Path, tmp_path: Path
) -> None:
    plan_file, cassette = small_run(tmp_path, 1, "true")
    seed(sqlite_url, plan_file)
    env = {"DATABASE_URL": sqlite_url, "AUTOPACK_REPLAY": str(cassette)}
    with served(sqlite_url, cwd=tmp_path, warm=True) as api_url:
        drain = ("drain_queued_phases.py", "--run-id", "r1", "--api-url", api_url)
        done = run_script(*drain, cwd=workspace, env=env, warm=True)
        assert done.returncode == 0, outcome(done)
        checked = run_script("db_identity_check.py", "--api-url", api_url, cwd=workspace, env=env, warm=True)
        assert checked.returncode == 0, outcome(checked)
        assert "same_database True" in checked.stdout
    assert states(sqlite_url, "r1") == {"p1": "COMPLETE"}


def test_a_server_restarted_on_another_database_stops_the_drain_before_its_next_write(
    database_url: str, workspace: Path, tmp_path: Path
) -> None:
    plan_file, cassette = small_run(tmp_path, 3, "sleep 0.5")
    seed(database_url, plan_file)
    port, warm = free_port(), is_warm(database_url)
    start = start_warm if warm else start_script
    env = {"AUTOPACK_REPLAY": str(cassette)}
    drain = ("drain_queued_phases.py", "--run-id", "r1", "--api-url", f"http://127.0.0.1:{port}")
    with another_database(database_url, "other") as other:
        # The worst case: the run is there as well, with phases that could be claimed.
        seed(other, plan_file)
        before = rows(other)
        with ExitStack() as first_server:
            first_server.enter_context(served(database_url, cwd=tmp_path, port=port, warm=warm))
            process = start(*drain, cwd=workspace, env=env)
            with ended_at_last(process):
                until(lambda: "COMPLETE" in states(database_url, "r1").values(), process)
                first_server.close()
                with served(other, cwd=tmp_path, port=port, warm=warm):
                    _, told = process.communicate(timeout=60)
        assert process.returncode == 3, told
        assert f"this server works on database {database_id(other)}" in told
        assert f"the request is meant for {database_id(database_url)}" in told
        assert "Was the server restarted on another DATABASE_URL?" in told
        assert "Traceback" not in told
        assert rows(other) == before

    with served(database_url, cwd=tmp_path, port=port, warm=warm):
        resumed = run_script(*drain, cwd=workspace, env=env, warm=True)
    assert resumed.returncode == 0, outcome(resumed)
    assert set(states(database_url, "r1").values()) == {"COMPLETE"}
    assert len(git(workspace, "log", "--format=%s", "main..autopack/r1").splitlines()) == 3
