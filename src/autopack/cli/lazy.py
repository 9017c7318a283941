"""The tree of commands, each of which is imported when it is asked for: help and wrong usage cost no other command."""

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

from autopack.cli.commands import COMMANDS, Command

if TYPE_CHECKING:
    # Typer carries a click of its own, whose names are not public.
    ClickCommand = Any
    Context = Any
    HelpFormatter = Any


class _Loaded(MutableMapping[str, "ClickCommand"]):
    """The commands by name. Asking for one imports it; asking which there are imports nothing."""

    def __init__(self, table: Mapping[str, Command]) -> None:
        self._table = table
        self._commands: dict[str, ClickCommand] = {}

    def __getitem__(self, name: str) -> "ClickCommand":
        if name not in self._commands:
            self._commands[name] = _load(name, self._table[name], self._table)
        return self._commands[name]

    def __setitem__(self, name: str, command: "ClickCommand") -> None:
        self._commands[name] = command

    def __delitem__(self, name: str) -> None:
        del self._commands[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._table if " " not in name)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Group(TyperGroup):
    """Says the whole first line of each command's help, which Typer would cut at the end of the line."""

    def get_help_option(self, ctx: "Context") -> Any:
        option = super().get_help_option(ctx)
        if option is not None:
            # A flag without any value would be read by pydantic, whose import costs as much as all the rest.
            option.default = False
        return option

    def format_commands(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        rows = [(name, first_line(command)) for name, command in self.commands.items() if not command.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class Root(Group):
    """The command `autopack` itself."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Loaded({name: one for part in COMMANDS.values() for name, one in part.items()})

    def format_commands(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """The table of commands, without importing any of them."""
        for title, part in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name, one.help) for name, one in part.items() if " " not in name])


def _load(name: str, command: Command, table: Mapping[str, Command]) -> "ClickCommand":
    found = _found(command)
    if not isinstance(found, typer.Typer):
        return _single(name, found)
    # Plain text: Rich's panels need characters that some consoles lack, and take longer to import than to read.
    found.rich_markup_mode, found.info.cls = None, Group
    group = get_group(found)
    group.name, group.help = name, command.help
    for member in group.commands.values():
        _name_arguments(member)
    for both, joined in table.items():
        if both.startswith(f"{name} "):
            own = both.removeprefix(f"{name} ")
            group.add_command(_single(own, _found(joined)), own)
    return group


def _found(command: Command) -> Any:
    module, _, attribute = command.place.partition(":")
    return getattr(import_module(f"autopack.cli.{module}"), attribute)


def _single(name: str, function: Any) -> "ClickCommand":
    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    app.command(name)(function)
    command = get_command(app)
    _name_arguments(command)
    return command


def _name_arguments(command: "ClickCommand") -> None:
    """RUN instead of run_id: an argument is shown by what it is."""
    for each in command.params:
        if each.param_type_name == "argument":
            name = each.metavar or each.name.removesuffix("_id").upper()
            each.metavar = name.strip("[]")  # Typer puts its own brackets around one that may be left out


def first_line(command: "ClickCommand") -> str:
    return str(command.help or "").partition("\n")[0]
