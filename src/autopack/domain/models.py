"""Which model a phase gets: the configured one, unless the workspace's autopack.toml overrides it. Pure."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autopack.domain.edits.plan import Format
from autopack.domain.messages import Role
from autopack.errors import InvalidInput

NAME_PATTERN = r"(openai|anthropic):[!-~]+"  # nothing that a terminal obeys, or that looks like another name
_NAME = re.compile(NAME_PATTERN)
_KEYS = ("category", "attempt", "ladder", "format", "output_limit")
DEFAULT = "default"
FORMATS = tuple(Format)
RoleModels = Mapping[Role, str]


@dataclass(frozen=True, kw_only=True)
class ModelTable:
    """The `[models]` table: by task category, by attempt (an entry holds from that attempt on), and the builders' ladder.

    The ladder names builders, weakest first: each failure that asks for a better model goes one step up.
    """

    category: Mapping[str, RoleModels] = field(default_factory=dict)
    attempt: Mapping[int, RoleModels] = field(default_factory=dict)
    ladder: tuple[str, ...] = ()
    formats: Mapping[str, str] = field(default_factory=dict)
    """By model, or for all others under "default": the edit format that its prompt asks for."""
    output_limits: Mapping[str, int] = field(default_factory=dict)
    """By model, or for all others under "default": the most output tokens that it can be asked for."""

    def name_for(self, role: Role, *, task_category: str, attempt: int, escalations: int = 0) -> str | None:
        """The model that overrides the configured one.

        The attempt's entry goes first. Then, for a builder that failed before, its step of the ladder: what a
        category names has had its chance. Then the category's entry, and at last the ladder's first step.
        """
        for number in sorted(self.attempt, reverse=True):
            if number <= attempt and role in self.attempt[number]:
                return self.attempt[number][role]
        step = self.ladder[min(escalations, len(self.ladder) - 1)] if self.ladder else None
        if role is not Role.BUILDER:
            step = None
        if step is not None and escalations:
            return step
        return self.category.get(task_category, {}).get(role, step)

    def has_stronger(self, escalations: int) -> bool:
        """Whether a further failure would bring another builder."""
        return escalations + 1 < len(self.ladder)

    def format_for(self, model: str) -> str:
        return self.formats.get(model) or self.formats.get(DEFAULT, Format.WHOLE_FILES)

    def output_limit_for(self, model: str) -> int | None:
        return self.output_limits.get(model) or self.output_limits.get(DEFAULT)

    def names(self) -> set[str]:
        named = {
            name for roles in (*self.category.values(), *self.attempt.values()) for name in roles.values()
        }
        return named | set(self.ladder)


def load_model_table(text: str | None) -> ModelTable:
    """From the text of an autopack.toml; None when there is no such file. Raises InvalidInput naming the key."""
    try:
        table = tomllib.loads(text or "").get("models", {})
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"autopack.toml is not TOML: {error}") from error
    if not isinstance(table, dict):
        raise InvalidInput("autopack.toml: models must be a table, [models]")
    if unknown := sorted(table.keys() - set(_KEYS)):
        raise InvalidInput(f"autopack.toml: [models] {unknown[0]} is not known; it has {', '.join(_KEYS)}")
    return ModelTable(
        category=_tables(table.get("category", {}), "category"), attempt=_attempts(table.get("attempt", {})),
        ladder=_ladder(table.get("ladder", [])), formats=_formats(table.get("format", {})),
        output_limits=_output_limits(table.get("output_limit", {})),
    )  # fmt: skip


def _attempts(value: Any) -> dict[int, RoleModels]:
    attempts = {}
    for number, roles in _tables(value, "attempt").items():
        if not number.isascii() or not number.isdigit() or int(number) < 1:
            raise InvalidInput(
                f"autopack.toml: [models.attempt.{number}] is no attempt; write a number from 1"
            )
        attempts[int(number)] = roles
    return attempts


def _ladder(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(
        isinstance(name, str) and _NAME.fullmatch(name) for name in value
    ):
        raise InvalidInput("autopack.toml: [models] ladder must be a list of openai:NAME or anthropic:NAME")
    return tuple(value)


def _formats(value: Any) -> dict[str, str]:
    for name, wanted in _by_model(value, "format", "formats").items():
        if wanted not in FORMATS:
            raise InvalidInput(
                f"autopack.toml: [models.format] {name} = {wanted!r} is no format; there are {', '.join(FORMATS)}"
            )
    return dict(value)


def _output_limits(value: Any) -> dict[str, int]:
    for name, limit in _by_model(value, "output_limit", "output limits").items():
        if isinstance(limit, bool) or not isinstance(limit, int) or not 256 <= limit <= 10_000_000:
            raise InvalidInput(
                f"autopack.toml: [models.output_limit] {name} = {limit!r} is no number of tokens; write 256 to 10000000"
            )
    return dict(value)


def _by_model(value: Any, what: str, of_what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(f"autopack.toml: [models.{what}] must be a table of {of_what} by model")
    for name in value:
        if name != DEFAULT and not _NAME.fullmatch(name):
            raise InvalidInput(
                f"autopack.toml: [models.{what}] {name!r} is no model; write openai:NAME or {DEFAULT}"
            )
    return value


def _tables(value: Any, what: str) -> dict[str, RoleModels]:
    if not isinstance(value, dict):
        raise InvalidInput(f"autopack.toml: [models] {what} must hold tables, as [models.{what}.NAME]")
    return {name: _roles(roles, f"models.{what}.{name}") for name, roles in value.items()}


def _roles(value: Any, where: str) -> RoleModels:
    if not isinstance(value, dict) or not value.keys() <= set(Role):
        raise InvalidInput(f"autopack.toml: [{where}] must name models for builder or auditor")
    for role, name in value.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidInput(
                f"autopack.toml: [{where}] {role} = {name!r}: write openai:NAME or anthropic:NAME"
            )
    return {Role(role): name for role, name in value.items()}
