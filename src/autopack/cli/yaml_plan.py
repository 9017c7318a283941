"""YAML for plans: safe, small, and without the surprise that of two equal keys the last one wins."""

from collections.abc import Sequence
from typing import Any

import yaml


class _StrictLoader(yaml.SafeLoader):
    """Refuses duplicate keys and anchors (which can blow a small file up to any size)."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            where = parent.start_mark if parent is not None else None
            raise yaml.composer.ComposerError(
                None, None, "anchors and aliases are not allowed in a plan", where
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is given twice", key_node.start_mark
                )
            if isinstance(key, str):
                seen.add(key)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Lists below their key are indented, and a text of several lines is written as these lines."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    lines = text.split("\n")
    style = None
    if not all(line.isprintable() for line in lines):
        style = '"'  # in any other, PyYAML writes line breaks of Unicode that it does not read back
    elif len(lines) > 1 and all(line == line.strip() for line in lines):
        style = "|"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def load_strict(text: str) -> tuple[Any, yaml.Node | None]:
    """The value of one YAML (or JSON) document, and its nodes, which know their lines.

    Raises yaml.YAMLError or ValueError with line and column.
    """
    loader = _StrictLoader(text)
    try:
        node = loader.get_single_node()
        return (None if node is None else loader.construct_document(node)), node
    finally:
        loader.dispose()


def line_of(node: yaml.Node | None, place: Sequence[str | int]) -> int | None:
    """The line, from 1, of the value at that place, or of the nearest one around it that is there."""
    for part in place:
        found = _child(node, part)
        if found is None:
            break
        node = found
    return None if node is None else node.start_mark.line + 1


def _child(node: yaml.Node | None, part: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        pairs = ((key.value, value) for key, value in node.value)
        return next((value for key, value in pairs if key == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
        return node.value[part] if part < len(node.value) else None
    return None


def dump(value: Any) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
