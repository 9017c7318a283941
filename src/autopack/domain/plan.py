"""A plan: what a run is made from. Pure values, and the checks that need the whole of it."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field

from autopack.domain.phases import Scope
from autopack.domain.policy import unsafe_path

NORMAL_RISK = "normal"


@dataclass(frozen=True, kw_only=True)
class PhasePlan:
    phase_id: str
    name: str
    goal: str
    task_category: str
    complexity: str
    scope: Scope = field(default_factory=Scope)
    depends_on: tuple[str, ...] = ()
    priority: int = 0
    max_attempts: int = 3
    risk: str = NORMAL_RISK


@dataclass(frozen=True, kw_only=True)
class TierPlan:
    tier_id: str
    name: str
    phases: tuple[PhasePlan, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    run_id: str
    goal: str
    tiers: tuple[TierPlan, ...]
    safety_profile: str = "standard"
    token_cap: int | None = None
    cost_cap_usd: float | None = None
    max_duration_minutes: int | None = None
    max_phases: int | None = None

    def phases(self) -> Iterator[tuple[int, PhasePlan]]:
        """Every phase with the position of its tier."""
        for position, tier in enumerate(self.tiers):
            for phase in tier.phases:
                yield position, phase


def content_hash(plan: Plan) -> str:
    """SHA-256 of the plan's content: the same run with the same hash is the same plan, however it was written."""
    content = asdict(plan)
    # Runs of earlier versions are known by a hash that does not hold what there was not yet.
    for phase in (phase for tier in content["tiers"] for phase in tier["phases"]):
        if phase["risk"] == NORMAL_RISK:
            del phase["risk"]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def problems(plan: Plan) -> list[str]:
    """What is wrong with the plan as a whole: duplicates, dangling or backward references, cycles, unsafe paths."""
    found = _duplicates("tier", [tier.tier_id for tier in plan.tiers])
    found += _duplicates("phase", [phase.phase_id for _, phase in plan.phases()])
    ids_are_clear = not found
    tier_of = {phase.phase_id: position for position, phase in plan.phases()}
    for position, phase in plan.phases():
        if ids_are_clear:
            found += _dependency_problems(phase, position, tier_of)
        found += _path_problems(phase)
    return found + (_cycles(plan) if ids_are_clear else [])


def _dependency_problems(phase: PhasePlan, position: int, tier_of: Mapping[str, int]) -> list[str]:
    found = []
    for wanted in phase.depends_on:
        if wanted not in tier_of:
            found.append(f"phase {phase.phase_id} depends on {wanted}, which is not in the plan")
        elif tier_of[wanted] > position:
            found.append(f"phase {phase.phase_id} depends on {wanted}, which is in a later tier")
    return found + _duplicates(f"phase {phase.phase_id}: depends_on", list(phase.depends_on))


def _duplicates(what: str, ids: list[str]) -> list[str]:
    seen: set[str] = set()
    twice: list[str] = []
    for each in ids:
        if each in seen and each not in twice:
            twice.append(each)
        seen.add(each)
    return [f"{what} {each} is given twice" for each in twice]


def _path_problems(phase: PhasePlan) -> list[str]:
    found = []
    for path in (*phase.scope.paths, *phase.scope.read_only_context, *phase.scope.deliverables):
        if problem := unsafe_path(path.removesuffix("/")):
            found.append(f"phase {phase.phase_id}: path {path!r}: {problem}")
        elif "*" in path or "?" in path:
            told = "paths are no patterns; a directory with all below it is written with a slash at its end ('src/')"
            found.append(f"phase {phase.phase_id}: path {path!r}: {told}")
    for path in phase.scope.deliverables:
        if path.endswith("/"):
            found.append(f"phase {phase.phase_id}: deliverable {path!r} is a directory; name a file")
    return found


def _cycles(plan: Plan) -> list[str]:
    """Kahn's algorithm: what cannot be ordered is on a cycle or behind one."""
    known = {phase.phase_id for _, phase in plan.phases()}
    waiting = {phase.phase_id: known.intersection(phase.depends_on) for _, phase in plan.phases()}
    dependents: dict[str, list[str]] = {phase_id: [] for phase_id in waiting}
    for phase_id, wanted in waiting.items():
        for each in wanted:
            dependents[each].append(phase_id)
    ready = [phase_id for phase_id, wanted in waiting.items() if not wanted]
    while ready:
        done = ready.pop()
        waiting.pop(done)
        for phase_id in dependents[done]:
            waiting[phase_id].discard(done)
            if not waiting[phase_id]:
                ready.append(phase_id)
    return [f"depends_on forms a cycle among: {', '.join(sorted(waiting))}"] if waiting else []
