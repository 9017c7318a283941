"""docs/cli.md, written from the commands themselves: `python -m autopack.cli.reference > docs/cli.md`. A test compares."""

import sys
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from typing import Any

from typer.main import get_command

from autopack.cli import app
from autopack.cli.commands import COMMANDS
from autopack.cli.json_shapes import SHAPES, VALUES

_HEAD = """# The command line

Written by `python -m autopack.cli.reference > docs/cli.md` from the commands themselves; do not edit.

`autopack COMMAND -h` says the same at the prompt. stdout is the result, stderr is the talk. Old names of options keep working.

## Exit codes

| code | meaning |
| --- | --- |
| 0 | done |
| 1 | some phase failed, or what was asked for did not come about |
| 2 | wrong usage: a flag, a file, a value |
| 3 | refused, or the environment is not ready (database, schema, workspace, model) |
| 4 | the API cannot be reached |
| 5 | waiting for a person |
| 6 | a budget is reached |
| 75 | waiting for a provider's limit |
| 130, 143 | interrupted; of a drain, the first Ctrl-C lets the phases that execute end, the second gives them back |

## JSON

With `--json` a short command prints one JSON value. A long one (its shape below begins with "launch, done") prints two lines
of JSON: a launch record when it begins and a done record when it has ended.

```json
{"record": "launch", "command": "drain", "version": "0.1.0", "pid": 4711, "started_at": "2026-11-22T17:00:00Z",
 "api_url": null, "database": "sqlite:////home/ann/autopack.db", "run_id": "r1", "phase_id": null}
{"record": "done", "command": "drain", "run": {}, "reason": "every phase is complete or skipped", "exit_code": 0}
```

Whatever ends any command otherwise (wrong usage, a refusal, Ctrl-C, a bug) is one line on stdout as well, and words on stderr:

```json
{"record": "done", "exit_code": 3, "error": {"code": "database_refused", "detail": "there is no database at ..."}}
```

`code` is the same as in the API's errors, or `usage`, `interrupted`, `bug`. New keys may come; keys do not change their meaning.
Moments are ISO 8601 in UTC, money is US dollars, durations are seconds where the name says so.
"""


def main() -> None:
    sys.stdout.write(reference())


def reference() -> str:
    return "\n".join([_HEAD, *_commands(), *_values()]).rstrip() + "\n"


def _commands() -> Iterator[str]:
    root: Any = get_command(app)
    context = root.make_context("autopack", [], resilient_parsing=True)
    for title, part in COMMANDS.items():
        yield f"## {title}\n"
        for name in part:
            if " " not in name:
                yield from _command(root.commands[name], context, name)


def _command(command: Any, parent: Any, name: str) -> Iterator[str]:
    context = type(parent)(command, info_name=name, parent=parent)
    path = context.command_path.removeprefix("autopack ")
    yield f"### autopack {path}\n"
    yield f"{_text(command.help)}\n"
    if hasattr(command, "commands"):
        for each, member in command.commands.items():
            yield from _command(member, context, each)
        return
    yield f"```\n{context.command_path} {' '.join(command.collect_usage_pieces(context))}\n```\n"
    rows = [record for each in command.params if (record := each.get_help_record(context)) is not None]
    if rows:
        yield "| option | meaning |\n| --- | --- |"
        yield "\n".join(f"| `{_cell(left)}` | {_cell(right, prose=True)} |" for left, right in rows) + "\n"
    if path in SHAPES:
        yield f"JSON: `{SHAPES[path]}`\n"


def _text(help: str | None) -> str:
    return "\n".join(line.rstrip() for line in (help or "").splitlines())


def _cell(text: str, *, prose: bool = False) -> str:
    """One line, whose signs mean themselves in a table of Markdown."""
    told = " ".join(text.split()).replace("|", "\\|")
    return told.replace("<", "\\<") if prose else told


def _values() -> Iterator[str]:
    """The fields of the values that several commands print, from the classes they are made of."""
    yield "## Values\n"
    yield "What a shape above names with a capital letter.\n"
    for name, place in sorted(VALUES.items()):
        module, _, attribute = place.partition(":")
        names = ", ".join(field.name for field in fields(getattr(import_module(module), attribute)))
        yield f"- **{name}**: {names}"


if __name__ == "__main__":
    main()
