"""YAML as people write it: no duplicate keys, no aliases, chemists' NO and Y as text, 1e-3 as a number."""

import re
from typing import Any

import yaml


class _Checks:
    """Refuses duplicate keys and aliases (a few lines of them can expand without bound); stands before a loader.

    Attributes:
        aliases: whether a subclass allows aliases after all.
    """

    aliases = False

    def duplicate_key(self, key: Any, mark: Any) -> Exception:
        """Return what is raised for a key that stands twice in one mapping, the second time at `mark`."""
        return yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", mark)

    def compose_node(self: Any, parent: Any, index: Any) -> Any:
        """Compose a node that is no alias."""
        if not self.aliases and self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.constructor.ConstructorError(None, None, "aliases are not supported", event.start_mark)
        return super().compose_node(parent, index)  # type: ignore[misc]

    def construct_mapping(self: Any, node: Any, deep: bool = False) -> Any:
        """Construct a mapping whose keys are scalars, each once."""
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool):
                raise yaml.constructor.ConstructorError(None, None, f"unusable key {key!r}", key_node.start_mark)
            if key in seen:
                raise self.duplicate_key(key, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)  # type: ignore[misc]


class StrictLoader(_Checks, yaml.SafeLoader):
    """Safe YAML with these checks."""


# Chemists write NO and No, Y and N for compounds and elements; YAML 1.1 would read them as booleans.
StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)

# YAML 1.1 would read 1e-3, which has no dot, as text.
StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


class TextLoader(_Checks, yaml.BaseLoader):
    """The same checks, but every scalar stays text: in a table of elements, No is nobelium and Y yttrium."""
