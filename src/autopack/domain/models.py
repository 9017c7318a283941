"""Which model a phase gets: the configured one, unless the workspace's autopack.toml overrides it. Pure."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autopack.domain.messages import Role
from autopack.errors import InvalidInput

_NAME = re.compile(r"(openai|anthropic):\S+")
RoleModels = Mapping[Role, str]


@dataclass(frozen=True, kw_only=True)
class ModelTable:
    """The `[models]` table: by task category, and by attempt (an entry holds from that attempt on)."""

    category: Mapping[str, RoleModels] = field(default_factory=dict)
    attempt: Mapping[int, RoleModels] = field(default_factory=dict)

    def name_for(self, role: Role, *, task_category: str, attempt: int) -> str | None:
        """The model that overrides the configured one; the attempt's goes before the category's."""
        for number in sorted(self.attempt, reverse=True):
            if number <= attempt and role in self.attempt[number]:
                return self.attempt[number][role]
        return self.category.get(task_category, {}).get(role)

    def names(self) -> set[str]:
        return {
            name for roles in (*self.category.values(), *self.attempt.values()) for name in roles.values()
        }


def load_model_table(text: str | None) -> ModelTable:
    """From the text of an autopack.toml; None when there is no such file. Raises InvalidInput naming the key."""
    try:
        table = tomllib.loads(text or "").get("models", {})
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"autopack.toml is not TOML: {error}") from error
    if not isinstance(table, dict):
        raise InvalidInput("autopack.toml: models must be a table, [models]")
    if unknown := sorted(table.keys() - {"category", "attempt"}):
        raise InvalidInput(f"autopack.toml: [models] {unknown[0]} is not known; it has category, attempt")
    attempts = {}
    for number, roles in _tables(table.get("attempt", {}), "attempt").items():
        if not number.isascii() or not number.isdigit() or int(number) < 1:
            raise InvalidInput(
                f"autopack.toml: [models.attempt.{number}] is no attempt; write a number from 1"
            )
        attempts[int(number)] = roles
    return ModelTable(category=_tables(table.get("category", {}), "category"), attempt=attempts)


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
