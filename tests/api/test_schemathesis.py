"""Generated requests, right and wrong, for every operation of docs/openapi.json, against a real server: no server error,
and answers as the file says. Ids in paths are often those of what is there, or nothing but 404 would be tried.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from autopack.api.app import create_app
from autopack.db import claims, runs
from autopack.db.engine import Database
from autopack.db.identity import open_database
from autopack.db.location import locate
from autopack.domain.phases import Claim
from autopack.schemas import PlanBody
from tests.api.conftest import TOKEN, live
from tests.support import ROOT, phase, plan

NOW = datetime(2030, 1, 1, tzinfo=UTC)
THERE = {"run_id": "r1", "phase_id": "p1", "attempt_id": "a1", "lease_token": TOKEN}
CHECKS = (
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
)  # fmt: skip

schema = schemathesis.openapi.from_path(ROOT / "docs" / "openapi.json")


@schema.hook
def map_path_parameters(_context: Any, given: Any) -> Any:
    return _of_what_is_there(given)


@schema.hook
def map_body(_context: Any, given: Any) -> Any:
    return _of_what_is_there(given)


def _of_what_is_there(given: Any) -> Any:
    """Three times in four, chosen by what was generated, so that a failure can be repeated."""
    if isinstance(given, dict) and random.Random(repr(given)).random() < 0.75:
        return {name: THERE.get(name, value) for name, value in given.items()}
    return given


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, migrated_file: Path) -> Iterator[str]:
    """Run r1, whose phase p1 is being worked on by attempt a1."""
    file = tmp_path_factory.mktemp("generated") / "queue.db"
    file.write_bytes(migrated_file.read_bytes())

    def opened() -> Any:
        return open_database(locate(f"sqlite:///{file}", file.parent), synchronous="OFF")

    with opened() as database:
        _seed(database)
    with live(create_app(opened)) as url:
        yield url


def _seed(database: Database) -> None:
    with database.transaction() as session:
        made = PlanBody.model_validate(plan("r1", [phase("p1"), phase("p2")]))
        runs.create(session, made.to_domain(), actor="seed", now=NOW)
        claimed = claims.claim(
            session, run_id="r1", phase_id=None, force=False, worker="w", attempt_id="a1", lease_token=TOKEN,
            lease_seconds=86_400, base_commit=None, now=NOW,
        )  # fmt: skip
        assert isinstance(claimed, Claim)


@pytest.mark.slow
@schema.parametrize()
@settings(
    max_examples=5, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
def test_generated_requests_are_answered_as_the_file_says(case: Any, server: str) -> None:
    try:
        answer = case.call_and_validate(base_url=server, checks=CHECKS, timeout=30)
    except FailureGroup as failed:
        raise AssertionError(str(failed)) from None
    assert answer.status_code < 500
