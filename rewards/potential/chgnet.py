"""CHGNet, a pretrained interatomic potential (the optional extra `chgnet`).

CHGNet (Deng et al., Nat. Mach. Intell. 5, 1031, 2023) was trained on the relaxations of the Materials Project: PBE and
PBE+U energies with the corrections of MP2020. Its weights come with the package; nothing is fetched.
"""

import contextlib
import functools
import importlib.util
import io
import os
import warnings
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

from oreflow.rewards.errors import MissingPackageError, RewardParameterError
from oreflow.rewards.potential.listing import Listed
from oreflow.rewards.potential.protocol import Card, Cell, Evaluation

MODEL_VERSIONS = ("0.3.0", "0.2.0", "r2scan")
DEFAULT_VERSION = "0.3.0"
MAX_ATOMIC_NUMBER = 94
CITATION = "Deng et al., Nat. Mach. Intell. 5, 1031 (2023), doi:10.1038/s42256-023-00716-3"


def name_of_version(version: str) -> str:
    """The name of the potential that is a version of CHGNet.

    Raises:
        RewardParameterError: for a model that does not come with the package.
    """
    if version not in MODEL_VERSIONS:
        raise RewardParameterError(f"expected a CHGNet model of {', '.join(MODEL_VERSIONS)}, got {version!r}")
    return "chgnet" if version == DEFAULT_VERSION else f"chgnet-{version}"


class Chgnet:
    """A loaded CHGNet model on the CPU.

    Args:
        version: "0.3.0" and "0.2.0" give PBE(+U) energies as the Materials Project corrects them, "r2scan" those of
            the r2SCAN functional.

    Raises:
        MissingPackageError: when chgnet is not installed.
        RewardParameterError: for another version.
    """

    def __init__(self, version: str = DEFAULT_VERSION) -> None:
        self.card = _card(version)
        if importlib.util.find_spec("chgnet") is None:
            raise MissingPackageError("this energy needs CHGNet, which is not installed; pip install 'oreflow[chgnet]'")
        with _quiet():
            from chgnet.model.model import CHGNet

            self._model = CHGNet.load(model_name=version, use_device="cpu", verbose=False)
        self._model.eval()
        for parameter in self._model.parameters():
            parameter.requires_grad_(False)

    def evaluate(self, cells: Sequence[Cell], gradients: bool = True) -> list[Evaluation]:
        """Energies, and where `gradients` forces and stresses, of cells.

        Raises:
            PotentialError: when an atom has no neighbour within 6 angstrom.
        """
        from oreflow.rewards.potential.chgnet_graph import evaluate

        return [evaluate(self._model, cell, gradients) for cell in cells]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Swallows what chgnet and torch print and warn about."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _card(version: str) -> Card:
    name = name_of_version(version)
    functional = "r2SCAN" if version == "r2scan" else "PBE(+U), MP2020"
    elements = frozenset(range(1, MAX_ATOMIC_NUMBER + 1))
    return Card(name, f"chgnet-0.4.2, model {version}", functional, "included", "BSD-3-Clause", CITATION, elements)


def _listed(version: str, references: str | None = None, error_ev_per_atom: float | None = None) -> Listed:
    return Listed(
        _card(version),
        functools.partial(Chgnet, version),
        package="chgnet",
        title="CHGNet",
        extra="chgnet",
        references=None if references is None else Path(str(files("oreflow.rewards").joinpath(references))),
        error_ev_per_atom=error_ev_per_atom,
    )


# The error is of 240 structures that the fit of the elements' energies did not use. CHGNet was trained on them, or on
# ones like them: what nobody has computed yet is predicted less well.
CHGNET = _listed("0.3.0", "data/chgnet_references.csv", 0.024)
CHGNET_0_2, CHGNET_R2SCAN = _listed("0.2.0"), _listed("r2scan")
