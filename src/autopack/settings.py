"""What a person configures: `AUTOPACK_*` in the environment, and the one rule for the database's URL.

Seen only by `main`, `cli` and `bootstrap`; everything else receives plain values.
"""

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from dotenv.parser import parse_stream
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from autopack.errors import DatabaseRefused, UsageError

log = logging.getLogger(__name__)
PROJECT_MARKS = ("autopack.toml", "pyproject.toml", ".git")
DEFAULT_DATABASE = "autopack.db"


class Settings(BaseSettings):
    """`AUTOPACK_*` of the environment. Provider keys keep the names that their providers gave them."""

    model_config = SettingsConfigDict(
        env_prefix="AUTOPACK_", frozen=True, extra="ignore", env_ignore_empty=True
    )

    api_url: str | None = None
    api_key: SecretStr | None = None
    allowed_hosts: str = ""
    model: str | None = None
    auditor_model: str | None = None
    second_auditor_model: str | None = None
    dual_auditor: bool | None = None
    """Whether a second auditor is asked; unset leaves it to each phase and the workspace's policy."""
    sandbox: Literal["require", "best", "limits"] = "best"
    base_url: str | None = None
    replay: Path | None = None
    record: Path | None = None
    prices: Path | None = None
    """What models cost where no table knows it; see `llm/price_file`."""
    lease_seconds: float = Field(default=60.0, ge=1, le=86_400)
    log_level: str = "WARNING"
    openai_api_key: SecretStr | None = Field(default=None, validation_alias="OPENAI_API_KEY")
    anthropic_api_key: SecretStr | None = Field(default=None, validation_alias="ANTHROPIC_API_KEY")
    output_limit: int = Field(default=64_000, ge=256, le=10_000_000)
    """The most output tokens that a builder may be asked for; autopack.toml may name others by model."""
    truncation_target: float = Field(default=0.05, ge=0.001, le=0.5)
    """How often a builder's first answer may be cut by its budget, in the long run."""
    notify_command: str | None = None
    """A command that is told what happens in a drain: a JSON envelope on its stdin."""
    notify_url: str | None = None
    """The same as a webhook, signed with `notify_secret`."""
    notify_secret: SecretStr | None = None
    notify_timeout_seconds: float = Field(default=10.0, ge=0.1, le=300)
    telemetry_db_enabled: bool = Field(default=True, validation_alias="TELEMETRY_DB_ENABLED")

    @field_validator("api_key")
    @classmethod
    def _sendable(cls, key: SecretStr | None) -> SecretStr | None:
        """It travels in a header."""
        if key is not None and not re.fullmatch(r"[!-~]+", key.get_secret_value()):
            raise ValueError("it holds a space, a line break or an accent")
        return key


def load_settings() -> Settings:
    """The settings of this process. Raises UsageError naming each variable that has a wrong value."""
    try:
        return Settings()
    except ValidationError as error:
        names = [f"{_variable(part['loc'])}: {part['msg']}" for part in error.errors(include_input=False)]
        raise UsageError("wrong settings in the environment: " + "; ".join(names)) from None


def _variable(location: tuple[int | str, ...]) -> str:
    name = str(location[0]) if location else "?"
    return name if name.isupper() else f"AUTOPACK_{name.upper()}"


@dataclass(frozen=True, kw_only=True)
class DatabaseChoice:
    """Which database, by which rule, and what named another one and lost."""

    url: str
    rule: str
    directory: Path
    """Where a relative SQLite path of this URL starts."""
    overruled: tuple[str, ...] = ()


def project_root(directory: Path) -> Path:
    """The nearest parent (or `directory` itself) that carries a mark of a project; without one, `directory`."""
    for parent in (directory, *directory.parents):
        if any((parent / mark).exists() for mark in PROJECT_MARKS):
            return parent
    return directory


def choose_database(
    flag: str | None, environment: Mapping[str, str] = os.environ, directory: Path | None = None
) -> DatabaseChoice:
    """`--database-url`, else DATABASE_URL, else DATABASE_URL in the project's .env, else autopack.db of the project.

    Raises DatabaseRefused where a rule names an empty value: empty is a mistake, not "unset".
    """
    here = directory or Path.cwd()
    root = project_root(here)
    dotenv = root / ".env"
    candidates = [
        ("--database-url", flag, here),
        ("DATABASE_URL in the environment", environment.get("DATABASE_URL"), here),
        (f"DATABASE_URL in {dotenv}", _in_dotenv(dotenv, "DATABASE_URL"), root),
    ]
    named = [(rule, url, base) for rule, url, base in candidates if url is not None]
    _refuse_empty(named)
    if not named:
        url = f"sqlite:///{DEFAULT_DATABASE}"
        return DatabaseChoice(url=url, rule=f"the default of the project in {root}", directory=root)
    return _first_of(named)


def choose_telemetry_database(
    environment: Mapping[str, str] = os.environ, directory: Path | None = None
) -> DatabaseChoice | None:
    """TELEMETRY_DATABASE_URL, else the same in the project's .env; None where telemetry has no database of its own.

    Raises DatabaseRefused where a rule names an empty value.
    """
    here = directory or Path.cwd()
    root = project_root(here)
    name, dotenv = "TELEMETRY_DATABASE_URL", root / ".env"
    candidates = [
        (f"{name} in the environment", environment.get(name), here),
        (f"{name} in {dotenv}", _in_dotenv(dotenv, name), root),
    ]
    named = [(rule, url, base) for rule, url, base in candidates if url is not None]
    _refuse_empty(named)
    return _first_of(named) if named else None


def _refuse_empty(named: list[tuple[str, str, Path]]) -> None:
    for rule, url, _ in named:
        if not url.strip():
            raise DatabaseRefused(f"{rule} is empty. Give it a URL, or remove it to use the next rule.")


def _first_of(named: list[tuple[str, str, Path]]) -> DatabaseChoice:
    rule, url, base = named[0]
    overruled = tuple(
        f"{other} names another: {_masked(value)}" for other, value, _ in named[1:] if value != url
    )
    return DatabaseChoice(url=url, rule=rule, directory=base, overruled=overruled)


def _in_dotenv(dotenv: Path, name: str) -> str | None:
    if not dotenv.is_file():
        return None
    try:
        with dotenv.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except (OSError, UnicodeDecodeError) as error:
        raise DatabaseRefused(
            f"{dotenv} cannot be read ({error}), and it may name the database. Mend it, or move it away."
        ) from None
    if wrong := [str(binding.original.line) for binding in bindings if binding.error]:
        _tell_once(f"{dotenv} has lines that are no NAME=value, which are left out: {', '.join(wrong[:5])}")
    return {binding.key: binding.value for binding in bindings}.get(name)


@cache
def _tell_once(text: str) -> None:
    """The file is read for each name that is looked for in it."""
    log.warning(text)


def _masked(url: str) -> str:
    # Imported here: who works through a server has no use for SQLAlchemy.
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url.strip()).set(query={}).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return "something that is no URL"


def explicit_database(flag: str | None, environment: Mapping[str, str] = os.environ) -> DatabaseChoice | None:
    """The same choice, or None when nobody named a database and only the default is left."""
    choice = choose_database(flag, environment)
    return None if choice.rule.startswith("the default") else choice
