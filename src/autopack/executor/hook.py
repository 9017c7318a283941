"""A person's command that is told of a notice: the envelope as JSON on its stdin, and no more of us than that.

It runs with the care of a check: an environment of its own, a time limit, and nothing of it is left afterwards.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from anyio import Path as AsyncPath

from autopack.domain.phases import JsonObject
from autopack.errors import AutopackError
from autopack.workspace.process import Limits, ProcessResult, run_limited
from autopack.workspace.scratch import scratch_directory

# What a desktop needs to show a message, and a person's tools to find what is theirs. No key, no database.
_PASSED_ON = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_[A-Z]+|TZ|TMPDIR|DISPLAY|WAYLAND_DISPLAY|XDG_RUNTIME_DIR"
    r"|DBUS_SESSION_BUS_ADDRESS"
)
_OUTPUT_BYTES = 8 * 1024
# The one shell that is involved: it opens the envelope as stdin and becomes the command, whose words it never reads.
_WITH_ENVELOPE = ("/bin/sh", "-c", 'exec <"$1"; shift; exec "$@"', "autopack")


@dataclass(frozen=True, kw_only=True)
class CommandHook:
    """`command` are its words, the program first; it runs in `directory`."""

    command: Sequence[str]
    directory: Path
    environment: Mapping[str, str]
    timeout_seconds: float
    redact: Callable[[str], str] = lambda text: text
    name: str = "command"

    async def send(self, told: JsonObject) -> str | None:
        """Why it was not told, in a line; None where it was."""
        limits = Limits(wall_seconds=self.timeout_seconds, output_bytes=_OUTPUT_BYTES)
        try:
            async with scratch_directory() as scratch:
                envelope = scratch / "envelope.json"
                await AsyncPath(envelope).write_text(
                    json.dumps(told, ensure_ascii=False) + "\n", encoding="utf-8"
                )
                ended = await run_limited(
                    [*_WITH_ENVELOPE, str(envelope), *self.command], cwd=self.directory,
                    environment=hook_environment(self.environment), limits=limits,
                )  # fmt: skip
        except (AutopackError, OSError) as error:
            return self.redact(str(error))
        return None if ended.exit_code == 0 else self.redact(self._fault(ended))

    def _fault(self, ended: ProcessResult) -> str:
        last = ended.output.strip().rpartition("\n")[2][:300]
        return f"{self.command[0]} {self._how(ended)}{f': {last}' if last else ''}"

    def _how(self, ended: ProcessResult) -> str:
        if ended.timed_out:
            return f"took longer than {self.timeout_seconds:g} s and was ended"
        if ended.exit_code is not None:
            return f"ended with exit code {ended.exit_code}"
        return ended.over_limit or f"was ended by signal {ended.signal}"


def hook_environment(host: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in host.items() if _PASSED_ON.fullmatch(name)}
