"""Options that several commands share, and the two ways to say something: a result, or talk."""

import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from autopack.domain.visible import harmless, harmless_json

if TYPE_CHECKING:
    from autopack.bootstrap import Connection
    from autopack.client import AutopackClient
    from autopack.settings import DatabaseChoice, Settings

T = TypeVar("T")
B = TypeVar("B")

RunArgument = Annotated[str | None, typer.Argument(metavar="RUN", help="The run.", show_default=False)]
PhaseArgument = Annotated[str | None, typer.Argument(metavar="PHASE", help="The phase.", show_default=False)]
RunId = Annotated[str | None, typer.Option("--run-id", help="The run, where it is not named as RUN.")]
PhaseId = Annotated[str | None, typer.Option("--phase-id", help="The phase, where it is not named as PHASE.")]
DatabaseUrl = Annotated[
    str | None, typer.Option("--database-url", help="sqlite:///FILE or postgresql://...; default: DATABASE_URL, .env, ./autopack.db.")
]  # fmt: skip
ApiUrl = Annotated[
    str | None,
    typer.Option("--api-url", help="Work through this server (default: AUTOPACK_API_URL, else in-process)."),
]
InProcess = Annotated[
    bool, typer.Option("--in-process", help="Work in this process, over one database session (the default).")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Workspace = Annotated[Path, typer.Option("--workspace", help="The git repository to build in.")]


def _login_name(context: typer.Context, option: typer.CallbackParam, given: str) -> str:
    """The record should say who it was, also where nobody thinks of saying so."""
    import getpass

    source = context.get_parameter_source(option.name or "by")
    if source is not None and source.name != "DEFAULT":
        return given
    try:
        return getpass.getuser()[:200] or given
    except (KeyError, OSError, ImportError):  # a process whose user has no name
        return given


By = Annotated[
    str,
    typer.Option(
        "--by",
        help="Who decides, for the record (default: your login name).",
        callback=_login_name,
        show_default=False,
    ),
]
Reason = Annotated[str | None, typer.Option("--reason", help="Why; kept with what is changed.")]


def say(text: str) -> None:
    """Talk: stderr. That nobody listens any more, or the log's disk is full, is no reason to stop the work."""
    with suppress(OSError):
        print(harmless(text), file=sys.stderr, flush=True)  # noqa: T201


def either(argument: str | None, option: str | None, name: str, flag: str) -> str:
    """What was named, in one of the two ways. Raises UsageError where that is nothing, or two different things."""
    from autopack.errors import UsageError

    named = {value for value in (argument, option) if value is not None}
    if not named:
        raise UsageError(f"which {name.lower()}? Name it as {name}, or with {flag}")
    if len(named) > 1:
        raise UsageError(f"{name} is {argument}, and {flag} is {option}: name one of them")
    return named.pop()


@contextmanager
def unread_or_not() -> Iterator[None]:
    """For the last words of long work: that nobody reads them must not change the exit code of what was done."""
    try:
        yield
    except BrokenPipeError:
        # What is still in the stream, and what is said after it, goes nowhere; else it would be tried again at the end.
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)


def result(text: str) -> None:
    """A result: stdout. Whatever a plan, a person or a model wrote, a terminal only shows it."""
    print(harmless(text), flush=True)  # noqa: T201


def result_json(value: Any) -> None:
    """Domain values, dates and enums included, as JSON on stdout."""
    result(to_json(value, indent=2))


def to_json(value: Any, *, indent: int | None) -> str:
    from pydantic_core import to_jsonable_python

    # What a console cannot show is escaped as JSON does it, lest the stream's own escapes break the JSON.
    shows_all = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    return harmless_json(json.dumps(to_jsonable_python(value), indent=indent, ensure_ascii=not shows_all))


def connection_for(
    api_url: str | None, in_process: bool, database_url: str | None, *, banner: bool = True
) -> tuple["Connection", "Settings"]:
    """Which way to the queue. Raises UsageError when both ways are named."""
    from autopack.bootstrap import choose_connection
    from autopack.errors import UsageError
    from autopack.settings import load_settings

    if api_url is not None and in_process:
        raise UsageError("--api-url and --in-process exclude each other: name one of them")
    settings = load_settings()
    check_address("--api-url", api_url)
    if not in_process:
        check_address("AUTOPACK_API_URL", settings.api_url)
    connection = choose_connection(
        api_url=api_url, in_process=in_process, database_url=database_url, settings=settings
    )  # fmt: skip
    if banner:
        _banner(connection)
    return connection, settings


def body_of(kind: type[B], **values: Any) -> B:
    """A request's body from options. Raises UsageError naming the option that has a wrong value."""
    from pydantic import ValidationError

    from autopack.errors import UsageError
    from autopack.schemas import validation_detail

    try:
        return kind(**values)
    except ValidationError as error:
        raise UsageError(f"wrong options: {validation_detail(error.errors(include_input=False))}") from None


def check_address(name: str, url: str | None) -> None:
    """Raises UsageError where `url`, given under `name`, cannot be a server's address. Its text may hold a password."""
    from autopack.domain.addresses import fault_of
    from autopack.errors import UsageError

    if url is not None and (fault := fault_of(url)) is not None:
        raise UsageError(f"{name} is no address: {fault}; write http://HOST:PORT")


def _banner(connection: "Connection") -> None:
    from autopack.db.location import locate
    from autopack.domain.addresses import shown_address

    choice = connection.choice
    if connection.api_url is not None:
        say(f"queue: {shown_address(connection.api_url)} (no database is opened here)")
    elif choice is not None:
        say(f"database: {locate(choice.url, choice.directory).masked} ({choice.rule})")
    for other in choice.overruled if choice else ():
        say(f"  note: {other}")


@asynccontextmanager
async def client_for(
    api_url: str | None, in_process: bool, database_url: str | None
) -> AsyncIterator["AutopackClient"]:
    from autopack.bootstrap import open_client

    connection, settings = connection_for(api_url, in_process, database_url, banner=False)
    async with open_client(connection, settings) as client:
        yield client


def with_client(
    api_url: str | None, database_url: str | None, do: Callable[["AutopackClient"], Awaitable[T]]
) -> T:
    """Runs one conversation with the queue."""
    import anyio

    async def talk() -> T:
        async with client_for(api_url, False, database_url) as client:
            return await do(client)

    return anyio.run(talk)


def with_telemetry_client(
    api_url: str | None, database_url: str | None, do: Callable[["AutopackClient"], Awaitable[T]]
) -> T:
    """Runs one conversation with the telemetry database, where there is one of its own; else with the queue's.

    A database or a server that the caller names goes before it.
    """
    import anyio

    from autopack.bootstrap import Connection, open_client
    from autopack.settings import load_settings

    choice = None if api_url is not None or database_url is not None else telemetry_choice()
    if choice is None:
        return with_client(api_url, database_url, do)
    connection, settings = Connection(api_url=None, choice=choice), load_settings()

    async def talk() -> T:
        async with open_client(connection, settings) as client:
            return await do(client)

    _banner(connection)
    return anyio.run(talk)


def telemetry_choice() -> "DatabaseChoice | None":
    """The telemetry database, where one is named. Raises DatabaseRefused when it is the queue's, or a copy of that."""
    from autopack.db.apart import refuse_not_apart
    from autopack.db.location import locate
    from autopack.settings import choose_database, choose_telemetry_database

    choice = choose_telemetry_database()
    if choice is not None:
        queue = choose_database(None)
        refuse_not_apart(locate(queue.url, queue.directory), locate(choice.url, choice.directory))
    return choice
