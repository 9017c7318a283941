"""Edits: from a builder's answer to the changes of files. Pure."""

from autopack.domain.edits.apply import Applied, Refused, apply, describe_refused, merged, without_refused
from autopack.domain.edits.parse import parse
from autopack.domain.edits.plan import (
    Block,
    EditPlan,
    EmptyPlan,
    FileEdit,
    Format,
    MalformedEdit,
    MixedFormats,
    ProseOnly,
    WrongPaths,
    from_json,
    to_json,
)

__all__ = [
    "Applied",
    "Block",
    "EditPlan",
    "EmptyPlan",
    "FileEdit",
    "Format",
    "MalformedEdit",
    "MixedFormats",
    "ProseOnly",
    "Refused",
    "WrongPaths",
    "apply",
    "describe_refused",
    "from_json",
    "merged",
    "parse",
    "to_json",
    "without_refused",
]
