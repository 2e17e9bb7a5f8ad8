"""Small worlds that several tests share."""

from oreflow.envs.composition.kernel import CompositionKernel
from oreflow.envs.composition.space import CompositionSpace

TINY = CompositionSpace(elements=("Li", "Mn", "O"), n_elements=(1, 3), n_atoms=(1, 8), count=(1, 6), neutrality="off")
SPACES: dict[str, CompositionSpace] = {
    "off": TINY,
    "hard": CompositionSpace(elements=("Li", "O", "P", "S", "Fe"), n_elements=(1, 4), n_atoms=(1, 10), count=(1, 6)),
    "hard_canonical": CompositionSpace(
        elements=("Li", "O", "P", "S", "Fe"), n_elements=(1, 4), n_atoms=(1, 10), count=(1, 6), order="canonical"
    ),
    "mixed_valence": CompositionSpace(elements=("Fe", "O", "H"), n_elements=(2, 3), n_atoms=(2, 9), mixed_valence=True),
    "groups": CompositionSpace(
        elements=("Li", "Na", "S", "Cl", "P", "O"),
        n_elements=(2, 4),
        n_atoms=(3, 9),
        count=(1, 5),
        count_by_element={"O": (2, 4)},
        required=("Li",),
        required_groups=(("S", "Cl"), ("P", "O")),
    ),
    "large": CompositionSpace(n_elements=(2, 4), n_atoms=(2, 20), count=(1, 12)),
}


def kernel(name: str) -> CompositionKernel:
    """A kernel over one of `SPACES`."""
    return CompositionKernel(SPACES[name])
