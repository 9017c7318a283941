"""Commands about what waits for a person."""

from typing import TYPE_CHECKING, Annotated

import typer

from autopack.cli.common import ApiUrl, By, DatabaseUrl, Json, body_of, result, result_json, with_client

if TYPE_CHECKING:
    from autopack.client import AutopackClient
    from autopack.domain.phases import Approval

app = typer.Typer(help="Approvals: list, approve, reject.", no_args_is_help=True)
Request = Annotated[str, typer.Argument(help="The approval request's id.")]


@app.command("list")
def list_approvals(
    run_id: Annotated[str | None, typer.Option("--run-id", help="Of this run only.")] = None,
    status: Annotated[str, typer.Option(help="pending, approved, rejected, used or void.")] = "pending",
    api_url: ApiUrl = None, database_url: DatabaseUrl = None, as_json: Json = False,
) -> None:  # fmt: skip
    """List requests, each with its reasons and its diff."""

    async def do(client: "AutopackClient") -> list["Approval"]:
        return await client.approvals(run_id=run_id, status=status)

    found = with_client(api_url, database_url, do)
    if as_json:
        result_json(found)
        return
    for each in found:
        result(
            f"{each.approval_id}  {each.run_id}/{each.phase_id}  {each.status}: {'; '.join(each.reasons)}\n{each.diff}"
        )
    if not found:
        result(f"nothing is {status}")


def _decide(
    approval_id: str, action: str, by: str, reason: str | None, api_url: str | None, database_url: str | None, as_json: bool
) -> None:  # fmt: skip
    from autopack.schemas import ActorBody

    async def do(client: "AutopackClient") -> "Approval":
        return await client.decide(approval_id, action, body_of(ActorBody, by=by, reason=reason))

    done = with_client(api_url, database_url, do)
    result_json(done) if as_json else result(
        f"{done.run_id}/{done.phase_id}: {done.status} by {done.responded_by}"
    )


@app.command("approve")
def approve(
    approval_id: Request, by: By = "a person", reason: str | None = None,
    api_url: ApiUrl = None, database_url: DatabaseUrl = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Approve exactly the diff that is shown: the next drain applies it."""
    _decide(approval_id, "approve", by, reason, api_url, database_url, as_json)


@app.command("reject")
def reject(
    approval_id: Request, reason: Annotated[str, typer.Option(help="Why; kept with the phase.")], by: By = "a person",
    api_url: ApiUrl = None, database_url: DatabaseUrl = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Reject the edits: the phase is FAILED, with your reason."""
    _decide(approval_id, "reject", by, reason, api_url, database_url, as_json)
