"""States of the crystal world as text for people, and why a world is empty."""

from oreflow.envs.crystal.layout.world import make_world
from oreflow.envs.crystal.space import WyckoffSpace
from oreflow.envs.symmetry.space_groups import space_group


def why_empty(space: WyckoffSpace) -> str:
    """Name space groups that could host such crystals, or say that none could."""
    from dataclasses import replace

    _, everywhere, _ = make_world(replace(space, space_groups=("all",), geometry=False))
    hosts = everywhere.groups[everywhere.can_host].tolist()
    what = space.composition or space.chemical_system or "a crystal that satisfies every constraint"
    asked = ", ".join(f"{g} ({space_group(g).symbol})" for g in list(space.space_groups)[:5])
    asked += ", …" if len(space.space_groups) > 5 else ""
    if not hosts:
        return (
            f"expected space groups that can host {what} with {space.n_atoms[0]} to {space.n_atoms[1]} atoms in the "
            f"{space.cell} cell, but none of the 230 can; widen n_atoms or n_elements, or relax neutrality"
        )
    shown = _ranges(hosts)
    return (
        f"expected space groups that can host {what} with {space.n_atoms[0]} to {space.n_atoms[1]} atoms in the "
        f"{space.cell} cell; {asked} cannot. These could: {shown}; choose among them, or widen n_atoms"
    )


def _ranges(numbers: list[int]) -> str:
    """Ascending numbers as text, runs shortened: "1-3, 5"."""
    starts = [n for n in numbers if n - 1 not in numbers]
    ends = [n for n in numbers if n + 1 not in numbers]
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends))
