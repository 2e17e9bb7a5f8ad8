"""Which decompositions count as mixtures of phases that substitute each other: cases that a chemist decided."""

import pytest

from oreflow.agent.evaluation.mixtures import are_mixtures

CASES = [
    ("0.4 LaF3 + 0.6 ErF3", True),
    ("0.5 LiZnPO4 + 0.5 LiCaPO4", True),
    ("0.2 MgO + 0.3 CaO + 0.5 SrO", True),
    ("0.5 NaCl + 0.5 NaBr", True),
    ("0.5 Na3(PO4)1 + 0.5 K3PO4", True),
    ("1 LaF3", False),  # itself, or its own polymorph
    ("0.5 Na2O + 0.5 Cu2O", True),  # of other structures: the rule reads formulas alone
    ("0.5 Li2O + 0.5 Fe2O3", False),
    ("0.5 Li2O + 0.5 FeO", False),  # another amount of the metal
    ("0.5 LaF3 + 0.5 LiF", False),
    ("0.5 LaF3 + 0.25 ErF3 + 0.25 ErCl3", False),  # no one element tells all of them apart
    ("0.5 MgO + 0.5 CaS", False),
    ("0.5 Li + 0.5 Na", False),  # elements
    ("0.5 FeO + 0.5 Fe2O3", False),
    ("", False),  # outside the hull
]


@pytest.mark.parametrize(("decomposition", "mixed"), CASES)
def test_phases_that_differ_in_one_element_are_a_mixture(decomposition: str, mixed: bool) -> None:
    assert are_mixtures(["1 SiO2", decomposition]).tolist() == [False, mixed]
