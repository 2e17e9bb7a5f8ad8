"""Any calculator of the Atomic Simulation Environment (ASE) as a potential. The only file that imports ASE."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from oreflow.rewards.errors import PotentialError
from oreflow.rewards.potential.protocol import Card, Cell, Evaluation


class AsePotential:
    """An ASE calculator that gives energy, forces and stress, asked about one cell after another.

    Args:
        calculator: of type `ase.calculators.calculator.Calculator`.
        card: whose energies these are.
    """

    def __init__(self, calculator: Any, card: Card) -> None:
        self._calculator, self.card = calculator, card

    def evaluate(self, cells: Sequence[Cell], gradients: bool = True) -> list[Evaluation]:
        """Energies, and where `gradients` forces and stresses, of cells.

        Raises:
            PotentialError: with what the calculator says about a cell.
        """
        return [self._one(cell, gradients) for cell in cells]

    def _one(self, cell: Cell, gradients: bool) -> Evaluation:
        from ase import Atoms

        atoms = Atoms(numbers=cell.numbers, cell=cell.vectors, scaled_positions=cell.fractional, pbc=True)
        atoms.calc = self._calculator
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                energy = float(atoms.get_potential_energy())
                if not gradients:
                    return Evaluation(energy, None, None)
                return Evaluation(energy, np.array(atoms.get_forces()), np.array(atoms.get_stress(voigt=False)))
            except (ValueError, RuntimeError, NotImplementedError) as error:
                first = " ".join(str(error).split()) or type(error).__name__
                raise PotentialError(f"{self.card.name}: {first}") from error
