"""Names of the oxidation-state tables that ship with oreflow."""

from typing import NamedTuple


class BuiltIn(NamedTuple):
    """A table that ships with oreflow: the release it was taken from, and what it holds."""

    version: str
    description: str


_PYMATGEN, _SMACT = "pymatgen 2026.10.24", "SMACT 4.0.2"


DEFAULT_TABLE = "pymatgen_common"


TABLES = {
    "pymatgen_common": BuiltIn(_PYMATGEN, "Element.common_oxidation_states: the textbook states"),
    "pymatgen_icsd": BuiltIn(_PYMATGEN, "Element.icsd_oxidation_states: seen at least ten times in the ICSD"),
    "pymatgen_all": BuiltIn(_PYMATGEN, "Element.oxidation_states: every known state"),
    "smact14": BuiltIn(_SMACT, "smact14: hand-compiled in 2014"),
    "smact_icsd16": BuiltIn(_SMACT, "icsd16: states found in the ICSD of 2016"),
    "smact_icsd24": BuiltIn(_SMACT, "icsd24: ICSD of 2024, more than five reports"),
    "smact_icsd24_consensus3": BuiltIn(_SMACT, "smact_validity's default: ICSD of 2024, at least three reports"),
    "smact_pymatgen_sp": BuiltIn(_SMACT, "pymatgen_sp: states of pymatgen's structure predictor (2017)"),
    "smact_wiki": BuiltIn(_SMACT, "wiki: Wikipedia in 2022, with many rare states and 0; look before you use it"),
}
