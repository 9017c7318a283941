"""YAML for plans: safe, small, and without the surprise that of two equal keys the last one wins."""

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


def load_strict(text: str) -> Any:
    """The value of one YAML (or JSON) document. Raises yaml.YAMLError or ValueError with line and column."""
    return yaml.load(text, Loader=_StrictLoader)
