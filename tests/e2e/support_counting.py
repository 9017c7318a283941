"""One process of the lost-update test: its own database handle, two threads that each add one at a time."""

import sys
import threading
import time
from pathlib import Path

from autopack.db.engine import Database
from autopack.db.identity import open_database
from autopack.db.location import locate
from autopack.db.tables import RunRow


def count_up(database: Database, run_id: str, times: int) -> None:
    for _ in range(times):
        with database.transaction() as session:
            run = session.get_one(RunRow, run_id)
            before = run.tokens_used
            time.sleep(0.0005)  # where another writer gets in, if the lock lets it
            run.tokens_used = before + 1


def main(url: str, run_id: str, threads: int, times: int) -> None:
    with open_database(locate(url, Path("/"))) as database:
        workers = [
            threading.Thread(target=count_up, args=(database, run_id, times), daemon=True)
            for _ in range(threads)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
