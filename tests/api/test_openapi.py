"""docs/openapi.json is what the code says, and says enough."""

import json
from collections.abc import Iterator
from typing import Any

from autopack.cli.openapi import openapi_text
from tests.support import ROOT

OPENAPI = ROOT / "docs" / "openapi.json"

METHODS = {"get", "post", "put", "patch", "delete"}


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, found in json.loads(OPENAPI.read_text(encoding="utf-8"))["paths"].items():
        for method, operation in found.items():
            assert method in METHODS
            yield f"{method} {path}", operation


def test_the_file_is_as_the_code_is() -> None:
    told = "docs/openapi.json is older than the code: run `make docs`"
    assert OPENAPI.read_text(encoding="utf-8") == openapi_text(), told


def test_operations_have_ids_of_their_own() -> None:
    ids = [operation["operationId"] for _, operation in operations()]
    assert len(ids) == len(set(ids)) > 50


def test_every_operation_says_what_it_does_and_how_it_refuses() -> None:
    for name, operation in operations():
        assert operation.get("summary"), name
        assert operation["responses"]["default"]["content"].keys() == {"application/problem+json"}, name


def test_pages_for_people_are_not_part_of_it() -> None:
    assert not [name for name, _ in operations() if "/ui" in name]
