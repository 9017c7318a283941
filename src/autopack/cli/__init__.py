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
from typing import Any

import typer

from autopack.cli import (
    approvals,
    calibrate,
    database,
    demo,
    drain,
    merge,
    phases,
    replay_telemetry,
    review,
    runs,
    telemetry,
    triage,
    usage,
)
from autopack.domain.redaction import RedactingFormatter, Redactor, secrets_of
from autopack.errors import AutopackError, NotReady, UsageError

# Typer carries a click of its own; the base of its usage errors has no public name.
_WrongUsage: Any = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")

app = typer.Typer(
    name="autopack",
    help="Drains a durable queue of LLM coding phases into a git workspace.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("migrate")(database.migrate)
app.command("identity")(database.identity)
app.command("doctor")(database.doctor)
app.command("serve")(database.serve)
app.command("drain")(drain.drain)
app.command("drain-one")(drain.drain_one)
app.command("probe")(drain.probe)
app.command("triage")(triage.triage)
app.command("undo")(review.undo)
app.command("audit")(review.audit)
app.command("seed-telemetry")(runs.seed_telemetry)
app.command("demo")(demo.demo)
app.add_typer(runs.app, name="run")
app.add_typer(phases.app, name="phase")
app.command("usage")(usage.usage)
app.add_typer(usage.app, name="budget")
app.add_typer(approvals.app, name="approvals")
app.command("calibrate")(calibrate.calibrate)
app.command("replay-telemetry")(replay_telemetry.replay_telemetry)
app.add_typer(calibrate.app, name="estimator")
telemetry.app.command("merge")(merge.merge)
app.add_typer(telemetry.app, name="telemetry")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code (DESIGN section 8). No user's mistake ends in a traceback."""
    for stream in (sys.stdout, sys.stderr):
        # A console that cannot show a character shows its escape instead of ending the program.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    _start_logging()
    # What is imported stays: to look through it for garbage again and again is a tenth of a command's start.
    gc.set_threshold(50_000)
    arguments = list(argv) if argv is not None else sys.argv[1:]
    try:
        result = app(arguments, standalone_mode=False)
        sys.stdout.flush()
    except Exception as error:  # noqa: BLE001 - the last place where an error can still become an exit code
        return _exit_code(_meant(error, arguments))
    except SystemExit as stop:
        return _stopped(stop)
    except KeyboardInterrupt:
        return 130
    return result if isinstance(result, int) else 0


def _start_logging() -> None:
    handler = logging.StreamHandler(sys.stderr)
    redactor = Redactor(secrets_of(os.environ))
    handler.setFormatter(RedactingFormatter(redactor, "%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def _stopped(stop: SystemExit) -> int:
    """The code of a server that cannot start. Typer leaves with 1 when nobody reads on (`| head`), which is no error."""
    if isinstance(stop.__context__, BrokenPipeError):
        return 0
    return stop.code if isinstance(stop.code, int) else 1


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


def _exit_code(error: Exception) -> int:
    match error:
        case typer.Exit():
            return error.exit_code
        case _WrongUsage():
            error.show(file=sys.stderr)
            return int(error.exit_code)
        case typer.Abort():
            return 130
        case BrokenPipeError():
            # `autopack ... | head`: nobody reads on, and that is no error.
            sys.stdout = sys.stderr
            return 0
        case AutopackError():
            print(f"autopack: {error}", file=sys.stderr)  # noqa: T201
            return error.exit_code
    told = Redactor(secrets_of(os.environ)).redact("".join(traceback.format_exception(error)))
    print(told, file=sys.stderr, end="")  # noqa: T201
    print("autopack: this is a bug in Autopack; what was finished before it is stored", file=sys.stderr)  # noqa: T201
    return 1


def entry() -> None:
    sys.exit(main())
