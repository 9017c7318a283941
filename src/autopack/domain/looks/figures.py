"""Figures of a digest as a person reads them; what is unknown is said, never counted as 0. Pure."""

from autopack.domain import money
from autopack.domain.looks.digest import Digest, RunDigest, Spent
from autopack.domain.looks.words import count, spoken


def tokens(spent: Spent) -> str:
    known, unknown = spent.tokens.known, spent.tokens.unknown_calls
    if known is None:
        return "unknown"
    return f"{known:,}{_and_unknown(unknown)}"


def dollars(spent: Spent) -> str:
    known, unknown = spent.cost.known_usd, spent.cost.unknown_calls
    if known is None:
        return "unknown"
    return f"{money.short(known)}{_and_unknown(unknown)}"


def states(run: RunDigest) -> str:
    """What the run was, and what it has become."""
    now = spoken(run.state)
    if run.state_before is None:
        return f"new, {now}"
    return now if run.state_before == run.state else f"{spoken(run.state_before)} -> {now}"


def headline(found: Digest) -> str:
    """One sentence for all of it."""
    needed = len(found.needs_you)
    you = f"{needed} {'thing needs' if needed == 1 else 'things need'} you" if needed else "nothing needs you"
    done, failed = found.counts["finished"], found.counts["failed"]
    return f"{you}; {count(done, 'phase')} complete, {failed} failed; {tokens(found.spent)} tokens, {dollars(found.spent)}"


def _and_unknown(calls: int) -> str:
    return f" + {calls} unknown" if calls else ""
