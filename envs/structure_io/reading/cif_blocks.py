"""The syntax of CIF: text into data blocks, items and loops. Damaged files give what can be read of them."""

import re
from dataclasses import dataclass, field

from oreflow.envs.errors import StructureError
from oreflow.envs.structure_io.reading.checks import Reason

MISSING = frozenset(["?", "."])
_TOKEN = re.compile(r"""'(?:[^'\n]|'(?=\S))*'(?=\s|$)|"(?:[^"\n]|"(?=\S))*"(?=\s|$)|\#[^\n]*|[^\s]+""")


@dataclass
class CifBlock:
    """One data block: items in lower case with dots as underscores; a looped item is a list."""

    name: str
    items: dict[str, str | list[str]] = field(default_factory=dict)
    damaged_loops: list[str] = field(default_factory=list)

    def text(self, *names: str) -> str:
        """The first of these items that has a value, or the empty string."""
        for name in names:
            value = self.items.get(name, "")
            if isinstance(value, list):
                value = value[0] if value else ""
            if value and value not in MISSING:
                return value
        return ""

    def column(self, name: str) -> list[str]:
        """A looped item, or a list of the one value, or nothing."""
        value = self.items.get(name, [])
        return value if isinstance(value, list) else [value]


def cif_blocks(text: str) -> list[CifBlock]:
    """The data blocks of a CIF, in order.

    Raises:
        StructureError: no_structure without a data block; parse_error for a text field without end.
    """
    tokens = _tokens(text)
    blocks: list[CifBlock] = []
    position = 0
    while position < len(tokens):
        token, quoted = tokens[position]
        position += 1
        lower = "" if quoted else token.lower()
        if lower.startswith("data_"):
            blocks.append(CifBlock(token[5:]))
        elif not blocks:
            continue
        elif lower == "loop_":
            position = _read_loop(tokens, position, blocks[-1])
        elif lower.startswith("_") and position < len(tokens) and _is_value(tokens[position]):
            blocks[-1].items[lower.replace(".", "_")] = tokens[position][0]
            position += 1
    if not blocks:
        raise StructureError(Reason.NO_STRUCTURE, "expected a CIF with a line data_NAME, found none")
    return blocks


def _tokens(text: str) -> list[tuple[str, bool]]:
    """Values and keywords, each with whether it was quoted."""
    tokens: list[tuple[str, bool]] = []
    # Text fields first: a semicolon in the first column opens and closes them.
    parts = re.split(r"(?m)^;", text)
    if len(parts) % 2 == 0:
        raise StructureError(Reason.PARSE_ERROR, "expected a closing ';' of a text field, got the end of the file")
    for index, part in enumerate(parts):
        if index % 2:
            tokens.append((part.strip(), True))
            continue
        for token in _TOKEN.findall(part):
            if token[0] == "#":
                continue
            if token[0] in "'\"" and len(token) > 1 and token[-1] == token[0]:
                tokens.append((token[1:-1], True))
            else:
                tokens.append((token, False))
    return tokens


def _is_value(token: tuple[str, bool]) -> bool:
    return token[1] or not re.match(r"(?i)_|loop_$|data_|save_|stop_$|global_$", token[0])


def _read_loop(tokens: list[tuple[str, bool]], position: int, block: CifBlock) -> int:
    names: list[str] = []
    while position < len(tokens) and not tokens[position][1] and tokens[position][0].startswith("_"):
        names.append(tokens[position][0].lower().replace(".", "_"))
        position += 1
    start = position
    while position < len(tokens) and _is_value(tokens[position]):
        position += 1
    values = [token for token, _ in tokens[start:position]]
    if names and len(values) % len(names):
        block.damaged_loops += names
    for index, name in enumerate(names):
        block.items[name] = values[index :: len(names)]
    return position


def holds_structure(block: CifBlock) -> bool:
    """Whether a block speaks of a cell or atoms at all; blocks of a journal's text do not."""
    return any(name.startswith(("_cell_length", "_atom_site_fract", "_atom_site_label")) for name in block.items)
