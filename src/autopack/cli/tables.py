"""Runs and phases as text."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autopack.domain.phases import Phase, Run

_WHY_CHARS = 80


def run_line(run: "Run") -> str:
    """State, phases by state, tokens and cost against their caps."""
    from autopack.domain.looks.words import count

    counts = ", ".join(f"{number} {state}" for state, number in sorted(run.phase_counts.items()))
    cap = f" of {run.token_cap}" if run.token_cap else ""
    unknown = (
        f" and {count(run.calls_of_unknown_usage, 'call')} whose usage is unknown"
        if run.calls_of_unknown_usage
        else ""
    )
    reason = f" ({run.state_reason})" if run.state_reason else ""
    return f"{run.state}{reason}; {counts or 'no phases'}; {run.tokens_used}{cap} tokens{unknown}{cost(run)}"


def run_settings(run: "Run") -> str:
    """What holds for every drain of the run because a person said so; empty where nothing does."""
    told = {
        "concurrency": run.concurrency, "builder": run.builder_model, "max_phases": run.max_phases,
        "max_duration_minutes": run.max_duration_minutes,
    }  # fmt: skip
    return ", ".join(f"{name} {value}" for name, value in told.items() if value is not None)


def cost(run: "Run") -> str:
    """The row counts known costs alone: where that is nothing, calls were free, or of unknown cost. `usage` tells them apart."""
    if not run.cost_usd and not run.cost_cap_usd:
        return ""
    return f", {run.cost_usd:.4f}{f' of {run.cost_cap_usd}' if run.cost_cap_usd else ''} USD"


def phase_table(phases: Sequence["Phase"]) -> str:
    rows = [("phase", "tier", "state", "attempts", "tokens", "commit", "why")]
    for phase in phases:
        why = _why(phase.failure_reason or "") if phase.failure_kind or phase.state == "GATE" else ""
        rows.append(
            (
                phase.phase_id, phase.tier_id, phase.state, f"{phase.attempts}/{phase.max_attempts}", str(phase.tokens_used),
                (phase.result_commit or "-")[:12], why,
            )
        )  # fmt: skip
    return columns(rows)


def _why(reason: str) -> str:
    """The first line; a terminal's row is kept short, a program reads it whole."""
    line = reason.strip().split("\n", 1)[0]
    if len(line) <= _WHY_CHARS or not sys.stdout.isatty():
        return line
    return f"{line[: _WHY_CHARS - 3].rstrip()}..."


def columns(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join(lines)
