"""Who is told what happens in a run: the channels that the environment names."""

import os
import shlex
from pathlib import Path

from autopack.bootstrap import secret_of
from autopack.domain.redaction import Redactor, secrets_of
from autopack.errors import UsageError
from autopack.executor.hook import CommandHook
from autopack.executor.notify import Channel
from autopack.executor.webhook import Webhook, signing_key
from autopack.settings import Settings


def channels_of(settings: Settings) -> tuple[Channel, ...]:
    """Raises UsageError where one of them is named wrongly, before anything is claimed."""
    made: list[Channel] = []
    if settings.notify_command is not None:
        made.append(
            CommandHook(
                command=_words(settings.notify_command), directory=Path.cwd(), environment=os.environ,
                timeout_seconds=settings.notify_timeout_seconds, redact=Redactor(secrets_of(os.environ)).redact,
            )
        )  # fmt: skip
    if settings.notify_url is not None:
        if (secret := secret_of(settings.notify_secret)) is None:
            raise UsageError(
                "AUTOPACK_NOTIFY_URL is set, and AUTOPACK_NOTIFY_SECRET is not: nobody there could tell whose word it is. Set it, too."
            )
        made.append(
            Webhook(
                url=settings.notify_url,
                key=signing_key(secret),
                timeout_seconds=settings.notify_timeout_seconds,
            )
        )
    return tuple(made)


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"AUTOPACK_NOTIFY_COMMAND cannot be parted into words: {error}") from None
    if not words or "\0" in command:
        raise UsageError("AUTOPACK_NOTIFY_COMMAND names no program")
    return words
