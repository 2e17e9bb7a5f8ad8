"""Whether a crystal's atoms sit where those of given prototypes do."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from oreflow.envs.chemistry.elements import resolve
from oreflow.envs.errors import UnknownElementError
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.objects.labels import sites_of
from oreflow.envs.suggestions import nearest
from oreflow.envs.symmetry.letter_maps import letter_maps
from oreflow.envs.symmetry.space_groups import SpaceGroup, space_group, space_group_number
from oreflow.rewards.contract.protocol import Requires, TermValues
from oreflow.rewards.contract.term import Term
from oreflow.rewards.errors import RewardParameterError

_SITE = re.compile(r"([A-Za-z]\w*)@(\d*)([a-zA])")
_EXAMPLE = "'221: B@1a A@1b X@3d'"
_MOST_REMEMBERED = 100_000

Sites = Mapping[str, Counter[int]]
"""By element, or by its role: how many sites it has of each letter (0 for a)."""


@dataclass(frozen=True)
class Prototype:
    """Who sits where, up to choices of origin and axes.

    Attributes:
        text: as it was given.
        number: of the space group.
        variants: the sites in each choice that gives others.
        n_atoms: of the conventional cell.
    """

    text: str
    number: int
    variants: tuple[Sites, ...]
    n_atoms: int


class PrototypeMatch(Term):
    """Share of a crystal's atoms that sit where those of the nearest of given prototypes do; 1 in the prototype itself.

    A prototype is a space group and who sits on which Wyckoff positions, such as "221: B@1a A@1b X@3d": A, B and X are
    roles, each played by one element, and `roles` may say by which. Choices of origin and axes do not matter:
    "221: B@1b A@1a X@3c" is the same. The share is of the atoms of the larger of the two cells, crystal and prototype,
    under the casting of elements that makes it largest. Crystals of a space group without a prototype have 0.

    Column: `prototype_match_prototype`, the nearest one as it was given. The term reads the decoration only.
    """

    name = "prototype_match"
    unit = "share"
    version = "1"
    citations: tuple[str, ...] = ()
    requires: Requires = "structure"
    needs_geometry = False

    def __init__(self, prototypes: Sequence[str], roles: Mapping[str, Sequence[str]] | None = None) -> None:
        """Reads the prototypes.

        Args:
            prototypes: such as "221: B@1a A@1b X@3d"; the multiplicity may be left out.
            roles: symbols or presets of the elements that may play a role; all may play one that is not named.

        Raises:
            RewardParameterError: without a prototype, for one that cannot be read, a letter or multiplicity that its
                space group does not have, and a role that no prototype has or whose elements are not known.
        """
        if isinstance(prototypes, str) or not isinstance(prototypes, Sequence) or not prototypes:
            raise RewardParameterError(f"expected prototypes as a list such as [{_EXAMPLE}], got {prototypes!r}")
        if roles is not None and not isinstance(roles, Mapping):
            raise RewardParameterError(f"expected roles such as {{A: [Ca, Sr]}}, got {roles!r}")
        self.prototypes = tuple(_read(text) for text in prototypes)
        known = sorted({role for prototype in self.prototypes for role in prototype.variants[0]})
        self.roles: dict[str, frozenset[str]] = {}
        for role, names in (roles or {}).items():
            if role not in known:
                raise RewardParameterError(f"roles: no prototype has {role!r}; {nearest(str(role), known)}")
            try:
                self.roles[role] = frozenset(resolve(names))
            except UnknownElementError as error:
                raise RewardParameterError(f"roles: {role}: {error}") from None
        self._by_group: dict[int, list[Prototype]] = {}
        for prototype in self.prototypes:
            self._by_group.setdefault(prototype.number, []).append(prototype)
        self._found: dict[Any, tuple[float, str]] = {}

    def __call__(self, batch: Crystals) -> TermValues:
        """Share of every row."""
        values, texts = np.full(len(batch), np.nan), np.full(len(batch), "", dtype=object)
        reasons = {}
        for row, (number, sites) in enumerate(sites_of(batch)):
            if not sites:
                reasons[row] = "no occupied position: expected at least one atom"
                continue
            key = number, tuple(sorted(sites))
            if key not in self._found:
                if len(self._found) >= _MOST_REMEMBERED:
                    self._found.clear()
                self._found[key] = self._nearest(number, sites)
            values[row], texts[row] = self._found[key]
        return TermValues(values, ~np.isnan(values), {"prototype_match_prototype": texts}, reasons)

    def _nearest(self, number: int, sites: Sequence[tuple[int, str]]) -> tuple[float, str]:
        """The largest share of one decoration, and the prototype that has it."""
        best = 0.0, ""
        multiplicity = space_group(number).multiplicity
        own: dict[str, Counter[int]] = {}
        for letter, symbol in sites:
            own.setdefault(symbol, Counter())[_as_one(number, letter)] += 1
        n_atoms = sum(int(multiplicity[letter]) for letter, _ in sites)
        for prototype in self._by_group.get(number, ()):
            for variant in prototype.variants:
                shared = [[self._shared(own[s], s, variant, role, multiplicity) for role in variant] for s in own]
                matched = np.array(shared)[linear_sum_assignment(shared, maximize=True)].sum()
                share = float(matched) / max(n_atoms, prototype.n_atoms)
                best = max(best, (share, prototype.text), key=lambda found: found[0])
        return best

    def _shared(self, own: Counter[int], symbol: str, variant: Sites, role: str, multiplicity: Any) -> int:
        """How many atoms of an element sit where a role has them."""
        if role in self.roles and symbol not in self.roles[role]:
            return 0
        return sum(n * int(multiplicity[letter]) for letter, n in (own & variant[role]).items())


def _read(text: object) -> Prototype:
    """Read one prototype."""
    before, colon, after = str(text).partition(":")
    try:
        if not isinstance(text, str) or not colon or not after.split():
            raise ValueError(f"expected a space group and roles on its positions, such as {_EXAMPLE}")
        group = space_group(space_group_number(before))
        sites: dict[str, Counter[int]] = {}
        for part in after.replace(",", " ").split():
            match = _SITE.fullmatch(part)
            if match is None:
                raise ValueError(f"cannot read {part!r}; expected a role on a position, such as B@1a")
            role, multiplicity, name = match.groups()
            sites.setdefault(role, Counter())[_letter(group, name, multiplicity)] += 1
    except ValueError as error:
        raise RewardParameterError(f"prototypes: {text!r}: {error}") from None
    variants: list[Sites] = []
    for letters in letter_maps(group).tolist():  # the identity among them, or of P-1 what `_as_one` does
        variant = {role: _mapped(counts, letters) for role, counts in sites.items()}
        if variant not in variants:
            variants.append(variant)
    n_atoms = sum(n * int(group.multiplicity[letter]) for counts in sites.values() for letter, n in counts.items())
    return Prototype(text, group.number, tuple(variants), n_atoms)


def _as_one(number: int, letter: int) -> int:
    """The letter that stands for a letter: of P-1, whose choices of axes mix its eight inversion centres, a for all."""
    return int(letter_maps(space_group(2))[0, letter]) if number == 2 else letter


def _mapped(counts: Counter[int], letters: Sequence[int]) -> Counter[int]:
    out: Counter[int] = Counter()
    for letter, n in counts.items():
        out[letters[letter]] += n
    return out


def _letter(group: SpaceGroup, name: str, multiplicity: str) -> int:
    """The number of a letter, 0 for a."""
    if name not in group.letters:
        raise ValueError(
            f"space group {group.number} has no position {name!r}; expected one of {''.join(group.letters)}"
        )
    letter = group.letters.index(name)
    if multiplicity and int(multiplicity) != group.multiplicity[letter]:
        raise ValueError(
            f"position {name} of space group {group.number} has multiplicity {group.multiplicity[letter]}, "
            f"not {multiplicity}"
        )
    return letter
