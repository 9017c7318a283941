"""What several processes and threads add to a run through the API is all there afterwards."""

import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from autopack.bootstrap import Connection, open_client
from autopack.domain.phases import Run
from autopack.schemas import PlanBody
from autopack.settings import DatabaseChoice, Settings
from tests.support import ROOT, clean_environment, phase, plan

pytestmark = pytest.mark.slow
PROCESSES, THREADS, CALLS = 3, 2, 15

# Each thread has an app, an engine and a claim of its own; all of them add to the counters of one run.
CHILD = """
import sys, threading
import anyio
from autopack.bootstrap import Connection, open_client
from autopack.clock import Clock
from autopack.domain.calls import CallRequest, CallResult
from autopack.domain.messages import ProviderMode, Role, Usage
from autopack.schemas import ClaimBody
from autopack.settings import DatabaseChoice, Settings
from pathlib import Path

new_id = Clock().new_id

async def work():
    choice = DatabaseChoice(url=sys.argv[1], rule="test", directory=Path("/"))
    async with open_client(Connection(api_url=None, choice=choice), Settings()) as client:
        claim = (await client.claim(ClaimBody(run_id="r1", worker="w", lease_token=new_id()))).claim
        for _ in range(int(sys.argv[3])):
            request = CallRequest(
                call_id=new_id(), role=Role.BUILDER, provider="openai", model="m", provider_mode=ProviderMode.LIVE,
                request_key=new_id() * 2, max_tokens=10, reserve_tokens=50, reserve_cost_usd=0.5,
            )
            held = await client.reserve(claim.attempt_id, claim.lease_token, request)
            result = CallResult(
                completion={"text": "x"}, usage=Usage(input_tokens=2, output_tokens=1), usage_source="provider", cost_usd=0.25
            )
            await client.settle(held.call_id, claim.lease_token, result)

threads = [threading.Thread(target=anyio.run, args=(work,)) for _ in range(int(sys.argv[2]))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_no_settled_call_is_lost_between_processes_and_threads(database_url: str, tmp_path: Path) -> None:
    choice = DatabaseChoice(url=database_url, rule="test", directory=tmp_path)
    body = PlanBody.model_validate(
        plan(phases=[phase(f"p{number}") for number in range(PROCESSES * THREADS)])
    )

    async def create() -> None:
        async with open_client(Connection(api_url=None, choice=choice), Settings()) as client:
            await client.create_run(body)

    async def read() -> Run:
        async with open_client(Connection(api_url=None, choice=choice), Settings()) as client:
            return await client.run("r1")

    anyio.run(create)
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, database_url, str(THREADS), str(CALLS)], cwd=ROOT, env=clean_environment(),
            stderr=subprocess.PIPE, text=True,
        )
        for _ in range(PROCESSES)
    ]  # fmt: skip
    told = [child.communicate(timeout=120)[1] for child in children]
    assert [child.returncode for child in children] == [0] * PROCESSES, told
    run, calls = anyio.run(read), PROCESSES * THREADS * CALLS
    assert (run.tokens_used, run.tokens_reserved, run.cost_usd) == (3 * calls, 0, 0.25 * calls)
    assert run.phase_counts == {"EXECUTING": PROCESSES * THREADS}
