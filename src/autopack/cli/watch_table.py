"""The live table of a run: as many rows as fit, what moves and what failed first."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from rich.console import Group
from rich.table import Table
from rich.text import Text

from autopack.cli.board import duration
from autopack.cli.tables import cost
from autopack.cli.watched import Watched
from autopack.clock import utc_now
from autopack.domain.looks import progress
from autopack.domain.looks.words import first_line, span
from autopack.domain.phases import Phase, PhaseState

_ORDER = (
    PhaseState.EXECUTING, PhaseState.FAILED, PhaseState.GATE, PhaseState.QUEUED, PhaseState.CANCELLED,
    PhaseState.COMPLETE, PhaseState.SKIPPED,
)  # fmt: skip
_STYLES = {
    PhaseState.EXECUTING: "cyan", PhaseState.FAILED: "bold red", PhaseState.GATE: "yellow",
    PhaseState.COMPLETE: "green", PhaseState.SKIPPED: "dim", PhaseState.CANCELLED: "dim",
}  # fmt: skip
_COLUMNS = ("phase", "tier", "state", "try", "tokens", "age", "now")
_NARROW, _WIDE = ("state", "phase", "now"), 72
_BAR, _SHORT_BAR = 24, 10
_AROUND = 7  # lines above and below the rows, one of which may take two
_CLOSED = (PhaseState.COMPLETE, PhaseState.SKIPPED, PhaseState.CANCELLED)


def screen(watched: Watched, *, width: int, height: int) -> Group:
    """Every text is plain: what a plan or a model says is no markup."""
    now = utc_now()
    rows = sorted(watched.phases.values(), key=lambda phase: (_ORDER.index(phase.state), _recent(phase)))
    fit = max(3, height - _AROUND)
    table = Table(box=None, pad_edge=False, header_style="bold")
    names = _COLUMNS if width >= _WIDE else _NARROW
    for name in names:
        table.add_column(
            name, no_wrap=True, overflow="crop", justify="right" if name == "tokens" else "left",
            ratio=1 if name == "now" else None,
        )  # fmt: skip
    for phase in rows[:fit]:
        cells = _cells(watched, phase, now)
        table.add_row(*(cells[name] for name in names))
    more = [Text(f"and {len(rows) - fit} more", style="dim")] if len(rows) > fit else []
    return Group(*_head(watched, _BAR if width >= _WIDE else _SHORT_BAR), table, *more)


def _head(watched: Watched, bar: int) -> Iterable[Text]:
    run, counts = watched.run, watched.run.phase_counts
    full = round(bar * progress.complete(counts) / max(progress.total(counts), 1))
    yield Text(
        f"{run.run_id}  {run.state}, {progress.how_far(counts)}", style="bold", no_wrap=True, overflow="crop"
    )
    cap = f"/{run.token_cap}" if run.token_cap else ""
    left = f", about {duration(watched.seconds_left)} left" if watched.seconds_left and watched.moves else ""
    figures = f"[{'#' * full}{'.' * (bar - full)}]  {run.tokens_used}{cap} tokens{cost(run)}{left}"
    yield Text(figures)
    if run.state_reason:
        yield Text(first_line(run.state_reason), style="yellow")


def _recent(phase: Phase) -> float:
    """In plan order; of what is done the newest first."""
    if phase.state in _CLOSED and phase.completed_at:
        return -phase.completed_at.timestamp()
    return phase.phase_index


def _cells(watched: Watched, phase: Phase, now: datetime) -> dict[str, Text]:
    attempt = watched.open.get(phase.phase_id)
    since = attempt.claimed_at if attempt else phase.updated_at
    doing = attempt.step if attempt else phase.failure_reason if phase.failure_kind else None
    number = f"{attempt.number}" if attempt else f"{phase.attempts}/{phase.max_attempts}"
    told = {
        "phase": phase.phase_id, "tier": phase.tier_id, "try": number, "tokens": str(phase.tokens_used),
        "age": span(max(now - since, timedelta())), "now": first_line(doing),
    }  # fmt: skip
    state = Text(phase.state.value, style=_STYLES.get(phase.state, ""))
    return {"state": state, **{name: Text(text) for name, text in told.items()}}
