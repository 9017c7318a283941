"""docs/openapi.json, from the code: `python -m autopack.cli.openapi > docs/openapi.json`."""

import json
import sys
from contextlib import nullcontext

from autopack.api.app import create_app
from autopack.db.engine import Database


def openapi_text() -> str:
    """The description of the API as the file holds it. No database is opened."""

    def none() -> nullcontext[Database]:
        raise AssertionError("the description needs no database")

    return json.dumps(create_app(none).openapi(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def main() -> None:
    """Always UTF-8, whatever the console is."""
    sys.stdout.buffer.write(openapi_text().encode())


if __name__ == "__main__":
    main()
