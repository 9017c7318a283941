"""Writes docs/openapi.json anew from the code; a test says when that is due."""

import json
import sys
from contextlib import nullcontext
from pathlib import Path

from autopack.api.app import create_app
from autopack.db.engine import Database

OPENAPI = Path(__file__).parent.parent / "docs" / "openapi.json"


def openapi_text() -> str:
    """The description of the API as the file holds it. No database is opened."""

    def none() -> nullcontext[Database]:
        raise AssertionError("the description needs no database")

    return json.dumps(create_app(none).openapi(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    OPENAPI.write_text(openapi_text(), encoding="utf-8")
    sys.stdout.write(f"{OPENAPI.name} is as the code is\n")
