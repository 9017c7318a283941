"""What a page says after a change. The address carries a code of this table and a count, never text."""

from collections.abc import Mapping

_SAID = {
    "paused": "The run is paused: nothing more is claimed, what is executing ends as it would.",
    "resumed": "The run goes on.",
    "cancelled": "The run is cancelled.",
    "changed": "The run's settings are changed; they hold from the next claim on.",
    "requeued": "{n} requeued: due again, with all attempts.",
    "skipped": "{n} skipped: what waited for them is no longer held back.",
    "pause_after": "The run will pause when this phase has ended.",
    "no_pause_after": "The run will not pause after this phase.",
    "approved": "{n} approved: the next drain applies exactly the diff that was shown.",
    "rejected": "{n} rejected: the phase is failed, with your reason.",
    "named": "Your name goes with every change that you make here.",
    "logged_in": "You are logged in.",
    "logged_out": "You are logged out.",
    "seen": "Seen. The next visit begins here.",
    "nothing": "Nothing was chosen, so nothing was changed.",
}
_REFUSED = "{n} could not be changed: their state had moved on. Nothing was done about them."


def message(query: Mapping[str, str]) -> str | None:
    """Of `?done=CODE&n=COUNT&refused=COUNT`; an unknown code says nothing."""
    said = _SAID.get(query.get("done", ""))
    refused = _count(query.get("refused"))
    parts = [said.format(n=_count(query.get("n")) or 1)] if said else []
    if refused:
        parts.append(_REFUSED.format(n=refused))
    return " ".join(parts) or None


def _count(given: str | None) -> int:
    return int(given) if given and given.isdecimal() and given.isascii() and len(given) < 7 else 0
