"""A reward of your own. `oreflow check config.yaml --plugin my_reward.py` tests its contract."""

import numpy as np
from pymatgen.core import Element

from oreflow import rewards
from oreflow.envs.objects.compositions import Compositions

# Index 0 pads: slots of a shorter formula hold atomic number 0 and count 0.
MASS = np.array([0.0] + [float(Element.from_Z(z).atomic_mass) for z in range(1, 119)])


@rewards.register("light_elements")
class LightElements:
    """Mean atomic mass of a formula, in g/mol."""

    name = "light_elements"
    unit = "g/mol"
    version = "1"
    citations: tuple[str, ...] = ()
    requires = "composition"

    def __call__(self, batch: Compositions) -> rewards.TermValues:
        # batch.atomic_numbers and batch.counts are integer arrays [batch, slot]; see also batch.formulas().
        total = (MASS[batch.atomic_numbers] * batch.counts).sum(axis=1)
        values = total / batch.n_atoms
        return rewards.TermValues(values, valid=np.ones(len(batch), dtype=np.bool_))
