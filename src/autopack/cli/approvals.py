"""Commands about what waits for a person."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from autopack.cli.common import (
    ApiUrl,
    By,
    DatabaseUrl,
    Json,
    Reason,
    body_of,
    result,
    result_json,
    with_client,
)

if TYPE_CHECKING:
    from datetime import timedelta

    from autopack.client import AutopackClient
    from autopack.domain.phases import Approval, Attempt

app = typer.Typer(help="Approvals: list, show, approve, reject.", no_args_is_help=True)
Request = Annotated[str, typer.Argument(help="The approval request's id.")]
OfRun = Annotated[
    str | None, typer.Option("--run", "--run-id", help="Of this run only; another run's is refused.")
]


@app.command("list")
def list_approvals(
    run_id: OfRun = None,
    status: Annotated[str, typer.Option(help="pending, approved, rejected, expired, used, void or all.")] = "pending",
    api_url: ApiUrl = None, database_url: DatabaseUrl = None, as_json: Json = False,
) -> None:  # fmt: skip
    """List requests with their reasons, in the order in which they were asked for."""

    async def do(client: "AutopackClient") -> list["Approval"]:
        return await client.approvals(run_id=run_id, status=None if status == "all" else status)

    found = with_client(api_url, database_url, do)
    if as_json:
        result_json(found)
        return
    for each in found:
        result(
            f"{each.approval_id}  {each.run_id}/{each.phase_id}  {_state(each)}, {_age(each)}: {'; '.join(each.reasons)}"
        )
    if not found:
        result("there are none" if status == "all" else f"nothing is {status}")


@app.command("show")
def show(
    approval_id: Request, api_url: ApiUrl = None, database_url: DatabaseUrl = None, as_json: Json = False
) -> None:
    """Show a request: why it is asked, what it is bound to, what the checks said, and the whole diff."""

    async def do(client: "AutopackClient") -> tuple["Approval", "Attempt | None"]:
        found = await client.approval(approval_id)
        attempts = await client.attempts(found.run_id, found.phase_id)
        return found, next((each for each in attempts if each.attempt_id == found.attempt_id), None)

    from autopack.domain.visible import visible

    found, attempt = with_client(api_url, database_url, do)
    checks = attempt.check_report if attempt else None
    if as_json:
        result_json({"approval": found, "checks": checks, "review": attempt.review if attempt else None})
        return
    for line in (*_facts(found), *_checks(checks)):
        result(line)
    result(f"\n{visible(found.diff)}")


def _facts(found: "Approval") -> list[str]:
    lines = [
        f"{found.approval_id}  {found.run_id}/{found.phase_id}  {_state(found)}",
        f"asked:       {found.requested_at:%Y-%m-%d %H:%M} UTC ({_age(found)})",
        f"deadline:    {_deadline(found)}",
        *(f"why:         {reason}" for reason in found.reasons),
        f"base commit: {found.base_commit}",
        f"diff:        sha256 {found.diff_hash}",
        f"policy:      {found.policy_hash or 'not recorded'}",
        f"checks:      {found.checks_hash or 'not recorded'}",
    ]
    if found.responded_by:
        lines.append(
            f"decided:     by {found.responded_by} ({found.response_method}): {found.response_reason or 'no reason given'}"
        )
    elif found.response_method:
        lines.append(f"{found.response_method}:     {found.response_reason}")
    if found.void_reason:
        lines.append(f"void:        {found.void_reason}")
    return lines


def _checks(report: object) -> list[str]:
    """The commands of the check report with their exit codes, as far as it has them."""
    results: Sequence[object] = report.get("results", ()) if isinstance(report, dict) else ()
    return [
        f"  exit {each.get('exit_code')}: {each.get('command')}" for each in results if isinstance(each, dict)
    ]


def _state(found: "Approval") -> str:
    return f"{found.status} (overdue)" if found.overdue else found.status


def _deadline(found: "Approval") -> str:
    if found.timeout_at is None:
        return "none"
    then = "goes on waiting" if found.on_timeout == "wait" else "is rejected by itself"
    return f"{found.timeout_at:%Y-%m-%d %H:%M} UTC, then it {then}"


def _age(found: "Approval") -> str:
    from autopack.clock import utc_now

    return f"{_rounded(utc_now() - found.requested_at)} old"


def _rounded(age: "timedelta") -> str:
    minutes = max(0, int(age.total_seconds() // 60))
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // (24 * 60)} days"


def _decide(
    approval_id: str, action: str, by: str, reason: str | None, run_id: str | None, api_url: str | None, database_url: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    from autopack.schemas import DecideBody

    async def do(client: "AutopackClient") -> "Approval":
        body = body_of(DecideBody, by=by, reason=reason, run_id=run_id)
        return await client.decide(approval_id, action, body)

    done = with_client(api_url, database_url, do)
    result_json(done) if as_json else result(
        f"{done.run_id}/{done.phase_id}: {done.status} by {done.responded_by}"
    )


@app.command("approve")
def approve(
    approval_id: Request, by: By = "a person", reason: Reason = None, run_id: OfRun = None,
    api_url: ApiUrl = None, database_url: DatabaseUrl = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Approve exactly the diff that is shown: the next drain applies it."""
    _decide(approval_id, "approve", by, reason, run_id, api_url, database_url, as_json)


@app.command("reject")
def reject(
    approval_id: Request, reason: Annotated[str, typer.Option(help="Why; kept with the phase.")], by: By = "a person",
    run_id: OfRun = None, api_url: ApiUrl = None, database_url: DatabaseUrl = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Reject the edits: the phase is FAILED, with your reason."""
    _decide(approval_id, "reject", by, reason, run_id, api_url, database_url, as_json)
