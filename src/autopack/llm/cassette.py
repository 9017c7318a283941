"""Cassettes: recorded or hand-written answers, one JSON object a line."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from autopack.domain.messages import CallLabel, Role
from autopack.domain.storable import MAX_TOKENS
from autopack.errors import ModelNotReady

Tokens = Annotated[int, Field(ge=0, le=MAX_TOKENS)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Match(_Strict):
    """Which requests a hand-written answer is for; a field that is left out matches everything."""

    role: Role | None = None
    run_id: str | None = None
    phase_id: str | None = None
    ask: Annotated[int, Field(ge=1)] | None = None

    def fits(self, label: CallLabel) -> bool:
        wanted = self.model_dump(exclude_none=True)
        return all(getattr(label, name) == value for name, value in wanted.items())

    @property
    def fields_given(self) -> int:
        return len(self.model_dump(exclude_none=True))


class RecordedUsage(_Strict):
    input_tokens: Tokens
    output_tokens: Tokens
    cache_read_input_tokens: Tokens | None = None
    cache_write_input_tokens: Tokens | None = None
    reasoning_output_tokens: Tokens | None = None

    @model_validator(mode="after")
    def _parts_within_the_whole(self) -> Self:
        cached = (self.cache_read_input_tokens or 0) + (self.cache_write_input_tokens or 0)
        if cached > self.input_tokens:
            raise ValueError("cached tokens are part of input_tokens, which is smaller")
        if (self.reasoning_output_tokens or 0) > self.output_tokens:
            raise ValueError("reasoning_output_tokens is part of output_tokens, which is smaller")
        return self


class Answer(_Strict):
    """One line of a cassette."""

    key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    match: Match | None = None
    text: str | dict[str, Any] = ""
    usage: RecordedUsage | None = None
    finish_reason: Annotated[str, Field(min_length=1)] | None = None
    origin: Literal["live", "synthetic"] | None = None
    tool_call: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _found_one_way_and_says_something(self) -> Self:
        if (self.key is None) == (self.match is None):
            raise ValueError('exactly one of "key" and "match" is needed')
        if "text" not in self.model_fields_set and self.tool_call is None:
            raise ValueError('"text" or "tool_call" is needed')
        return self

    @property
    def body(self) -> str:
        return self.text if isinstance(self.text, str) else json.dumps(self.text, ensure_ascii=False)

    @property
    def reason(self) -> str:
        return self.finish_reason or ("stop" if self.tool_call is None else "tool_call")

    @property
    def source(self) -> str:
        return self.origin or ("live" if self.key else "synthetic")


class Readable(Protocol):
    """A path, or a file inside the package."""

    def read_bytes(self) -> bytes: ...


@dataclass(frozen=True, kw_only=True)
class Cassette:
    name: str
    by_key: dict[str, Answer] = field(default_factory=dict)
    by_match: tuple[Answer, ...] = ()

    def find(self, key: str, label: CallLabel) -> Answer | None:
        """A recorded answer first; then the most specific match, the first in the file among equals."""
        if key in self.by_key:
            return self.by_key[key]
        return next((answer for answer in self.by_match if answer.match and answer.match.fits(label)), None)


def load(path: Path | Readable, name: str | None = None) -> Cassette:
    """Reads the whole cassette, or says which line is wrong."""
    name = name or str(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelNotReady(
            f"cassette {name} cannot be read ({error.strerror}); name another with AUTOPACK_REPLAY=FILE"
        ) from None
    by_key: dict[str, Answer] = {}
    by_match: dict[Match, Answer] = {}
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            _add(parse(line, f"{name} line {number}"), f"{name} line {number}", by_key, by_match)
    ranked = sorted(by_match.values(), key=lambda answer: -answer.match.fields_given if answer.match else 0)
    return Cassette(name=name, by_key=by_key, by_match=tuple(ranked))


def parse(line: bytes, where: str) -> Answer:
    try:
        return Answer.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field_name = ".".join(str(part) for part in first["loc"])
        raise ModelNotReady(
            f"cassette {where}: {field_name + ': ' if field_name else ''}{first['msg']}"
        ) from None


def _add(answer: Answer, where: str, by_key: dict[str, Answer], by_match: dict[Match, Answer]) -> None:
    if answer.key is not None:
        known = by_key.get(answer.key)
        # The same question asked again with a larger budget is recorded again; the whole answer counts.
        if known is not None and known.reason != "length":
            raise ModelNotReady(f"cassette {where}: a second answer for the same key; remove one of them")
        by_key[answer.key] = answer
    elif answer.match is not None:
        if answer.match in by_match:
            raise ModelNotReady(f"cassette {where}: a second answer for the same match; remove one of them")
        by_match[answer.match] = answer
