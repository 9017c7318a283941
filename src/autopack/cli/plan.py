"""Commands about plans: what is wrong with one, how it reads in another form, and lists of tasks made into one."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autopack.cli.common import Json, result, result_json, say
from autopack.cli.plans import (
    Document,
    Format,
    PlanFile,
    PlanFormat,
    examined,
    read_plan,
    shown,
    told_problem,
)
from autopack.domain.looks.words import count

if TYPE_CHECKING:
    from autopack.domain.plan import Plan
    from autopack.domain.plan_import import Imported
    from autopack.schemas import PlanBody
    from autopack.schemas.plans import PlanProblem

app = typer.Typer(no_args_is_help=True)
_MAX_IMPORT_BYTES = 16 * 1024 * 1024
_INVALID = 2


class Rendering(StrEnum):
    YAML = "yaml"
    JSON = "json"
    TOML = "toml"
    MARKDOWN = "markdown"
    MERMAID = "mermaid"


class Source(StrEnum):
    MARKDOWN = "markdown"
    GH_ISSUES = "gh-issues"


Output = Annotated[Path | None, typer.Option("-o", "--output", help="A file instead of stdout.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")]


@app.command("validate")
def validate(plan: PlanFile, form: Format = None, as_json: Json = False) -> int:
    """Say all that is wrong with a plan, each with its place; exit code 2 when anything is."""
    document = Document.read(plan, form)
    found = examined(document)
    told = _summary(document, found)
    if as_json:
        result_json(told)
    if isinstance(found, list):
        for each in [] if as_json else found:
            say(f"{document.name}: {told_problem(document, each)}")
        say(f"autopack: {document.name} is no valid plan: {count(len(found), 'problem')}")
        return _INVALID
    if not as_json:
        result(
            f"{document.name} is valid: run {told['run_id']}, {count(told['tiers'], 'tier')}, {count(told['phases'], 'phase')}, "
            f"hash {told['plan_hash'][:16]}"
        )
    return 0


def _as_record(document: Document, problem: "PlanProblem") -> dict[str, Any]:
    line = document.line_of(problem.place) if problem.place else None
    return {
        "place": problem.where, "tier_id": problem.tier_id, "phase_id": problem.phase_id, "line": line,
        "message": problem.message,
    }  # fmt: skip


def _summary(document: Document, found: "PlanBody | list[PlanProblem]") -> dict[str, Any]:
    """The same keys in any case: what an invalid plan cannot say is null."""
    from autopack.domain.plan import content_hash

    about: dict[str, Any] = dict.fromkeys(("run_id", "tiers", "phases", "plan_hash"))
    problems = [_as_record(document, each) for each in found] if isinstance(found, list) else []
    if not isinstance(found, list):
        plan = found.to_domain()
        phases = sum(1 for _ in plan.phases())
        about = {
            "run_id": plan.run_id,
            "tiers": len(plan.tiers),
            "phases": phases,
            "plan_hash": content_hash(plan),
        }
    return {
        "valid": not problems, "file": document.name, "format": document.format, **about, "problems": problems,
    }  # fmt: skip


@app.command("render")
def render(
    plan: PlanFile,
    to: Annotated[Rendering, typer.Option("--format", help="What to write it as.")] = Rendering.YAML,
    given: Annotated[
        PlanFormat | None, typer.Option("--from", help="What it is read as, instead of what its suffix says.")
    ] = None,
    output: Output = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a plan in its canonical form, in another format, as words for people, or as a picture of its phases."""
    _write(rendered(read_plan(plan, given).to_domain(), to), output, overwrite)


def rendered(plan: "Plan", to: Rendering) -> str:
    """As YAML, JSON or TOML it is read again as the same plan, with the same hash."""
    import json

    from autopack.cli.yaml_plan import dump
    from autopack.domain.plan_render import as_value, to_markdown, to_mermaid
    from autopack.domain.toml_text import to_toml

    match to:
        case Rendering.MARKDOWN:
            return to_markdown(plan)
        case Rendering.MERMAID:
            return to_mermaid(plan)
        case Rendering.JSON:
            return json.dumps(as_value(plan), indent=2, ensure_ascii=False) + "\n"
        case Rendering.TOML:
            return to_toml(as_value(plan))
    return dump(as_value(plan))


def _write(text: str, output: Path | None, overwrite: bool) -> None:
    import sys

    from autopack.cli.files import whole_file

    if output is None:
        # As bytes: what a console cannot show would otherwise be written as an escape, which is another text.
        sys.stdout.flush()
        stream = getattr(sys.stdout, "buffer", None)
        if stream is None:
            result(text.rstrip("\n"))
            return
        stream.write(text.encode())
        stream.flush()
        return
    with whole_file(output, overwrite=overwrite) as file:
        file.write(text.encode())
    say(f"written: {output}")


@app.command("import")
def import_plan(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="The list's file; - is stdin.")],
    kind: Annotated[Source, typer.Option("--from", help="A Markdown task list, or the output of `gh issue list --json`.")],
    run_id: Annotated[str | None, typer.Option("--run-id", help="The run's id (default: from the title, or the file's name).")] = None,
    to: Annotated[PlanFormat, typer.Option("--format", help="The format to write.")] = PlanFormat.YAML,
    output: Output = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Make a plan from a Markdown task list or from issues; what is done already is left out.

    Notes in brackets give a task what words cannot: (files: `src/`) may change, (makes: `src/a.py`) must exist
    afterwards, (reads: `docs/`) is shown only, (checks: `pytest -q`), (after: other-id), (id: my-id), (category: tests),
    (complexity: low). Of issues, which others may write, (checks:) and (id:) are not taken.
    """
    from autopack.errors import UsageError
    from autopack.schemas.plans import examine

    imported = _imported(source, kind, run_id)
    body = examine(imported.value)
    if isinstance(body, list):
        told = "; ".join(f"{each.where}: {each.message}".removeprefix(": ") for each in body[:10])
        raise UsageError(f"{shown(source)}: what was found makes no valid plan: {told}")
    for note in imported.notes:
        say(f"note: {note}")
    phases = sum(len(tier.phases) for tier in body.tiers)
    became = "1 task became a phase" if phases == 1 else f"{phases} tasks became phases"
    was = "was" if imported.left_out == 1 else "were"
    done = f"; {imported.left_out} {was} done already" if imported.left_out else ""
    say(f"{became}{done}. Their words go to the model as they are: read the plan before you run it.")
    if not as_json or output is not None:
        _write(rendered(body.to_domain(), Rendering(to)), output, overwrite)
    if as_json:
        result_json({
            "plan": imported.value, "phases": phases, "done": imported.left_out, "notes": list(imported.notes),
            "output": None if output is None else str(output),
        })  # fmt: skip


def _imported(source: Path, kind: Source, run_id: str | None) -> "Imported":
    from autopack.cli.plans import STDIN, parse_json, read_text
    from autopack.domain.plan_import import is_id, slug
    from autopack.domain.plan_issues import from_issues
    from autopack.domain.plan_markdown import from_markdown
    from autopack.errors import InvalidInput, UsageError

    if run_id is not None and not is_id(run_id):
        raise UsageError(
            f"--run-id {run_id!r} cannot be a run's id: letters, digits, '.', '_' and '-', at most 128"
        )
    text = read_text(source, "list", _MAX_IMPORT_BYTES)
    if not text.strip():
        raise UsageError(f"{shown(source)} is empty: there is nothing to import")
    name = "imported" if source == STDIN else slug(source.stem, "run")
    try:
        if kind is Source.MARKDOWN:
            return from_markdown(text, run_id=run_id, otherwise=name)
        return from_issues(parse_json(text, shown(source)), run_id=run_id, otherwise=name)
    except InvalidInput as error:
        raise InvalidInput(f"{shown(source)}: {error}{_no_boxes(kind, error)}") from None


def _no_boxes(kind: Source, error: Exception) -> str:
    plain = kind is Source.MARKDOWN and "no tasks" in str(error)
    return "; an open task is a line `- [ ] what to do`" if plain else ""


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of a plan, for editors and other programs."""
    from autopack.schemas import PlanBody

    result_json({"$schema": "https://json-schema.org/draft/2020-12/schema", **PlanBody.model_json_schema()})
