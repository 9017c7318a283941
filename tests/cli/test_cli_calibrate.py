"""`autopack calibrate` and `autopack estimator`: read-only until told otherwise, and a way back."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from autopack.db.identity import open_database
from autopack.db.location import locate
from autopack.domain.observations import Observation
from tests.cli.conftest import Ended
from tests.support_calibration import history, skewed, stored

Shell = Callable[..., Ended]
GOOD = history(400, skewed(3.0))


def fill(url: str, observations: list[Observation], **more: object) -> None:
    with open_database(locate(url, Path("/"))) as database:
        stored(database, observations, **more)


def file_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


@pytest.fixture
def events(sqlite_url: str) -> Path:
    """The file of a database with events that speak for other coefficients."""
    fill(sqlite_url, GOOD)
    return file_of(sqlite_url)


def test_without_apply_nothing_changes_and_the_same_events_give_the_same_files(
    shell: Shell, events: Path, tmp_path: Path
):
    before, reports = events.read_bytes(), tmp_path / "deep" / "reports"
    ended = shell("calibrate", "--output-dir", reports)
    assert ended.code == 0, ended.err
    assert ended.out.startswith("# Calibration of linear-2: accepted")
    files = {path.name: path.read_bytes() for path in reports.iterdir()}
    (stem,) = {name.rsplit(".", 1)[0] for name in files}
    assert set(files) == {f"{stem}.md", f"{stem}.json"}
    assert stem.startswith("calibration-linear-2-")
    assert shell("calibrate", "--output-dir", reports) == ended
    assert {path.name: path.read_bytes() for path in reports.iterdir()} == files
    assert events.read_bytes() == before
    told = json.loads(shell("calibrate", "--json").out)
    assert (told["report"], told["files"], told["applied"]) == (json.loads(files[f"{stem}.json"]), [], None)
    assert shell("calibrate").out.strip() == files[f"{stem}.md"].decode().strip()


def test_what_is_applied_is_in_force_once_and_can_be_gone_back_from(shell: Shell, events: Path):
    ended = shell("calibrate", "--apply", "--json")
    assert ended.code == 0, ended.err
    name = json.loads(ended.out)["applied"]["version"]
    listed = json.loads(shell("estimator", "list", "--json").out)
    assert [(each["version"], each["is_active"]) for each in listed] == [("linear-2", False), (name, True)]
    assert listed[1]["parent"] == "linear-2"
    assert listed[1]["data_hash"] == json.loads(ended.out)["report"]["data_hash"]
    before = events.read_bytes()
    again = shell("calibrate", "--apply")
    assert again.code == 0
    assert "was made from these very events" in again.err
    assert events.read_bytes() == before
    assert shell("estimator", "activate", "linear-2").out == "linear-2 is in force\n"
    text = shell("estimator", "list").out.splitlines()
    assert text[0].startswith("* linear-2  ships with Autopack")
    assert text[1].startswith(f"  {name}  ")
    assert json.loads(shell("calibrate", "--apply", "--json").out)["applied"]["version"] == name
    assert len(json.loads(shell("estimator", "list", "--json").out)) == 2


def test_too_few_events_are_an_error_only_where_something_was_to_be_applied(shell: Shell, sqlite_url: str):
    fill(sqlite_url, GOOD[:90])
    ended = shell("calibrate")
    assert (ended.code, ended.err) == (0, "")
    assert "10 are missing" in ended.out
    applied = shell("calibrate", "--apply")
    assert applied.code == 1
    assert "nothing was applied: 90 of 90 events can be used" in applied.err
    assert len(json.loads(shell("estimator", "list", "--json").out)) == 1


def test_what_the_back_test_refuses_is_not_applied(shell: Shell, sqlite_url: str):
    fill(sqlite_url, history(500, lambda n: skewed(2.0) if n < 300 else skewed(0.5), spread=0.3))
    before = file_of(sqlite_url).read_bytes()
    assert shell("calibrate").code == 0
    ended = shell("calibrate", "--apply")
    assert ended.code == 1
    assert "refused" in ended.out.splitlines()[0]
    assert "nothing was applied: the mean pinball loss" in ended.err
    assert file_of(sqlite_url).read_bytes() == before


def test_replayed_events_teach_nothing(shell: Shell, sqlite_url: str):
    fill(sqlite_url, GOOD, provider_mode="replay")
    report = json.loads(shell("calibrate", "--json").out)["report"]
    assert report["events"] == {
        "read": 400,
        "usable": 0,
        "used": 0,
        "joined": 0,
        "left_out": {"replayed": 400},
    }


def test_the_target_is_the_configured_one(shell: Shell, events: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AUTOPACK_TRUNCATION_TARGET", "0.1")
    assert json.loads(shell("calibrate", "--json").out)["report"]["target"] == 0.1
    assert json.loads(shell("calibrate", "--json", "--target", "0.2").out)["report"]["target"] == 0.2


def test_events_of_a_telemetry_database_make_a_version_of_the_queues(
    shell: Shell, sqlite_url: str, migrated_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    apart = tmp_path / "telemetry.db"
    monkeypatch.setenv("TELEMETRY_DATABASE_URL", f"sqlite:///{apart}")
    shutil.copy(migrated_file, apart)
    fill(f"sqlite:///{apart}", GOOD)
    before = apart.read_bytes()
    ended = shell("calibrate", "--apply", "--json")
    assert ended.code == 0, ended.err
    name = json.loads(ended.out)["applied"]["version"]
    assert json.loads(shell("estimator", "list", "--json").out)[1]["version"] == name
    assert apart.read_bytes() == before
    assert "was made from these very events" in shell("calibrate", "--apply").err


def test_bad_options_are_refused_in_words(shell: Shell, events: Path, tmp_path: Path):
    for options in (("--target", "0"), ("--target", "nan"), ("--target", "0.6"), ("--min-samples", "0")):
        ended = shell("calibrate", *options)
        assert (ended.code, ended.out) == (2, ""), options
        assert options[0].lstrip("-").replace("-", "_") in ended.err.replace("-", "_")
    (tmp_path / "a file").write_text("")
    ended = shell("calibrate", "--output-dir", tmp_path / "a file")
    assert ended.code == 2
    assert "--output-dir" in ended.err
    ended = shell("estimator", "activate", "no such version")
    assert (ended.code, ended.out) == (2, "")
