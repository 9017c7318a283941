"""What happened, as a person reads it: one line for each event. Pure."""

import json
import re
from collections.abc import Callable, Mapping

from autopack.domain.looks.words import first_line, process, spoken
from autopack.domain.phases import Event, JsonObject

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_Told = Callable[[JsonObject], str]


def what(event: Event) -> str:
    """What was done, and about which phase. No control character of a reason or of an id reaches a terminal."""
    words = _WORDS.get(event.kind)
    told = f"{event.kind} {_values(event.detail)}" if words is None else words(event.detail)
    reason = first_line(str(event.detail.get("reason") or ""))
    about = f"{event.phase_id}: " if event.phase_id else ""
    return plain(f"{about}{told}" + (f" ({reason})" if reason else ""))


def who(event: Event) -> str:
    """A person with where they sat, or a worker's process."""
    return plain(process(event.actor))


def plain(text: str) -> str:
    return _CONTROLS.sub(" ", text).strip()


def changes(changed: Mapping[str, object]) -> str:
    """token_cap: none -> 5000, concurrency: 1 -> 4."""
    return ", ".join(
        f"{name}: {_value(pair[0])} -> {_value(pair[1])}" if isinstance(pair, list) and len(pair) == 2 else name
        for name, pair in changed.items()
    )  # fmt: skip


def _value(value: object) -> str:
    return "none" if value is None else str(value)


def _values(detail: JsonObject) -> str:
    known = {name: value for name, value in detail.items() if name != "reason" and value is not None}
    return json.dumps(known, ensure_ascii=False) if known else ""


def _finished(detail: JsonObject) -> str:
    kind = f", {spoken(str(detail['failure_kind']))}" if detail.get("failure_kind") else ""
    return f"attempt ended as {detail.get('outcome')}{kind}; the phase is {detail.get('state')}"


def detail(event: Event) -> str:
    """What a kind and a state leave unsaid: what was changed to what, and why."""
    told = {"run_changed": changes, "daily_caps_changed": changes}.get(event.kind)
    said = told(event.detail.get("changes") or {}) if told else ""
    if event.kind == "pause_after":
        said = _WORDS[event.kind](event.detail)
    return plain(": ".join(filter(None, [said, first_line(str(event.detail.get("reason") or ""))])))


_WORDS: dict[str, _Told] = {
    "run_created": lambda _: "run created",
    "run_state": lambda detail: f"the run is {detail.get('state')}",
    "run_changed": lambda detail: f"the run changed: {changes(detail.get('changes', {}))}",
    "claimed": lambda detail: f"attempt {detail.get('number')} begun",
    "finished": _finished,
    "phase_state": lambda detail: f"the phase is {detail.get('state')}",
    "pause_after": lambda detail: (
        f"the run {'pauses' if detail.get('pause') else 'does not pause'} when this phase has ended"
    ),
    "approved": lambda _: "approved",
    "rejected": lambda _: "rejected",
    "approval_expired": lambda _: "nobody decided in time",
    "approval_void": lambda _: "the request for approval is void",
    "undone": lambda detail: f"the commit was taken back by {str(detail.get('undo_commit'))[:12]}",
    "daily_caps_changed": lambda detail: f"daily caps changed: {changes(detail.get('changes', {}))}",
    "estimator_activated": lambda detail: (
        f"estimator {detail.get('version')} is in force instead of {detail.get('before')}"
    ),
    "triage_begun": lambda detail: f"triage session {detail.get('session_id')} goes to work",
    "triage_stopped": lambda detail: f"triage session {detail.get('session_id')} stopped",
}
