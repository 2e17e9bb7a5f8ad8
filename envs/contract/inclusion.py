"""How the objects of one world lie in a larger world of the same kind, so that what was fitted there serves here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from oreflow.envs.arrays import Ints, States


@dataclass(frozen=True)
class Inclusion:
    """A world within a larger one.

    Attributes:
        states: translates states [batch, *state_shape] of the smaller world, finished or not; what the larger world
            does not build, such as a geometry, is left out.
        actions: int64 [n_actions] of the smaller world: the action of the larger one that does the same; -1 for none.
        tokens: int64 [n_tokens] of the smaller world: the token of the larger one that says the same; -1 for none.
    """

    states: Callable[[States], States]
    actions: Ints
    tokens: Ints


@runtime_checkable
class Includable(Protocol):
    """A kernel whose objects can be found in a larger world."""

    def included_in(self, larger: Any) -> Inclusion:
        """Translate into a kernel of the same kind.

        Raises:
            ValueError: when not all objects of this world are objects of the larger one; naming what is lacking there.
        """
        ...


def lacking_ranges(ours: Any, theirs: Any, names: tuple[str, ...]) -> list[str]:
    """Name the ranges (low, high) of one world that reach beyond another's, as texts."""
    out = []
    for name in names:
        (low, high), (least, most) = getattr(ours, name), getattr(theirs, name)
        if low < least or high > most:
            out.append(f"{name} from {low} to {high}, there from {least} to {most}")
    return out


def lacking_rules(ours: Any, theirs: Any) -> list[str]:
    """Name what one world's rules of elements allow and another's do not, as texts.

    Args:
        ours, theirs: with `elements`, `n_elements`, `n_atoms`, `required`, `required_groups` and the charge rule.
    """
    out = [f"the element {symbol}" for symbol in ours.elements if symbol not in theirs.elements]
    out += lacking_ranges(ours, theirs, ("n_elements", "n_atoms"))
    for name in ("required", "required_groups"):
        needed = [entry for entry in getattr(theirs, name) if entry not in getattr(ours, name)]
        if needed:
            out.append(f"objects without what is {name.replace('_', ' ')} there ({', '.join(map(str, needed))})")
    start = getattr(theirs, "start", None)
    if start not in (None, getattr(ours, "start", None)):
        out.append(f"objects that do not complete {start!r}, as all do there")
    if theirs.neutrality == "hard":
        same = ours.oxidation_table == theirs.oxidation_table and ours.mixed_valence == theirs.mixed_valence
        if ours.neutrality != "hard" or not same:
            out.append(f"objects that are not neutral by {theirs.oxidation_table}, as all are there")
    return out


def refuse(lacking: list[str]) -> None:
    """Raise ValueError where something is lacking."""
    if lacking:
        shown = "; ".join(lacking[:6]) + ("; …" if len(lacking) > 6 else "")
        raise ValueError(f"this world has {shown}")
