"""A term that notes what it is asked for, a plug-in of one, and stores that tests make."""

import numpy as np

from oreflow.envs.objects import formulas
from oreflow.rewards.contract.protocol import TermValues
from oreflow.rewards.contract.term import Term
from oreflow.rewards.store.identity import TermIdentity
from oreflow.rewards.store.store import RewardStore
from oreflow.rewards.store.term import StoredTerm

FORMULAS = ["Li2O", "MnO2", "LiMnO2", "Li5O", "Mn3O4"]
PLUGIN = """
from pathlib import Path
import numpy as np
from oreflow import rewards

@rewards.register("{name}")
class Dear:
    name, unit, version, citations, requires = "{name}", "eV", "1", (), "composition"
    path_params = ("table",)
    def __init__(self, scale: float = 1.0, table: str = ""): self.scale = scale
    def __call__(self, batch):
        return rewards.TermValues(self.scale * batch.reduced().n_atoms, np.ones(len(batch), dtype=bool))
"""


def parse_formulas(texts):
    return formulas.parse_formulas(texts)[0]


class Counting(Term):
    """Notes what it is asked for; has no value for Li5O, and raises on Mn3O4."""

    name, unit, version, citations, requires = "counting", "eV", "1", (), "composition"

    def __init__(self):
        self.asked = []

    def __call__(self, batch):
        self.asked += batch.formulas()
        if "Mn3O4" in batch.formulas():
            raise ValueError("cannot do Mn3O4")
        valid = np.array([formula != "Li5O" for formula in batch.formulas()])
        n = batch.reduced().n_atoms
        columns = {
            "counting_std": np.where(valid, n / 3.0, np.inf),
            "counting_label": np.array(["a" * k for k in n.tolist()]),
            "counting_n": n,
        }
        return TermValues(n / 7.0, valid, columns, dict.fromkeys(np.flatnonzero(~valid).tolist(), "no lithium"))


def fresh(path, **options):
    """A term in a store, as another process would make it."""
    made = Counting()
    return StoredTerm(made, RewardStore(str(path), **options), TermIdentity("counting", made.version, "{}")), made


def written(path, text):
    """Write a text; return where."""
    path.write_text(text)
    return path
