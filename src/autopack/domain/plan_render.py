"""A plan written out: the value that every format holds, and the words and the picture for people. Pure.

What is as it would be anyway is left out, so that a plan that was written by a machine reads like one by hand.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

from autopack.domain.phases import Scope
from autopack.domain.plan import PhasePlan, Plan, TierPlan

_DEFAULTS = {field.name: field.default for cls in (Plan, PhasePlan) for field in fields(cls)}


def as_value(plan: Plan) -> dict[str, Any]:
    """Plain values, in the order in which a person would write them. Read again, they give the same plan."""
    caps = ("safety_profile", "token_cap", "cost_cap_usd", "max_duration_minutes", "max_phases")
    return {
        "autopack": 1,
        "run_id": plan.run_id,
        **({"goal": plan.goal} if plan.goal else {}),
        **_given(plan, caps),
        "tiers": [_tier(tier) for tier in plan.tiers],
    }


def _tier(tier: TierPlan) -> dict[str, Any]:
    name = {"name": tier.name} if tier.name != tier.tier_id else {}
    return {"tier_id": tier.tier_id, **name, "phases": [_phase(phase) for phase in tier.phases]}


def _phase(phase: PhasePlan) -> dict[str, Any]:
    scope = {field.name: list(getattr(phase.scope, field.name)) for field in fields(Scope)}
    named = {name: entries for name, entries in scope.items() if entries}
    return {
        "phase_id": phase.phase_id,
        **({"name": phase.name} if phase.name != phase.phase_id else {}),
        "goal": phase.goal,
        "task_category": phase.task_category,
        "complexity": phase.complexity,
        **({"scope": named} if named else {}),
        **({"depends_on": list(phase.depends_on)} if phase.depends_on else {}),
        **_given(phase, ("priority", "max_attempts", "risk")),
    }


def _given(value: Plan | PhasePlan, names: Sequence[str]) -> dict[str, Any]:
    return {name: found for name in names if (found := getattr(value, name)) != _DEFAULTS[name]}


def to_markdown(plan: Plan) -> str:
    """For people: what is to be done, in which order, and what each phase may touch."""
    facts = _given(plan, ("token_cap", "cost_cap_usd", "max_duration_minutes", "max_phases"))
    lines = [f"# {_line(plan.run_id)}", "", *([_line(plan.goal), ""] if plan.goal else [])]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    for tier in plan.tiers:
        title = tier.tier_id if tier.name == tier.tier_id else f"{tier.tier_id}: {tier.name}"
        lines += ["", f"## {_line(title)}", ""]
        for phase in tier.phases:
            lines += _phase_lines(phase)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def _phase_lines(phase: PhasePlan) -> Iterator[str]:
    name = "" if phase.name == phase.phase_id else f" {_line(phase.name)}"
    yield f"- **{phase.phase_id}**{name} ({phase.task_category}, {phase.complexity})"
    yield from (f"  > {line}".rstrip() for line in phase.goal.splitlines())
    yield ""
    told = {"after": phase.depends_on, "may change": phase.scope.paths, "makes": phase.scope.deliverables}
    told |= {"reads": phase.scope.read_only_context, "checked by": phase.scope.checks}
    for words, entries in told.items():
        if entries:
            yield f"  - {words}: {', '.join(_code(entry) for entry in entries)}"
    facts = _given(phase, ("priority", "max_attempts", "risk"))
    yield from (f"  - {words}: {value}" for words, value in facts.items())


def _line(text: str) -> str:
    """As words, whatever it looks like to a Markdown reader."""
    return re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """A code span, fenced by more backticks than the text has in a row."""
    text = " ".join(text.split("\n"))
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    room = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{room}{text}{room}{fence}"


def to_mermaid(plan: Plan) -> str:
    """A flowchart: tiers from top to bottom, and what depends on what."""
    numbers = {phase.phase_id: number for number, (_, phase) in enumerate(plan.phases())}
    lines = ["flowchart TD"]
    for position, tier in enumerate(plan.tiers):
        lines.append(f'  subgraph t{position}["{_label(tier.name)}"]')
        lines += [f'    p{numbers[phase.phase_id]}["{_label(_title(phase))}"]' for phase in tier.phases]
        lines.append("  end")
    lines += [f"  t{position} --> t{position + 1}" for position in range(len(plan.tiers) - 1)]
    for _, phase in plan.phases():
        lines += [f"  p{numbers[wanted]} --> p{numbers[phase.phase_id]}" for wanted in phase.depends_on]
    return "\n".join(lines) + "\n"


def _title(phase: PhasePlan) -> str:
    return phase.phase_id if phase.name == phase.phase_id else f"{phase.phase_id}: {phase.name}"


def _label(text: str) -> str:
    """Within quotes Mermaid knows entities by number, and Markdown where a backtick begins it."""
    text = " ".join(text.split())
    return "".join(char if char.isalnum() or char in " .,:;!?()/+=-_'" else f"#{ord(char)};" for char in text)
