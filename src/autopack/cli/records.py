"""The records of a long command with --json: one line when it begins, one when it has ended, both on stdout.

A script that starts a drain knows from the first line what it started, and from the last how that ended, whatever
happened in between. A short command prints its one value, or the done record of an error.
"""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from autopack.cli.common import result, to_json, unread_or_not

if TYPE_CHECKING:
    from autopack.bootstrap import Connection

JSON_FLAG = "--json"


def launched(command: str, as_json: bool, connection: "Connection | None" = None, **facts: Any) -> None:
    """The first line. `facts` is what is special about this command: its run, its phase."""
    if not as_json:
        return
    from autopack import __version__
    from autopack.clock import utc_now

    started = {"version": __version__, "pid": os.getpid(), "started_at": utc_now()}
    with unread_or_not():
        _line({"record": "launch", "command": command, **started, **_queue_of(connection), **facts})


def ended(command: str, value: Mapping[str, Any], exit_code: int) -> None:
    """The last line."""
    with unread_or_not():
        _line({"record": "done", "command": command, **value, "exit_code": exit_code})


def ended_badly(code: str, detail: str, exit_code: int) -> None:
    """The last line of any command that was refused, interrupted, or met a bug; stderr has said the same to a person."""
    # Where stdout itself is what failed, the line went the way of the result.
    if sys.stdout is not sys.stderr:
        with suppress(OSError):
            _line({"record": "done", "exit_code": exit_code, "error": {"code": code, "detail": detail}})


def _queue_of(connection: "Connection | None") -> dict[str, str | None]:
    """Where the queue is, without any password: a server, or a database in this process."""
    from autopack.domain.addresses import shown_address

    if connection is None:
        return {}
    if connection.api_url is not None or connection.choice is None:
        return {"api_url": shown_address(connection.api_url or ""), "database": None}
    from autopack.db.location import locate

    return {
        "api_url": None,
        "database": locate(connection.choice.url, connection.choice.directory).masked,
    }


def _line(value: Mapping[str, Any]) -> None:
    result(to_json(value, indent=None))
