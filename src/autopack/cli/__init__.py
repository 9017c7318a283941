"""The command line: the only code that prints, or picks an exit code.

stdout is the result, stderr is the talk. Heavy imports happen inside the commands, so that help is instant.
"""

import errno
import gc
import logging
import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.main import get_command

from autopack.cli.common import say
from autopack.cli.lazy import Root
from autopack.cli.records import JSON_FLAG, ended_badly
from autopack.cli.streams import open_standard_streams
from autopack.domain.redaction import RedactingFormatter, Redactor, secrets_of
from autopack.errors import AutopackError, NotReady, UsageError

# Typer carries a click of its own; the base of its usage errors has no public name.
_WrongUsage: Any = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")

app = typer.Typer(
    name="autopack",
    cls=Root,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from autopack import __version__

        print(f"autopack {__version__}")  # noqa: T201
        raise typer.Exit


@app.callback()
def autopack(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Drains a durable queue of LLM coding phases into a git workspace.

    stdout is the result (JSON with --json), stderr is the talk. Exit codes: 0 done; 1 some phase failed; 2 wrong usage;
    3 refused, or the environment is not ready; 4 API unreachable; 5 waiting for a person; 6 budget reached; 75 waiting
    for a provider's limit; 130, 143 interrupted.
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code (DESIGN section 8). No user's mistake ends in a traceback."""
    open_standard_streams()
    _start_logging()
    # What is imported stays: to look through it for garbage again and again is a tenth of a command's start.
    gc.set_threshold(50_000)
    arguments = list(argv) if argv is not None else sys.argv[1:]
    try:
        # Not Typer's own way to start: it would turn an interrupt and a closed pipe into exit codes before we see them.
        root = get_command(app)
        with root.make_context("autopack", list(arguments)) as context:
            result = root.invoke(context)
        sys.stdout.flush()
    except Exception as error:  # noqa: BLE001 - the last place where an error can still become an exit code
        return _exit_code(_meant(error, arguments), JSON_FLAG in arguments)
    except SystemExit as stop:
        # A server that cannot start.
        return stop.code if isinstance(stop.code, int) else 1
    except KeyboardInterrupt:
        return _exit_code(typer.Abort(), JSON_FLAG in arguments)
    return result if isinstance(result, int) else 0


def _start_logging() -> None:
    handler = logging.StreamHandler(sys.stderr)
    redactor = Redactor(secrets_of(os.environ))
    handler.setFormatter(RedactingFormatter(redactor, "%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def _meant(error: Exception, arguments: Sequence[str]) -> Exception:
    """What no layer below could tell from a bug: text that is no text, and a disk without room."""
    match error:
        case UnicodeEncodeError() if (wrong := _not_text(arguments)) is not None:
            return UsageError(
                f"argument {wrong} of the command is not UTF-8, which all but the names of files must be"
            )
        case OSError(errno=errno.ENOSPC | errno.EDQUOT | errno.EIO):
            # What could not be printed is still in the stream, and would be tried once more at the end.
            sys.stdout = sys.stderr
            return NotReady(
                f"{error.filename or 'the result'} cannot be written: {error.strerror}; what was done before is stored"
            )
    return error


def _not_text(arguments: Sequence[str]) -> int | None:
    """The number of the first that came as bytes that are not UTF-8: Python keeps those as lone surrogates."""
    wrong = (number for number, text in enumerate(arguments, 1) if re.search("[\ud800-\udfff]", text))
    return next(wrong, None)


def _exit_code(error: Exception, as_json: bool) -> int:
    """Tells the person what was wrong, and a script too where it asked for JSON."""
    match error:
        case typer.Exit():
            return error.exit_code
        case BrokenPipeError():
            # `autopack ... | head`: nobody reads on, and that is no error.
            sys.stdout = sys.stderr
            return 0
        case _WrongUsage():
            error.show(file=sys.stderr)
            kind, detail, code = "usage", error.format_message(), int(error.exit_code)
        case typer.Abort():
            kind, detail, code = "interrupted", "interrupted before it was done", 130
        case AutopackError():
            say(f"autopack: {error}")
            kind, detail, code = error.code, str(error), error.exit_code
        case _:
            detail = Redactor(secrets_of(os.environ)).redact("".join(traceback.format_exception(error)))
            say(f"{detail}autopack: this is a bug in Autopack; what was finished before it is stored")
            kind, code = "bug", 1
    if as_json:
        ended_badly(kind, detail, code)
    return code
