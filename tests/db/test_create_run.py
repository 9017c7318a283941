"""The same run created by two at once is one run."""

import threading
from pathlib import Path

from autopack.clock import utc_now
from autopack.db import runs
from autopack.db.identity import open_database
from autopack.db.location import locate
from autopack.errors import DatabaseBusy
from autopack.schemas import PlanBody
from tests.support import plan


def test_of_two_that_create_a_run_at_once_one_makes_it_and_the_other_may_ask_again(
    postgres_url: str, tmp_path: Path
) -> None:
    body = PlanBody.model_validate(plan()).to_domain()
    first_is_made, told = threading.Event(), []

    def second() -> None:
        first_is_made.wait(30)
        try:
            with database.transaction() as session:
                runs.create(session, body, actor="second", now=utc_now())
        except DatabaseBusy as error:
            told.append(str(error))

    with open_database(locate(postgres_url, tmp_path)) as database:
        thread = threading.Thread(target=second)
        thread.start()
        with database.transaction() as session:
            assert runs.create(session, body, actor="first", now=utc_now())
            first_is_made.set()
            thread.join(1)  # it has seen no run, and waits for this transaction to end
            assert thread.is_alive()
        thread.join(30)
        assert len(told) == 1
        with database.transaction() as session:
            assert not runs.create(session, body, actor="second", now=utc_now()), "asked again, it is there"
