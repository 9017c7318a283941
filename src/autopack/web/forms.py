"""What a form sent, as strict as a body of the API, and the answer to it: back to a page, which says what was done."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi import Depends, Request
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ValidationError

from autopack.api.deps import OriginDep
from autopack.errors import InvalidInput, UsageError
from autopack.schemas import validation_detail
from autopack.web import who

_MOST_FIELDS = 2000
_FORM = "application/x-www-form-urlencoded"
_Body = TypeVar("_Body", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class Form:
    """The fields in the order in which they came. `by` is the person; `actor` is also where the change came from."""

    fields: Sequence[tuple[str, str]]
    by: str
    origin: str

    @property
    def actor(self) -> str:
        return f"{self.by} ({self.origin})"

    def get(self, name: str) -> str:
        """The text, without spaces around it; empty where there is none."""
        return next((value.strip() for key, value in self.fields if key == name), "")

    def has(self, name: str) -> bool:
        return any(key == name for key, _ in self.fields)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]

    def body(self, model: type[_Body], **values: Any) -> _Body:
        """The values as a body of the API; `by` is given. Raises InvalidInput in words."""
        try:
            return model.model_validate({"by": self.by, **values})
        except ValidationError as error:
            raise InvalidInput(validation_detail(error.errors())) from None


async def _form(request: Request, origin: OriginDep) -> Form:
    body = await request.body()
    if body and request.headers.get("content-type", "").split(";")[0].strip().lower() != _FORM:
        raise UsageError(f"a form is sent as {_FORM}; programs use the API")
    try:
        text = body.decode("ascii")
        fields = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise InvalidInput(f"the form cannot be read, or has more than {_MOST_FIELDS} fields") from None
    named = next((value.strip() for key, value in fields if key == "by"), "")
    return Form(fields=fields, by=named or who.of(request) or who.UNNAMED, origin=origin)


FormDep = Annotated[Form, Depends(_form)]


def back(form: Form, fallback: str, done: str, **counts: int) -> RedirectResponse:
    """303 to the page that the form names as `back` (of this server only), else to `fallback`."""
    wanted = local(form.get("back")) or fallback
    parts = urlsplit(wanted)
    kept = [pair for pair in parse_qsl(parts.query) if pair[0] not in ("done", "n", "refused")]
    said = [("done", done), *((name, str(count)) for name, count in counts.items() if count)]
    answer = RedirectResponse(f"{parts.path}?{urlencode([*kept, *said])}", 303)
    if form.get("by"):
        who.remember(answer, form.by)
    return answer


def local(address: str) -> str | None:
    """The address, if it is a page of this server: a form may not send a person anywhere else."""
    plain = address.startswith("/ui/") and address.isascii() and address.isprintable() and "\\" not in address
    return address if plain and ".." not in urlsplit(address).path else None
