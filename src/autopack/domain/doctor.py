"""What `doctor` finds, and how it is judged: ok, worth a look, or in the way. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from autopack.domain.caps import DailyAccount

LITTLE_DISK_BYTES = 200 * 2**20
LOW_DISK_BYTES = 2**30
SKEW = timedelta(seconds=30)
_READ_FROM_DOTENV = frozenset({"DATABASE_URL", "TELEMETRY_DATABASE_URL"})
_OURS = ("AUTOPACK_", "TELEMETRY_")
PROVIDER_KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY")


class Level(StrEnum):
    """`note` is worth a look and no fault; `bad` is in the way of a drain, or means that something was lost."""

    OK = "ok"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """`fix` is what to run, or what `doctor --fix` does; None where nothing is to be done."""

    name: str
    level: Level
    detail: str
    fix: str | None = None


def ok(name: str, detail: str) -> Finding:
    return Finding(name=name, level=Level.OK, detail=detail)


def note(name: str, detail: str, fix: str | None = None) -> Finding:
    return Finding(name=name, level=Level.NOTE, detail=detail, fix=fix)


def bad(name: str, detail: str, fix: str | None = None) -> Finding:
    return Finding(name=name, level=Level.BAD, detail=detail, fix=fix)


def is_well(findings: Iterable[Finding]) -> bool:
    return all(finding.level is not Level.BAD for finding in findings)


def judge_disk(name: str, free_bytes: int, where: str) -> Finding:
    detail = f"{free_bytes // 2**20} MiB free {where}"
    if free_bytes < LITTLE_DISK_BYTES:
        return bad(name, detail, "free some space before a drain: a full disk ends it")
    return (
        note(name, detail, "more than 1 GiB is comfortable")
        if free_bytes < LOW_DISK_BYTES
        else ok(name, detail)
    )


def judge_clock(
    ours: datetime, moments: Mapping[str, datetime | None], *, both_ways: Collection[str]
) -> Finding:
    """`moments` by whose they are. Most can only be too late; the clocks among `both_ways` too early as well."""
    off = [
        f"{whose} is {_apart(at - ours)}"
        for whose, at in moments.items()
        if at is not None and (at - ours > SKEW or (whose in both_ways and ours - at > SKEW))
    ]
    if not off:
        return ok("clock", f"{ours:%Y-%m-%d %H:%M:%S} UTC")
    detail = f"here it is {ours:%Y-%m-%d %H:%M:%S} UTC, and " + "; ".join(off)
    return bad("clock", detail, "set the clock (NTP): leases, waits and caps of a day go by it")


def _apart(by: timedelta) -> str:
    seconds = int(by.total_seconds())
    return f"{abs(seconds)} s {'ahead' if seconds > 0 else 'behind'}"


def judge_daily(daily: DailyAccount) -> Finding:
    """A cap that lets nothing through stops every run."""
    name, account = "daily caps", daily.account
    if account.token_cap is None and account.cost_cap_usd is None:
        return ok(name, "none")
    shown = [
        f"{used} used and {held} set aside of {cap} {unit}"
        for used, held, cap, unit in (
            (account.tokens_used, account.tokens_reserved, account.token_cap, "tokens"),
            (f"{account.cost_usd:.4g}", f"{account.cost_reserved_usd:.4g}", account.cost_cap_usd, "USD"),
        )
        if cap is not None
    ]
    detail = f"{daily.day} (UTC): {', '.join(shown)}"
    tokens_gone = account.token_cap is not None and account.tokens_used >= account.token_cap
    money_gone = account.cost_cap_usd is not None and account.cost_usd >= account.cost_cap_usd
    if tokens_gone or money_gone:
        fix = f"`autopack budget set` raises a cap; the day ends at {daily.ends_at:%H:%M} UTC"
        return note(name, f"{detail}: no live call fits any more", fix)
    return ok(name, detail)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One assignment of a .env file."""

    name: str
    value: str | None


def judge_dotenv(
    path: str, lines: Iterable[Line], environment: Mapping[str, str], *, mode: int
) -> list[Finding]:
    """What a person may believe of the file that is not so. Values are never shown."""
    told, given = "dotenv", list(lines)
    ours = [line for line in given if _is_ours(line.name)]
    found = []
    for each in sorted({line.name for line in ours if line.name in _READ_FROM_DOTENV}):
        values = [line.value for line in ours if line.name == each]
        if len(values) > 1:
            found.append(
                note(told, f"{path} names {each} {len(values)} times; the last one counts", "keep one")
            )
    for each in sorted({line.name for line in ours} - _READ_FROM_DOTENV):
        found.append(
            _not_read(told, path, each, [line.value for line in ours if line.name == each], environment)
        )
    if mode & 0o077 and any(_is_secret(line) for line in given):
        words = f"{path} holds secrets and may be read by others than its owner (mode {mode & 0o777:o})"
        found.append(note(told, words, f"chmod 600 {path}"))
    return found or [ok(told, f"{path}: nothing that would mislead")]


def _not_read(
    told: str, path: str, name: str, values: list[str | None], environment: Mapping[str, str]
) -> Finding:
    detail = f"{path} names {name}, which is not read from there"
    if name in environment:
        same = environment[name] == values[-1]
        return note(
            told, f"{detail}; the environment has {'the same' if same else 'another'} value, which counts"
        )
    return note(told, f"{detail}, and the environment has none", f"export it: set -a; . {path}; set +a")


def _is_ours(name: str) -> bool:
    return name.startswith(_OURS) or name in _READ_FROM_DOTENV or name in PROVIDER_KEYS


def _is_secret(line: Line) -> bool:
    if not line.value:
        return False
    parts = line.name.upper().split("_")
    named = {"KEY", "TOKEN", "SECRET", "PASSWORD"} & set(parts)
    return bool(named) or ("://" in line.value and "@" in line.value)


class Fault(StrEnum):
    """Kinds of rows that contradict each other; none of them is ever to be there."""

    CALLS_OF_ENDED = "calls_of_ended"
    GATE_WITHOUT_REQUEST = "gate_without_request"
    REQUEST_WITHOUT_GATE = "request_without_gate"
    EXECUTING_WITHOUT_ATTEMPT = "executing_without_attempt"
    ATTEMPT_WITHOUT_EXECUTING = "attempt_without_executing"
    RUN_WITHOUT_OPEN_PHASE = "run_without_open_phase"
    TOKENS_UNEXPLAINED = "tokens_unexplained"


@dataclass(frozen=True, kw_only=True)
class Orphans:
    """Rows of one kind: how many, and the first of them, as "run" or "run phase"."""

    fault: Fault
    number: int
    examples: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What the database says of itself: `at` by the clock of who asked it, `database_at` by its own, where it has one."""

    at: datetime
    database_at: datetime | None
    newest_event_at: datetime | None
    orphans: tuple[Orphans, ...]


_WORDS = {
    Fault.CALLS_OF_ENDED: (
        "model calls hold room in caps although their attempt has ended",
        "raise the run's cap by what they hold; `autopack usage` shows them as reserved",
    ),
    Fault.GATE_WITHOUT_REQUEST: (
        "phases wait for a person (GATE) without a request that one could decide",
        "autopack phase requeue RUN PHASE",
    ),
    Fault.REQUEST_WITHOUT_GATE: (
        "requests are pending for phases that do not wait for a person",
        "autopack approvals reject ID --reason '...' where the work is done another way",
    ),
    Fault.EXECUTING_WITHOUT_ATTEMPT: (
        "phases are EXECUTING without an attempt, so no lease of theirs will ever run out",
        "restore a backup (autopack restore), or tell the project: this is a bug",
    ),
    Fault.ATTEMPT_WITHOUT_EXECUTING: (
        "attempts are open although their phase is not EXECUTING",
        "restore a backup (autopack restore), or tell the project: this is a bug",
    ),
    Fault.RUN_WITHOUT_OPEN_PHASE: (
        "runs are RUNNING although none of their phases is open",
        "autopack drain --run-id RUN settles it",
    ),
    Fault.TOKENS_UNEXPLAINED: (
        "runs have set aside more, or fewer, tokens than their calls explain",
        "nothing is recounted by itself: `autopack usage --run-id RUN` shows the calls",
    ),
}


def judge_orphans(found: Iterable[Orphans]) -> list[Finding]:
    findings = []
    for each in found:
        if each.number:
            words, fix = _WORDS[each.fault]
            more = ", ..." if each.number > len(each.examples) else ""
            findings.append(bad("orphans", f"{each.number} {words}: {', '.join(each.examples)}{more}", fix))
    return findings or [ok("orphans", "no row contradicts another")]


@dataclass(frozen=True, kw_only=True)
class UnderWay:
    """An attempt that has not ended. `dead` says that its worker was on this machine and is certainly gone."""

    run_id: str
    phase_id: str
    worker: str
    expired: bool
    dead: bool


def judge_attempts(open_attempts: Iterable[UnderWay]) -> list[Finding]:
    every = list(open_attempts)
    lost = [each for each in every if each.expired or each.dead]
    found = [
        note(
            "attempts",
            f"{each.run_id} {each.phase_id} is held by {'a worker that is gone' if each.dead else 'a lease that ran out'}",
            f"--fix gives it back; so does the next `autopack drain --run-id {each.run_id}`",
        )
        for each in lost
    ]
    return found or [
        ok(
            "attempts",
            f"{len(every)} under way, of workers that renew their leases" if every else "none under way",
        )
    ]
