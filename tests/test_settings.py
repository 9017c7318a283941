"""The one rule for the database's URL, and what the environment configures."""

from pathlib import Path

import pytest

from autopack.db.location import locate
from autopack.errors import DatabaseRefused, UsageError
from autopack.settings import (
    choose_database,
    choose_telemetry_database,
    explicit_database,
    load_settings,
    project_root,
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "pyproject.toml").touch()
    return root


def test_the_flag_wins_over_the_environment_over_the_dotenv_over_the_default(project: Path):
    (project / ".env").write_text("DATABASE_URL=sqlite:///dotenv.db\n")
    environment = {"DATABASE_URL": "sqlite:///environment.db"}

    by_flag = choose_database("sqlite:///flag.db", environment, project)
    by_environment = choose_database(None, environment, project)
    by_dotenv = choose_database(None, {}, project)
    (project / ".env").unlink()
    by_default = choose_database(None, {}, project)

    assert (by_flag.url, by_flag.rule) == ("sqlite:///flag.db", "--database-url")
    assert by_environment.url == "sqlite:///environment.db"
    assert by_dotenv.url == "sqlite:///dotenv.db"
    assert (by_default.url, by_default.directory) == ("sqlite:///autopack.db", project)
    assert by_default.rule == f"the default of the project in {project}"


def test_what_was_overruled_is_said(project: Path):
    (project / ".env").write_text("DATABASE_URL=sqlite:///dotenv.db\n")
    choice = choose_database("sqlite:///flag.db", {"DATABASE_URL": "sqlite:///environment.db"}, project)
    assert len(choice.overruled) == 2
    assert "sqlite:///environment.db" in choice.overruled[0]
    assert "sqlite:///dotenv.db" in choice.overruled[1]
    assert (
        choose_database("sqlite:///a.db", {"DATABASE_URL": "sqlite:///a.db"}, project.parent).overruled == ()
    )


def test_a_password_is_never_said(project: Path):
    secret = "postgresql://someone:hunter2secret@db.example/autopack"
    broken = "postgresql://someone:hunter2secret@db.example:not-a-port/autopack"
    for other in (secret, broken):
        choice = choose_database("sqlite:///flag.db", {"DATABASE_URL": other}, project)
        assert "hunter2secret" not in " ".join(choice.overruled)
        assert "DATABASE_URL in the environment" in choice.overruled[0]
    assert "hunter2secret" not in locate(secret, project).masked
    for bad in (broken, "postgresql://someone:hunter2secret@db.example", "mysql://someone:hunter2secret@x/y"):
        with pytest.raises(DatabaseRefused) as refused:
            locate(bad, project)
        assert "hunter2secret" not in str(refused.value)


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_url_is_a_mistake_and_not_unset(project: Path, empty: str):
    with pytest.raises(DatabaseRefused, match="--database-url is empty"):
        choose_database(empty, {}, project)
    with pytest.raises(DatabaseRefused, match="DATABASE_URL in the environment is empty"):
        choose_database(None, {"DATABASE_URL": empty}, project)
    (project / ".env").write_text(f"DATABASE_URL='{empty}'\n")
    with pytest.raises(DatabaseRefused, match=r"DATABASE_URL in .*\.env is empty"):
        choose_database(None, {}, project)
    with pytest.raises(DatabaseRefused, match="is empty"):
        choose_database("sqlite:///good.db", {}, project)


def test_the_telemetry_database_follows_the_same_rules_and_has_no_default(project: Path):
    below, name = project / "deep", "TELEMETRY_DATABASE_URL"
    assert choose_telemetry_database({"DATABASE_URL": "sqlite:///queue.db"}, below) is None
    (project / ".env").write_text(f"DATABASE_URL=sqlite:///queue.db\n{name}=sqlite:///dotenv.db\n")
    by_dotenv = choose_telemetry_database({}, below)
    by_environment = choose_telemetry_database({name: "sqlite:///environment.db"}, below)
    assert by_dotenv is not None
    assert by_environment is not None
    assert (by_dotenv.url, by_dotenv.directory) == ("sqlite:///dotenv.db", project)
    assert (by_environment.url, by_environment.directory) == ("sqlite:///environment.db", below)
    assert by_environment.rule == f"{name} in the environment"
    assert "sqlite:///dotenv.db" in by_environment.overruled[0]
    with pytest.raises(DatabaseRefused, match=f"{name} in the environment is empty"):
        choose_telemetry_database({name: " "}, below)
    (project / ".env").write_text(f"{name}=\n")
    with pytest.raises(DatabaseRefused, match=rf"{name} in .*\.env is empty"):
        choose_telemetry_database({}, below)


def test_a_dotenv_that_cannot_be_read_is_refused_in_words(project: Path):
    (project / ".env").write_bytes(b"DATABASE_URL=sqlite:///\xff\xfe.db\n")
    with pytest.raises(DatabaseRefused, match=r"\.env"):
        choose_database(None, {}, project)


def test_a_dotenv_reaches_only_the_database_and_nothing_is_expanded(
    project: Path, monkeypatch: pytest.MonkeyPatch
):
    (project / ".env").write_text(
        "AUTOPACK_MODEL=openai:x\nOPENAI_API_KEY=k\nDATABASE_URL=sqlite:///${HOME}.db\n"
    )
    monkeypatch.chdir(project)
    assert choose_database(None, {}, project).url == "sqlite:///${HOME}.db"
    assert load_settings().model is None
    assert load_settings().openai_api_key is None


@pytest.mark.parametrize("mark", ["autopack.toml", "pyproject.toml", ".git"])
def test_the_project_is_the_nearest_parent_with_a_mark(tmp_path: Path, mark: str):
    root = tmp_path / "outer" / "inner"
    (root / "below").mkdir(parents=True)
    (tmp_path / "outer" / ".git").mkdir()
    (root / mark).touch()
    assert project_root(root / "below") == root
    assert project_root(root) == root


def test_a_relative_path_starts_where_it_was_named(project: Path):
    below = project / "deep" / "er"
    (project / ".env").write_text("DATABASE_URL=sqlite:///named.db\n")
    by_dotenv = choose_database(None, {}, below)
    assert locate(by_dotenv.url, by_dotenv.directory).path == project / "named.db"
    by_environment = choose_database(None, {"DATABASE_URL": "sqlite:///named.db"}, below)
    assert locate(by_environment.url, by_environment.directory).path == below / "named.db"


def test_a_symlink_is_resolved_once(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert locate(f"sqlite:///{tmp_path}/link/a.db", tmp_path).path == tmp_path / "real" / "a.db"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://host/name", "'mysql' databases are not supported"),
        ("oracle+cx://host/name", "'oracle' databases are not supported"),
        ("autopack.db", "cannot be read"),
        ("sqlite", "cannot be read"),
        ("://", "cannot be read"),
        ("postgresql://host:port/name", "cannot be read"),
        ("postgresql://host", "names no database"),
        ("sqlite://", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///file:x?mode=memory&uri=true", "names no file"),
        ("sqlite:///a.db?cache=shared", "a path and nothing else"),
        ("sqlite://host/a.db", "a path and nothing else"),
        ("sqlite:///a\0b.db", "NUL"),
    ],
)
def test_a_url_that_cannot_hold_a_queue_is_refused(tmp_path: Path, url: str, words: str):
    with pytest.raises(DatabaseRefused, match=words) as refused:
        locate(url, tmp_path)
    assert "sqlite:///FILE" in str(refused.value) or "postgresql://" in str(refused.value) or "NUL" in words


@pytest.mark.parametrize("url", ["postgres://u@h/n", "postgresql://u@h/n", "postgresql+psycopg://u@h/n", "postgresql+psycopg2://u@h/n"])  # fmt: skip
def test_every_spelling_of_postgresql_means_the_same_driver(tmp_path: Path, url: str):
    found = locate(url, tmp_path)
    assert (found.url.drivername, found.dialect, found.path) == ("postgresql+psycopg", "postgresql", None)


def test_a_database_that_nobody_named_is_not_explicit(project: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(project)
    assert explicit_database(None, {}) is None
    named = explicit_database(None, {"DATABASE_URL": "sqlite:///a.db"})
    assert named is not None
    assert named.url == "sqlite:///a.db"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AUTOPACK_LEASE_SECONDS", "abc"), ("AUTOPACK_LEASE_SECONDS", "0"), ("AUTOPACK_LEASE_SECONDS", "-5"),
        ("AUTOPACK_LEASE_SECONDS", "nan"), ("AUTOPACK_LEASE_SECONDS", "inf"), ("AUTOPACK_LEASE_SECONDS", "1e9"),
        ("AUTOPACK_TRUNCATION_TARGET", "0"), ("AUTOPACK_TRUNCATION_TARGET", "0.6"), ("AUTOPACK_TRUNCATION_TARGET", "nan"),
        ("AUTOPACK_OUTPUT_LIMIT", "255"), ("AUTOPACK_OUTPUT_LIMIT", "64k"),
        ("TELEMETRY_DB_ENABLED", "perhaps"),
        ("AUTOPACK_API_KEY", "schl\u00fcssel"), ("AUTOPACK_API_KEY", "two words"), ("AUTOPACK_API_KEY", "line\nbreak"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str):
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=name) as refused:
        load_settings()
    assert "wrong settings in the environment" in str(refused.value)
    assert name != "AUTOPACK_API_KEY" or value not in str(refused.value)


def test_several_wrong_values_are_told_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AUTOPACK_LEASE_SECONDS", "abc")
    monkeypatch.setenv("TELEMETRY_DB_ENABLED", "perhaps")
    with pytest.raises(UsageError, match=r"AUTOPACK_LEASE_SECONDS.*TELEMETRY_DB_ENABLED"):
        load_settings()


def test_an_empty_value_is_unset_and_a_strange_variable_is_nobodys(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AUTOPACK_MODEL", "")
    monkeypatch.setenv("AUTOPACK_LEASE_SECONDS", "")
    monkeypatch.setenv("AUTOPACK_SOMETHING_NEW", "5")
    settings = load_settings()
    assert (settings.model, settings.lease_seconds) == (None, 60.0)


def test_a_key_does_not_show_in_what_is_printed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-verysecret")
    monkeypatch.setenv("AUTOPACK_API_KEY", "alsosecret")
    shown = f"{load_settings()!r} {load_settings()}"
    assert "verysecret" not in shown
    assert "alsosecret" not in shown


def test_a_line_of_env_that_cannot_be_read_is_told_once_in_our_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / ".env").write_text('A=1\nthis is = not "ok\n"quux\nDATABASE_URL=sqlite:///mine.db\n')
    for _ in range(2):
        assert choose_database(None, {}, tmp_path).url == "sqlite:///mine.db"
    assert choose_telemetry_database({}, tmp_path) is None
    told = f"{tmp_path / '.env'} has lines that are no NAME=value, which are left out: 2"
    assert [(each.name, each.getMessage()) for each in caplog.records] == [("autopack.settings", told)]
