"""What runs and phases are called here; and what those are called that telemetry names though they do not exist."""

from collections.abc import Iterable, Sequence

from autopack.db.adopt import names
from autopack.db.adopt.values import Value, key_of, text

_LONGEST = 200


class KnownIds:
    """What does not exist never gets an id that is in use, for its tokens would count as those of another."""

    def __init__(self) -> None:
        self._runs: dict[str | None, str] = {}
        self._phases: dict[str | None, dict[str | None, str]] = {}
        self._phase_ids: dict[str | None, frozenset[str]] = {}

    def add_runs(self, keys: Sequence[str], mentioned: Iterable[Value]) -> list[str]:
        """Their ids. `mentioned` are run ids as the telemetry has them."""
        there = frozenset(keys)
        stored = {key: _stored(each) for each in mentioned if (key := key_of(each)) is not None}
        gone = {key: found for key, found in stored.items() if found and key not in there}
        ids = names.ids(keys, "run", gone.values())
        self._runs.update(self._named_apart(gone, ids))
        self._runs.update(zip(keys, ids, strict=True))
        return ids

    def _named_apart(self, gone: dict[str, str], ids: Iterable[str]) -> dict[str, str]:
        """What was another id before it was cut and mended must not be equal to one that is."""
        found = {key: stored for key, stored in gone.items() if key == stored}
        used = {*ids, *found}
        for key, stored in gone.items():
            if key not in found:
                found[key] = names.id_like(stored, "run", used) if stored in used else stored
                used.add(found[key])
        return found

    def add_phases(self, run_key: str, keys: Sequence[str | None]) -> list[str]:
        ids = names.ids(keys, "phase")
        first = dict(zip(reversed(keys), reversed(ids), strict=True))
        self._phases[run_key] = {was: now for was, now in first.items() if was is not None}
        self._phase_ids[run_key] = frozenset(ids)
        return ids

    def run_id(self, said: Value) -> str | None:
        return self._runs.get(key_of(said)) or _stored(said)

    def phase_id(self, run_key: str | None, said: Value) -> str | None:
        if found := self._phases.get(run_key, {}).get(key_of(said)):
            return found
        stored, used = _stored(said), self._phase_ids.get(run_key, frozenset())
        return names.id_like(stored, "phase", used) if stored in used else stored


def _stored(said: Value) -> str | None:
    return text(said, _LONGEST)
