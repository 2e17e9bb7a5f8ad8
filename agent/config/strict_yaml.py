"""YAML as configs are written: no duplicate keys, no aliases, chemists' NO and Y as text, 1e-3 as a number."""

import re
from typing import Any

import yaml

from oreflow.agent.errors import ConfigError


class StrictLoader(yaml.SafeLoader):
    """Safe YAML that refuses duplicate keys and aliases (a few lines of them can expand without bound)."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.constructor.ConstructorError(None, None, "aliases are not supported", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool):
                raise yaml.constructor.ConstructorError(None, None, f"unusable key {key!r}", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


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


def parse_yaml(text: str, source: str) -> Any:
    """The content of a text.

    Raises:
        ConfigError: in one line that names the source.
    """
    try:
        return yaml.load(text, Loader=StrictLoader)
    except yaml.YAMLError as error:
        text = " ".join(str(error).split()).replace("<unicode string>", source)
        raise ConfigError(f"{source} is no valid YAML: {text}") from None
    except ValueError as error:  # a date that does not exist, a number of thousands of digits
        raise ConfigError(f"{source} holds an unreadable value: {error}") from None
    except RecursionError:
        raise ConfigError(f"{source} is nested too deeply") from None
