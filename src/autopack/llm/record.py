"""Recording: every whole live answer becomes a line of a cassette."""

import json
import os
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from anyio import to_thread

from autopack.domain.messages import CallLabel, Completion, Message, ProviderMode, Tool, request_key
from autopack.errors import ModelNotReady
from autopack.llm import cassette
from autopack.llm.base import LLM

# One for the process: builder and auditor may record into the same file.
_WRITING = threading.Lock()


class RecordingLLM:
    """Holds another LLM and appends what it answers; the line is on disk before the answer is returned."""

    def __init__(self, llm: LLM, path: Path) -> None:
        self.model = llm.model
        self.provider = llm.provider
        self.provider_mode = llm.provider_mode
        self._llm = llm
        self._tape = Tape(path)

    async def complete(
        self, messages: Sequence[Message], *, max_tokens: int, label: CallLabel, tool: Tool | None = None
    ) -> Completion:
        completion = await self._llm.complete(messages, max_tokens=max_tokens, label=label, tool=tool)
        if completion.provider_mode is ProviderMode.LIVE:
            answer = recorded(request_key(self.model, messages, tool), completion)
            await to_thread.run_sync(self._tape.append, answer)
        return completion

    async def aclose(self) -> None:
        await self._llm.aclose()


def recorded(key: str, completion: Completion) -> dict[str, Any]:
    """The line of a cassette that replays this answer."""
    usage = {name: count for name, count in asdict(completion.usage).items() if count is not None}
    answer: dict[str, Any] = {"key": key, "text": completion.text, "finish_reason": completion.finish_reason}
    if {"input_tokens", "output_tokens"} <= usage.keys():
        answer["usage"] = usage
    if completion.tool_call is not None:
        answer["tool_call"] = completion.tool_call
    return answer | {"origin": "live"}


class Tape:
    """A cassette that grows at its end, only by answers that do not contradict it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._reasons: dict[str, str] = {}
        try:
            os.close(self._open())  # a file that cannot be written is found out before an answer is paid for
        except OSError as error:
            raise ModelNotReady(
                f"{path} cannot be recorded into ({error.strerror}); name another with AUTOPACK_RECORD=FILE"
            ) from None
        cassette.load(path)

    def append(self, answer: dict[str, Any]) -> None:
        with _WRITING:
            descriptor = self._open()
            try:
                self._catch_up(descriptor)
                known = self._reasons.get(answer["key"])
                # The same question may be answered again; a whole answer replaces only one that was cut short.
                if known is None or (known == "length" and answer["finish_reason"] != "length"):
                    _write(descriptor, json.dumps(answer, ensure_ascii=False).encode() + b"\n")
            finally:
                os.close(descriptor)

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _catch_up(self, descriptor: int) -> None:
        """Reads what was appended since, by this recorder or another; ends an unended last line."""
        size = os.fstat(descriptor).st_size
        news = os.pread(descriptor, size - self._read, self._read)
        for line in news.split(b"\n"):
            if line.strip():
                answer = cassette.parse(line, f"{self._path} (recording)")
                if answer.key is not None:
                    self._reasons[answer.key] = answer.reason
        if news and not news.endswith(b"\n"):
            _write(descriptor, b"\n")
        self._read = size


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
    os.fsync(descriptor)
