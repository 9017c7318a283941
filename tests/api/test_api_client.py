"""The client: the same error class on both sides, and an answer that is lost on its way doubles nothing."""

import httpx
import pytest
from fastapi import FastAPI

from autopack import errors
from autopack.client import AutopackClient, error_from
from autopack.domain.phases import AttemptOutcome, Outcome
from autopack.domain.telemetry import UsageEvent
from autopack.errors import BY_CODE, ApiUnreachable, AutopackError, InvalidInput
from autopack.schemas import ActorBody, PlanBody
from tests.api.conftest import answered, claim_body, request
from tests.support import phase, plan

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("code", sorted(set(BY_CODE) - {"database_busy"}))
async def test_an_error_is_the_same_class_on_both_sides(app: FastAPI, client: AutopackClient, code: str):
    """Whatever a route raises, the caller of the client catches."""
    if not any(route.path == "/raise/{code}" for route in app.routes if hasattr(route, "path")):

        @app.get("/raise/{code}")
        def raises(code: str) -> None:
            raise BY_CODE[code]("what is wrong")

    with pytest.raises(AutopackError) as error:
        await client._send("GET", f"/raise/{code}", None, {})
    assert type(error.value) is BY_CODE[code]
    assert str(error.value) == "what is wrong"


def test_every_error_has_a_code_of_its_own_and_an_exit_code():
    classes = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, AutopackError)
    ]
    assert len({each.code for each in classes}) == len(classes)
    assert {each.exit_code for each in BY_CODE.values()} <= {1, 2, 3, 4, 6, 75}


def test_a_code_that_this_version_does_not_know_is_still_an_error():
    body = {"code": "something_newer", "detail": "words"}
    error = error_from(httpx.Response(418, json=body, request=httpx.Request("GET", "http://x")))
    assert (type(error), str(error)) == (AutopackError, "words")


class Flaky(httpx.AsyncBaseTransport):
    """Passes each request on, and loses every other answer."""

    def __init__(self, app: FastAPI) -> None:
        self._inner = httpx.ASGITransport(app)
        self.lost = 0
        self._lose = False

    async def handle_async_request(self, asked: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(asked)
        self._lose = not self._lose
        if self._lose:
            self.lost += 1
            raise httpx.ReadError("the answer was lost", request=asked)
        return response


async def test_a_request_whose_answer_was_lost_is_sent_again_and_doubles_nothing(app: FastAPI):
    naps: list[float] = []

    async def sleep(seconds: float) -> None:
        naps.append(seconds)

    transport = Flaky(app)
    http = httpx.AsyncClient(transport=transport, base_url="http://autopack")
    async with app.router.lifespan_context(app), http:
        client = AutopackClient(http, sleep=sleep)
        await client.connect()
        run, _ = await client.create_run(PlanBody.model_validate(plan(phases=[phase("p1"), phase("p2")])))
        claim = (await client.claim(claim_body())).claim
        await client.renew(claim.attempt_id, claim.lease_token, 60)
        held = await client.reserve(claim.attempt_id, claim.lease_token, request())
        await client.settle("c1", claim.lease_token, answered())
        done = Outcome(outcome=AttemptOutcome.COMPLETE)
        finished = await client.finish(claim.attempt_id, claim.lease_token, done, claim_body())
        run = await client.run("r1")
        assert transport.lost >= 8
        assert len(naps) == transport.lost
        assert set(naps) == {0.2}
        assert (held.ask, run.tokens_used, run.tokens_reserved) == (1, 42, 0)
        assert finished.next.claim.phase.phase_id == "p2"
        assert run.phase_counts == {"COMPLETE": 1, "EXECUTING": 1}
        assert len(await client.attempts("r1", "p2")) == 1
        assert len(await client.calls("r1")) == 1
        kinds = [event.kind for event in await client.events("r1")]
        assert kinds.count("run_created") == 1
        assert kinds.count("claimed") == 2
        assert kinds.count("finished") == 1


async def test_the_calls_of_a_phase_come_page_by_page():
    def call(number: int) -> dict[str, object]:
        known = dict.fromkeys(UsageEvent.__dataclass_fields__)
        texts = dict.fromkeys(
            ("call_id", "role", "status", "provider", "model", "provider_mode", "origin"), "x"
        )
        return {
            **known,
            **texts,
            "id": number,
            "retries": 0,
            "reserved_tokens": 0,
            "created_at": "2030-01-01T00:00:00Z",
        }

    def answer(asked: httpx.Request) -> httpx.Response:
        first, most = int(asked.url.params["after"]) + 1, int(asked.url.params["limit"])
        return httpx.Response(200, json=[call(number) for number in range(first, 1002)][:most])

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://queue") as http:
        found = await AutopackClient(http).calls("r1", "p1")
    assert [each.id for each in found] == list(range(1, 1002))


async def test_patience_ends_and_says_what_to_do():
    naps: list[float] = []

    async def sleep(seconds: float) -> None:
        naps.append(seconds)

    def refuse(asked: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=asked)

    async with httpx.AsyncClient(transport=httpx.MockTransport(refuse), base_url="http://queue") as http:
        with pytest.raises(ApiUnreachable, match=r"no answer from http://queue.*autopack serve"):
            await AutopackClient(http, sleep=sleep).run("r1")
        assert 25 <= sum(naps) <= 60
        assert naps == sorted(naps)
        with pytest.raises(ApiUnreachable):
            await AutopackClient(http, sleep=sleep, patient=False).run("r1")


@pytest.mark.parametrize(("status", "text"), [(502, "no"), (200, "no"), (None, "")])
async def test_what_went_wrong_is_said_without_the_password_of_the_address(status: int | None, text: str):
    def reply(asked: httpx.Request) -> httpx.Response:
        if status is None:
            raise httpx.ConnectError("refused", request=asked)
        return httpx.Response(status, text=text)

    async with httpx.AsyncClient(
        transport=httpx.MockTransport(reply), base_url="http://user:hidden@queue"
    ) as http:
        with pytest.raises(ApiUnreachable, match="http://queue") as caught:
            await AutopackClient(http, patient=False).run("r1")
    assert "hidden" not in str(caught.value)


async def test_an_error_that_was_answered_is_not_asked_for_again():
    asked: list[str] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(503, json={"code": "not_ready", "detail": "no"})

    async with httpx.AsyncClient(transport=httpx.MockTransport(refuse), base_url="http://queue") as http:
        with pytest.raises(errors.NotReady):
            await AutopackClient(http).run("r1")
    assert asked == ["/runs/r1"]


@pytest.mark.parametrize(
    "name", ["", "../identity", "a/b", "a?b", "a#b", "a b", "\u00fc", "x" * 129, "a\n", "%2e%2e"]
)
async def test_an_id_that_is_none_is_refused_before_it_becomes_an_address(name: str):
    def answer(_: httpx.Request) -> httpx.Response:
        raise AssertionError("nothing may be sent")

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://queue") as http:
        client = AutopackClient(http)
        for asked in (
            client.run(name),
            client.phase("r1", name),
            client.change_run(name, "cancel", ActorBody()),
        ):
            with pytest.raises(InvalidInput, match="cannot be an id"):
                await asked


async def test_a_request_that_gave_way_to_another_is_asked_again():
    """PostgreSQL ends one of two transactions that wait for each other; nothing of it was done."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    def answer(_: httpx.Request) -> httpx.Response:
        if len(waited) < 2:
            return httpx.Response(503, json={"code": "database_busy", "detail": "ask again"})
        return httpx.Response(200, json=[])

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://queue") as http:
        assert await AutopackClient(http, sleep=sleep).runs() == []
        assert len(waited) == 2
        waited.clear()
        with pytest.raises(errors.DatabaseBusy):
            await AutopackClient(http, sleep=sleep, patient=False).runs()
