"""`autopack telemetry export` and `otlp`: files that are whole or absent, and spans that are sent once."""

import csv
import io
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from autopack.cli.files import whole_file
from autopack.domain.moments import moment
from autopack.errors import NotReady, UsageError
from tests.cli.conftest import Ended
from tests.cli.support_collector import FakeCollector, Reply, collecting
from tests.support import clean_environment, command
from tests.support_telemetry import ESCALATION_EVENT, MADE_AT, estimation, opened, store, usage

Shell = Callable[..., Ended]


@pytest.fixture
def rows(sqlite_url: str, tmp_path: Path) -> None:
    with opened(sqlite_url, tmp_path) as database, database.transaction() as session:
        store(
            session,
            *[usage(n) for n in range(1, 6)],
            estimation(1),
            estimation(2, run_id="r2"),
            ESCALATION_EVENT,
        )


@pytest.fixture(autouse=True)
def no_collector_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def collector() -> Iterator[FakeCollector]:
    with collecting() as fake:
        yield fake


# Export


@pytest.mark.usefixtures("rows")
def test_the_default_is_every_estimation_as_ndjson_on_stdout(shell: Shell):
    ended = shell("telemetry", "export")
    assert (ended.code, ended.err) == (0, "2 rows of estimations as ndjson\n")
    first, second = map(json.loads, ended.out.splitlines())
    assert (first["schema"], first["event_id"], second["run_id"]) == ("autopack.token_estimation.v1", 1, "r2")
    assert first["actual_output_tokens"] is None
    assert first["source_database_id"] == "d" * 32


@pytest.mark.usefixtures("rows")
def test_a_table_a_run_a_time_and_a_format_are_chosen(shell: Shell):
    text = shell("telemetry", "export", "--table", "usage", "--format", "csv", "--since", "2026-03-01").out
    assert [row["call_id"] for row in csv.DictReader(io.StringIO(text))] == ["c1", "c2", "c3", "c4", "c5"]
    assert shell("telemetry", "export", "--run-id", "r2", "-o", "-").out.count("\n") == 1
    assert shell("telemetry", "export", "--table", "escalations", "--until", "2026-03-01").out == ""
    header = shell("telemetry", "export", "--format", "csv", "--run-id", "none").out
    assert header.startswith("event_id,"), "also where there is nothing below it"


@pytest.mark.usefixtures("rows")
def test_a_file_is_written_whole_and_never_over_another_unasked(shell: Shell, tmp_path: Path):
    path = tmp_path / "out" / "events.csv"
    path.parent.mkdir()
    assert shell("telemetry", "export", "--format", "csv", "-o", path).code == 0
    whole = path.read_bytes()
    assert whole.count(b"\r\n") == 3
    refused = shell("telemetry", "export", "-o", path)
    assert (refused.code, "--overwrite" in refused.err) == (2, True)
    assert path.read_bytes() == whole
    assert shell("telemetry", "export", "-o", path, "--overwrite").code == 0
    assert path.read_bytes().startswith(b'{"schema"')
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["-o", "missing/file"], "no directory"),
        (["-o", "."], "is no file"),
        (["-o", os.devnull, "--overwrite"], "is no file"),
        (["--since", "some day"], "is no moment"),
        (["--until", "99999999d"], "is no moment"),
        (["--since", "2026-01-02", "--until", "2026-01-01"], "nothing lies between"),
        (["--run-id", ""], "run_id"),
    ],
)
def test_an_export_that_cannot_be_is_refused(shell: Shell, options: list[str], word: str):
    ended = shell("telemetry", "export", *options)
    assert (ended.code, ended.out) == (2, "")
    assert word in ended.err


def write(path: Path, text: str, *, overwrite: bool, then: Callable[[], object] = lambda: None) -> None:
    with whole_file(path, overwrite=overwrite) as file:
        file.write(text.encode())
        then()


def fail_with(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_what_is_interrupted_leaves_nothing_under_the_name(tmp_path: Path, stop: BaseException):
    path = tmp_path / "events.ndjson"
    path.write_text("before")
    with pytest.raises((KeyboardInterrupt, NotReady)) as caught:
        write(path, "half", overwrite=True, then=lambda: fail_with(stop))
    assert isinstance(stop, KeyboardInterrupt) or "No space left" in str(caught.value)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_came_meanwhile_is_not_written_over(tmp_path: Path):
    path = tmp_path / "events.ndjson"
    with pytest.raises(UsageError, match="--overwrite"):
        write(path, "ours", overwrite=False, then=lambda: path.write_text("theirs"))
    assert path.read_text() == "theirs"


def test_two_that_write_one_file_leave_each_others_alone(tmp_path: Path):
    path = tmp_path / "events.ndjson"
    write(path, "first", overwrite=True, then=lambda: write(path, "second", overwrite=True))
    assert path.read_text() == "first", "the last to end"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_as_open_to_others_as_any_that_this_person_makes(tmp_path: Path):
    (tmp_path / "plain").touch()
    write(tmp_path / "ours", "", overwrite=False)
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_long_name_is_one_too_and_one_that_no_disk_takes_is_refused(tmp_path: Path):
    write(tmp_path / ("n" * 250), "whole", overwrite=False)
    with pytest.raises(NotReady, match="name too long"):
        write(tmp_path / ("n" * 300), "", overwrite=False)


def test_the_option_that_named_the_file_is_the_one_that_is_said(tmp_path: Path):
    with pytest.raises(UsageError, match=r"^--output-dir .* is no file; without --output-dir the"):
        whole_file(tmp_path, overwrite=True, option="--output-dir").__enter__()


def test_a_link_stays_a_link(tmp_path: Path):
    (tmp_path / "real").write_text("before")
    (tmp_path / "link").symlink_to("real")
    write(tmp_path / "link", "after", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "after"


def test_moments_are_read_as_people_write_them():
    for text in ("2026-03-01T12:30:00Z", "2026-03-01 12:30", "2026-03-01T14:30:00+02:00", "0m"):
        assert moment("--since", text, MADE_AT) == MADE_AT
    assert moment("--since", "2w", MADE_AT) == MADE_AT - timedelta(days=14)
    assert moment("--since", None, MADE_AT) is None


@pytest.mark.slow
def test_nobody_reads_on_what_the_script_writes_and_that_is_no_error(sqlite_url: str, tmp_path: Path):
    with opened(sqlite_url, tmp_path) as database, database.transaction() as session:
        store(session, *[usage(n, error="x" * 10_000) for n in range(1, 301)])
    with subprocess.Popen(
        command("export_token_estimation_telemetry.py", "--table", "usage", "--database-url", sqlite_url),
        cwd=tmp_path, env=clean_environment(PYTHONUNBUFFERED="1"), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["id"] == 1
        process.stdout.close()
        assert (process.stderr.read(), process.wait(60)) == (b"", 0)


# OTLP


@pytest.mark.usefixtures("rows")
def test_each_call_is_sent_once_in_batches(shell: Shell, collector: FakeCollector):
    ended = shell(
        "telemetry", "otlp", "--endpoint", collector.url, "--batch", "2", "--header", "x-key=hidden"
    )
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"5 spans sent to {collector.url}/v1/traces, 0 thrown away by it; done up to row 5\n"
    assert collector.call_ids() == [["c1", "c2"], ["c3", "c4"], ["c5"]]
    assert {headers["x-key"] for headers in collector.headers} == {"hidden"}
    again = shell("telemetry", "otlp", "--endpoint", collector.url)
    assert again.out.startswith("0 spans sent")
    assert len(collector.bodies) == 3


@pytest.mark.usefixtures("rows")
def test_from_the_start_the_same_spans_are_sent_again(shell: Shell, collector: FakeCollector):
    for more in ([], ["--from-start"], ["--name", "another"]):
        assert shell("telemetry", "otlp", "--endpoint", collector.url, *more).code == 0
    assert len(collector.bodies) == 3
    assert collector.bodies[0] == collector.bodies[1] == collector.bodies[2]
    assert shell("telemetry", "otlp", "--endpoint", collector.url).out.startswith("0 spans")


@pytest.mark.usefixtures("rows")
def test_the_cursor_stays_where_the_collector_did_not_take(shell: Shell, collector: FakeCollector):
    collector.replies = [Reply(), Reply(400)]
    ended = shell("telemetry", "otlp", "--endpoint", collector.url, "--batch", "2")
    assert (ended.code, ended.out) == (3, "")
    assert "answered 400" in ended.err
    assert shell("telemetry", "otlp", "--endpoint", collector.url).out.startswith("3 spans sent")
    assert collector.call_ids() == [["c1", "c2"], ["c3", "c4"], ["c3", "c4", "c5"]]


@pytest.mark.usefixtures("rows")
def test_an_interrupted_sending_again_goes_on_where_it_stopped(shell: Shell, collector: FakeCollector):
    assert shell("telemetry", "otlp", "--endpoint", collector.url).code == 0
    collector.replies = [Reply(), Reply(400)]
    assert shell("telemetry", "otlp", "--endpoint", collector.url, "--batch", "2", "--from-start").code == 3
    assert shell("telemetry", "otlp", "--endpoint", collector.url).out.startswith("3 spans sent")
    assert collector.call_ids()[-1] == ["c3", "c4", "c5"]


@pytest.mark.usefixtures("rows")
def test_spans_that_are_thrown_away_are_said_and_not_sent_again(shell: Shell, collector: FakeCollector):
    collector.replies = [Reply(body=b'{"partialSuccess": {"rejectedSpans": "2", "errorMessage": "too old"}}')]
    ended = shell("telemetry", "otlp", "--endpoint", collector.url)
    assert ended.code == 1
    assert "threw away 2 of 5 spans: too old" in ended.err
    assert ended.out.startswith("3 spans sent")
    assert shell("telemetry", "otlp", "--endpoint", collector.url).code == 0
    assert len(collector.bodies) == 1


@pytest.mark.usefixtures("rows")
def test_a_dry_run_prints_what_would_be_sent_and_moves_nothing(
    shell: Shell, collector: FakeCollector, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hidden")
    ended = shell("telemetry", "otlp", "--dry-run", "--batch", "4")
    assert ended.code == 0
    assert "hidden" not in ended.out + ended.err
    printed = [json.loads(line) for line in ended.out.splitlines()]
    assert collector.bodies == []
    assert shell("telemetry", "otlp", "--batch", "4").code == 0
    assert collector.bodies == printed
    assert collector.headers[0]["authorization"] == "Bearer hidden"


def test_an_export_to_nowhere_is_refused(shell: Shell):
    for options, word in (
        ([], "where to?"),
        (["--endpoint", "nowhere"], "is no address"),
        (["--endpoint", "http://c", "--header", "secret"], "NAME=VALUE"),
        (["--endpoint", "http://c", "--name", "n" * 201], "1 to 200 characters"),
        (["--endpoint", "http://c", "--batch", "0"], "batch"),
    ):
        ended = shell("telemetry", "otlp", *options)
        assert (ended.code, ended.out) == (2, "")
        assert word in ended.err
