"""What a model is told. The same phase on the same base gives the same words, so that an answer can be found again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from autopack.domain.edits import Format
from autopack.domain.messages import Message, Tool
from autopack.domain.phases import Claim, Phase, PreviousAttempt, Scope
from autopack.domain.policy import Violation, is_protected

MAX_CONTEXT_CHARS = 160_000
MAX_FILE_CHARS = 40_000
MAX_DIFF_CHARS = 120_000
MAX_ANSWER_CHARS = 4_000

REVIEW_TOOL = Tool(
    name="submit_review",
    description="Submit the review of the builder's work.",
    schema={
        "type": "object",
        "properties": {
            "approved": {"type": "boolean"},
            "issues": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "severity": {"type": "string", "enum": ["minor", "major"]},
                        "path": {"type": ["string", "null"]},
                        "line": {"type": ["integer", "null"]},
                        "message": {"type": "string"},
                    },
                    "required": ["severity", "message"],
                },
            },
            "notes": {"type": "string"},
            "recommendation": {"type": "string", "enum": ["accept", "reject", "ask_person"]},
        },
        "required": ["approved", "issues"],
    },
)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Files of the base tree as the model sees them; a file that did not fit is named without its content."""

    contents: Mapping[str, str]
    left_out: Sequence[str] = ()


@cache
def _template(name: str) -> str:
    return (files("autopack.executor") / "prompts" / f"{name}.md").read_text(encoding="utf-8")


def paths_to_show(scope: Scope, paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """(in scope, read-only) of the base tree's paths: what exists of the deliverables first.

    A phase that names no path may change any file that it is shown.
    """
    readable = [path for path in sorted(paths) if not is_protected(path)]
    wanted = [path for path in scope.deliverables if path in readable]
    anywhere = not scope.paths and not scope.deliverables
    context = frozenset(path for path in readable if _below(path, scope.read_only_context))
    wanted += [
        path
        for path in readable
        if path not in wanted and (_below(path, scope.paths) or (anywhere and path not in context))
    ]
    return wanted, [path for path in readable if path in context and path not in wanted]


def _below(path: str, prefixes: Sequence[str]) -> bool:
    """A prefix that a path goes on from is a directory, whether it is written with a slash at its end or not."""
    return any(path == prefix or path.startswith(prefix.removesuffix("/") + "/") for prefix in prefixes)


def builder_instructions(form: Format) -> str:
    """The builder's system prompt, which asks for answers in this format."""
    return _template("builder").replace("{format}\n", _template(f"format_{form.value}"))


def builder_messages(
    claim: Claim, in_scope: Shown, context: Shown, form: Format = Format.WHOLE_FILES
) -> list[Message]:
    phase = claim.phase
    parts = [
        f"Project goal: {claim.run.goal}" if claim.run.goal else "",
        f"Phase {phase.phase_id}: {phase.name}\nCategory: {phase.task_category}, complexity: {phase.complexity}",
        f"What to do:\n{phase.goal}",
        _contract(phase),
        _files("The present content of the files in scope", in_scope),
        _files("Read-only context", context),
        _lessons(claim.previous),
    ]
    return [
        Message(author="system", text=builder_instructions(form)),
        Message(author="user", text="\n\n".join(part for part in parts if part)),
    ]


def _contract(phase: Phase) -> str:
    scope = phase.scope
    lines = ["Deliverables (exact paths, all must exist afterwards):", *_bullets(scope.deliverables)]
    lines += ["Allowed paths:", *_bullets([*scope.paths] or [*scope.deliverables])]
    if scope.checks:
        lines += ["These commands must succeed afterwards:", *_bullets(scope.checks)]
    return "\n".join(lines)


def _bullets(items: Sequence[str]) -> list[str]:
    return [f"- {item}" for item in items] or ["- (none named)"]


def _files(title: str, shown: Shown) -> str:
    if not shown.contents and not shown.left_out:
        return ""
    blocks = [f"{path}\n{_fenced(content)}" for path, content in shown.contents.items()]
    if shown.left_out:
        blocks.append(
            "Not shown, for lack of room or because they are not text: " + ", ".join(shown.left_out)
        )
    return f"{title}:\n\n" + "\n\n".join(blocks)


def _fenced(content: str) -> str:
    fence = "```"
    while fence in content:
        fence += "`"
    return f"{fence}\n{content}{'' if content.endswith(chr(10)) else chr(10)}{fence}"


def _lessons(previous: Sequence[PreviousAttempt]) -> str:
    if not previous:
        return ""
    told = [f"Attempt {each.number} failed ({each.failure_kind}):\n{each.reason}" for each in previous]
    return "Earlier attempts at this phase; do not repeat their mistakes:\n\n" + "\n\n".join(told)


def ask_again(messages: Sequence[Message], answer: str, reason: str) -> list[Message]:
    """The same conversation, with the answer's beginning and what was wrong with it.

    What cannot be read is not sent back whole: its beginning shows the mistake, and costs less.
    """
    told = f"That answer cannot be used: {reason}\nAnswer again, whole, in the form that was asked for."
    return [*messages, _said(answer[:MAX_ANSWER_CHARS]), Message(author="user", text=told)]


def ask_for_blocks(messages: Sequence[Message], answer: str, refused: str) -> list[Message]:
    """The same conversation, asking only for what did not fit the files; the answer is there whole, to be mended."""
    told = (
        f"Some of these edits do not fit the files, and all others are kept:\n{refused}\n"
        "Answer with new edits in the place of those that do not fit, and no others, in the same form."
    )
    return [*messages, _said(answer), Message(author="user", text=told)]


def _said(answer: str) -> Message:
    return Message(author="assistant", text=answer or "(an empty answer)")


def auditor_messages(
    phase: Phase, *, diff: str, checks: str, findings: Sequence[Violation] = (), second: bool = False
) -> list[Message]:
    """`findings` are the policy's. The second auditor is told that it is one: its answer is no copy of the first's."""
    cut = diff if len(diff) <= MAX_DIFF_CHARS else diff[:MAX_DIFF_CHARS] + "\n(the diff goes on)"
    found = [f"- {finding.reason}" for finding in findings] or ["- nothing"]
    text = "\n\n".join(
        [
            f"Phase {phase.phase_id}: {phase.name}",
            f"What was asked:\n{phase.goal}",
            _contract(phase),
            f"The diff:\n{_fenced(cut)}",
            f"The checks:\n{checks}",
            "\n".join(["What the policy found:", *found]),
        ]
    )
    system = "\n".join([_template("auditor"), *([_template("auditor_second")] if second else [])])
    return [Message(author="system", text=system), Message(author="user", text=text)]
