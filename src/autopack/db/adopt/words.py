"""The earlier system's words, in ours. Pure: None says that a word means nothing here."""

import re

from autopack.domain.phases import PhaseState, RunState

_RUN_STATES = {
    **{state.value: state for state in RunState},
    **dict.fromkeys(("RUN_CREATED", "CREATED", "PENDING", "PLAN_BOOTSTRAP"), RunState.QUEUED),
    **dict.fromkeys(
        ("PHASE_QUEUEING", "PHASE_EXECUTION", "GATE", "CI_RUNNING", "SNAPSHOT_CREATED", "EXECUTING", "IN_PROGRESS"),
        RunState.RUNNING,
    ),
    **dict.fromkeys(("BLOCKED", "AWAITING_HUMAN_INPUT"), RunState.PAUSED),
    **dict.fromkeys(("DONE", "COMPLETE", "COMPLETED", "SUCCESS"), RunState.DONE_SUCCESS),
    **dict.fromkeys(("FAILED", "DONE_FAILED"), RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW),
    **dict.fromkeys(("CANCELED", "ABORTED"), RunState.CANCELLED),
}  # fmt: skip
# What was under way is not done. GATE meant that checks were under way; here it waits for an approval, and there is none.
_PHASE_STATES = {
    **{state.value: state for state in PhaseState},
    **dict.fromkeys(
        (
            "EXECUTING", "GATE", "CI_RUNNING", "IN_PROGRESS", "RUNNING", "PENDING", "CREATED", "READY", "RETRY", "RETRYING",
        ),
        PhaseState.QUEUED,
    ),
    **dict.fromkeys(("COMPLETED", "DONE", "DONE_SUCCESS", "SUCCESS"), PhaseState.COMPLETE),
    **dict.fromkeys(("ERROR", "DONE_FAILED"), PhaseState.FAILED),
    "CANCELED": PhaseState.CANCELLED,
}  # fmt: skip
_CATEGORIES = {
    **dict.fromkeys(
        (
            "implementation", "implement_feature", "feature", "backend", "frontend", "bugfix", "bug_fix", "fix", "integration",
            "core", "api", "general", "code",
        ),
        "implementation",
    ),
    **dict.fromkeys(("tests", "test", "testing", "qa"), "tests"),
    **dict.fromkeys(("docs", "doc", "documentation"), "docs"),
    **dict.fromkeys(("refactoring", "refactor", "cleanup"), "refactoring"),
    **dict.fromkeys(("configuration", "config", "deployment", "deploy", "devops", "infrastructure", "ci"), "configuration"),
    **dict.fromkeys(("schema_change", "database", "migration", "db"), "schema_change"),
    **dict.fromkeys(("security", "auth"), "security"),
}  # fmt: skip
_COMPLEXITIES = (
    ("high", ("HIGH", "COMPLEX", "LARGE", "HARD")),
    ("medium", ("MEDIUM", "MODERATE", "NORMAL")),
    ("low", ("LOW", "SIMPLE", "TRIVIAL", "SMALL", "EASY", "MAINTENANCE")),
)


def run_state(said: str | None) -> RunState | None:
    state = _as_state(said)
    if state not in _RUN_STATES and state.startswith("DONE_FAILED"):
        return RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW
    return _RUN_STATES.get(state)


def phase_state(said: str | None) -> PhaseState | None:
    return _PHASE_STATES.get(_as_state(said))


def _as_state(said: str | None) -> str:
    return re.sub(r"[\s-]+", "_", said or "").upper().rpartition(".")[2]


def category(said: str | None) -> str:
    """One of ours; a word of their own that could be one of ours stays."""
    word = re.sub(r"[\W_]+", "_", (said or "").lower(), flags=re.ASCII).strip("_")
    if word in _CATEGORIES:
        return _CATEGORIES[word]
    return word if re.fullmatch(r"[a-z][a-z0-9_]{0,63}", word) else "implementation"


def complexity(said: str | None) -> str:
    """The highest that the text names; medium where it names none."""
    shouted = (said or "").upper()
    return next((ours for ours, words in _COMPLEXITIES if any(word in shouted for word in words)), "medium")
