"""Partial objects as text: what is given of a formula or of a crystal, and how much may come to it.

The grammar, parts separated by blanks or commas, in any order:

    Li      an element that occurs; its count, or the sites it stands on, are left open
    Li3     an element with its count (formulas only)
    Sr@1a   an element on a Wyckoff position, with or without the multiplicity: Sr@a (crystals only)
    ?       exactly one element more; ? ? are two
    *       any number of elements more, none among them
    221:    in front of all others, the space group, by number or symbol (crystals only)

Without ? and * no element comes in that is not named. `Li3 P S4 ?` is Li3 and S4 with any amount of P and of one
element more; `221: Sr@1a Ti ?` a crystal of space group 221 with Sr on 1a, Ti, and one element more, on positions that
are left open. Further sites are open to elements that are named: only elements are counted, not sites.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from oreflow.envs.chemistry.elements import atomic_number
from oreflow.envs.errors import StartError
from oreflow.envs.symmetry.space_groups import space_group_number

_PART = re.compile(r"([A-Z][a-z]?)(\d*)|([A-Z][a-z]?)@(\d*)([a-zA])|([?*])")
_GRAMMAR = "Li (count open), Li3, Sr@1a (crystals), ? (one element more) or * (any number more), with blanks between"


@dataclass(frozen=True)
class Partial:
    """A partial object, as its text says it.

    Attributes:
        text: as it was given.
        group: number of the space group; None where it is left open or there is none.
        counts: by symbol; None leaves the count, or the sites, open. Elements of `sites` are among them.
        sites: (symbol, letter, multiplicity as stated or None), one entry a site.
        n_more: how many elements come in that are not named, at least.
        any_more: whether more than these may.
    """

    text: str
    group: int | None
    counts: dict[str, int | None]
    sites: tuple[tuple[str, str, int | None], ...]
    n_more: int
    any_more: bool

    def more(self, n_elements: tuple[int, int]) -> tuple[int, int]:
        """Bounds of the number of distinct elements, where a world's are `n_elements`.

        Raises:
            StartError: when they exclude each other.
        """
        named, (low, high) = len(self.counts), n_elements
        least = named + self.n_more
        stated = f"{named} named" + (f" and {self.n_more} more" if self.n_more else "")
        if least > high:
            raise StartError(
                f"start {self.text!r}: {stated} make {least} elements, more than world.n_elements allows, "
                f"{low} to {high}; name fewer"
            )
        if not self.any_more and least < low:
            raise StartError(
                f"start {self.text!r}: {stated} make {least} elements, fewer than world.n_elements allows, "
                f"{low} to {high}; add ? for one more, or * for any number"
            )
        return max(low, least), high if self.any_more else least

    def expect_elements(self, elements: Iterable[str]) -> None:
        """Refuse elements that a world does not have.

        Raises:
            StartError: naming them.
        """
        missing = [symbol for symbol in self.counts if symbol not in set(elements)]
        if missing:
            raise StartError(
                f"start {self.text!r}: {', '.join(missing)} cannot occur: not among world.elements; leave it out"
            )


def parse_partial(text: str) -> Partial:
    """Read a partial object; the module's docstring has the grammar.

    Raises:
        StartError: for what the grammar does not know, an unknown element or group, and an element named twice.
    """
    before, colon, rest = text.partition(":")
    group = None
    try:
        if colon:
            group = space_group_number(before)
        else:
            rest = before
        parts = rest.replace(",", " ").split()
        counts: dict[str, int | None] = {}
        sites: list[tuple[str, str, int | None]] = []
        more: list[str] = []
        for part in parts:
            match = _PART.fullmatch(part)
            if match is None:
                raise ValueError(f"cannot read {part!r}; expected {_GRAMMAR}")
            name, count, on_site, multiplicity, letter, mark = match.groups()
            if mark:
                more.append(mark)
                continue
            atomic_number(name or on_site)
            if on_site:
                sites.append((on_site, letter, int(multiplicity) if multiplicity else None))
                continue
            if name in counts:
                raise ValueError(f"{name} occurs twice; name each element once")
            if count and int(count) == 0:
                raise ValueError(f"expected a count from 1 on, got {part}; leave {name} out")
            counts[name] = int(count) if count else None
    except ValueError as error:
        raise StartError(f"start {text!r}: {error}") from None
    if not parts and group is None:
        raise StartError(f"start {text!r}: expected a partial object, got none; write parts such as {_GRAMMAR}")
    counted = [symbol for symbol, _, _ in sites if counts.get(symbol) is not None]
    if counted:
        raise StartError(f"start {text!r}: {counted[0]} has a count and a site; the sites say how many atoms there are")
    for symbol, _, _ in sites:
        counts.setdefault(symbol, None)
    return Partial(text, group, counts, tuple(sites), more.count("?"), "*" in more)
