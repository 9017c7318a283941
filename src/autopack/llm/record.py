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
        self._path = path
        _check(path)

    async def complete(
        self, messages: Sequence[Message], *, max_tokens: int, label: CallLabel, tool: Tool | None = None
    ) -> Completion:
        completion = await self._llm.complete(messages, max_tokens=max_tokens, label=label, tool=tool)
        if completion.provider_mode is ProviderMode.LIVE:
            answer = line(request_key(self.model, messages, tool), completion)
            await to_thread.run_sync(_append, self._path, answer)
        return completion

    async def aclose(self) -> None:
        await self._llm.aclose()


def line(key: str, completion: Completion) -> dict[str, Any]:
    usage = {name: count for name, count in asdict(completion.usage).items() if count is not None}
    recorded: dict[str, Any] = {
        "key": key,
        "text": completion.text,
        "finish_reason": completion.finish_reason,
    }
    if {"input_tokens", "output_tokens"} <= usage.keys():
        recorded["usage"] = usage
    if completion.tool_call is not None:
        recorded["tool_call"] = completion.tool_call
    return recorded | {"origin": "live"}


def _check(path: Path) -> None:
    """Finds out before the first answer is paid for."""
    try:
        os.close(_open(path))
    except OSError as error:
        raise ModelNotReady(
            f"{path} cannot be recorded into ({error.strerror}); name another with AUTOPACK_RECORD=FILE"
        ) from None
    cassette.load(path)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _append(path: Path, answer: dict[str, Any]) -> None:
    """Appends unless the same question has a whole answer already, which a second one would contradict."""
    with _WRITING:
        known = cassette.load(path).by_key.get(answer["key"])
        if known is not None and (known.reason != "length" or answer["finish_reason"] == "length"):
            return
        content = path.read_bytes()
        start = b"" if content.endswith(b"\n") or not content else b"\n"
        data = start + json.dumps(answer, ensure_ascii=False).encode() + b"\n"
        descriptor = _open(path)
        try:
            while data:
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
