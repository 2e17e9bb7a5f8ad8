"""Fits the formation-energy model to a table of formulas and energies, and writes it with its model card."""

import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from envs.compositions import Compositions
from envs.elements import symbols
from envs.errors import OreflowError
from rewards._energy_data import EnergyTable, Split, read_energy_table, split_table
from rewards.energy_model import (
    CARD_FILE,
    MODEL_FILE,
    SCHEMA_VERSION,
    WEIGHTS_FILE,
    EnergyModel,
    calibrated_std,
)
from rewards.features import magpie_features

VALIDATION_SHARE, TEST_SHARE, TEST_CHEMSYS_SHARE = 0.04, 0.05, 0.03
# A number of elements is in scope when this share of the training rows has it.
_SCOPE_SHARE = 1e-3
# Of a normal distribution, 90 % lies within this many standard deviations.
_Z90 = 1.6448536269514722


class FitOutputError(OreflowError, OSError):
    """A place where the fitted model cannot be written."""


def _scope_and_normalisation(table: EnergyTable, train: np.ndarray) -> dict[str, Any]:
    compositions, energy = table.compositions[train], table.energy_ev_per_atom[train]
    share = np.bincount(compositions.n_elements) / len(train)
    features, _ = magpie_features(compositions)
    spread = features.std(axis=0)
    present = np.unique(compositions.atomic_numbers)
    return {
        "elements": [symbols()[z] for z in present[present > 0]],
        "max_elements": int(np.flatnonzero(share >= _SCOPE_SHARE).max()),
        "feature_mean": features.mean(axis=0).tolist(),
        "feature_std": np.where(spread > 1e-9, spread, 1.0).tolist(),
        "target": {
            "name": "formation_energy_per_atom",
            "unit": "eV/atom",
            "mean": float(energy.mean()),
            "std": float(max(energy.std(), 1e-9)),
        },
    }


def _calibrate(mean: np.ndarray, scale: np.ndarray, energy: np.ndarray) -> dict[str, float]:
    """Spread weight by Laplace likelihood, then the factor by the 90 % quantile of |error| / std, on validation rows."""
    error = np.abs(mean.mean(axis=0) - energy)
    candidates = []
    for spread_weight in (0.0, *np.geomspace(0.1, 100.0, 31).tolist()):
        std = calibrated_std(mean, scale, spread_weight=spread_weight, factor=1.0)
        # With the best common factor, the likelihood is log(mean(error / std)) + mean(log(std)) up to constants.
        candidates.append((np.log(np.mean(error / std)) + np.mean(np.log(std)), spread_weight, std))
    _, spread_weight, std = min(candidates, key=lambda c: c[0])
    return {"spread_weight": float(spread_weight), "factor": float(np.quantile(error / std, 0.9) / _Z90)}


def _ranks(values: np.ndarray) -> np.ndarray:
    return np.argsort(np.argsort(values, kind="stable"), kind="stable").astype(np.float64)


def error_metrics(model: EnergyModel, compositions: Compositions, energy_ev_per_atom: np.ndarray) -> dict[str, Any]:
    """Errors of a model on rows with known energies, eV/atom; rows out of its scope are counted and left out.

    `spearman_std_error` is the rank correlation of predicted standard deviation and absolute error, `coverage_90` the
    share of rows within mean ± 1.645 std. Entries are None where no row is in scope.
    """
    prediction = model.predict(compositions)
    rows = prediction.in_scope
    error = prediction.mean[rows] - energy_ev_per_atom[rows]
    std = prediction.std[rows]
    metrics: dict[str, Any] = {"n": int(rows.sum()), "n_out_of_scope": int((~rows).sum())}
    names = ("mae", "rmse", "median_absolute_error", "mean_std", "coverage_90", "spearman_std_error")
    if len(error) < 3:
        return metrics | dict.fromkeys(names)
    values = (
        np.abs(error).mean(),
        np.sqrt((error**2).mean()),
        np.median(np.abs(error)),
        std.mean(),
        (np.abs(error) <= _Z90 * std).mean(),
        np.corrcoef(_ranks(std), _ranks(np.abs(error)))[0, 1],
    )
    return metrics | {name: round(float(value), 5) for name, value in zip(names, values)}


def _versions() -> dict[str, str]:
    packages = ("numpy", "torch", "numba", "pymatgen", "safetensors")
    return {"python": platform.python_version(), **{name: version(name).split("+")[0] for name in packages}}


def _write_atomically(out_dir: Path, contents: dict[str, bytes]) -> None:
    """Writes each file beside its place and renames it; a reader sees the old or the new file, never a half."""
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            with tempfile.NamedTemporaryFile(dir=out_dir, prefix=f".{name}.", delete=False) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(file.name, 0o644)  # temporary files are private to the user
            os.replace(file.name, out_dir / name)
    except OSError as error:
        raise FitOutputError(
            f"expected a folder that can be written at {out_dir}, got: {error}; choose another folder, or free space"
        ) from None


def fit_energy(
    csv_path: str | Path,
    out_dir: str | Path,
    *,
    target_column: str = "formation_energy_per_atom",
    formula_column: str = "formula",
    n_members: int = 4,
    n_epochs: int = 60,
    node_width: int = 128,
    trunk_width: int = 128,
    n_blocks: int = 4,
    seed: int = 0,
    max_minutes: float = 40.0,
    data_source: str = "",
    citations: Sequence[str] = (),
    progress: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Fits an ensemble to a CSV of formulas and formation energies and writes it to a folder.

    The table is split by reduced formula into training, validation (early stopping, calibration) and test rows; a
    second test holds whole chemical systems of which no other part has a row. All reported errors are those of the
    stored half-precision weights.

    Args:
        csv_path: a CSV with a header, plain or compressed.
        out_dir: receives `weights.safetensors`, `model.json` and `README.md`; a model already there is replaced.
        target_column: formation energy in eV/atom.
        formula_column: formulas that pymatgen reads, with whole-number amounts.
        n_members: networks in the ensemble.
        n_epochs: passes over the training rows; early stopping may end the fit sooner.
        node_width, trunk_width, n_blocks: sizes of each network.
        seed: of the split, of the initial weights and of the order of rows.
        max_minutes: if the epochs do not fit into this time, the schedule is shortened to it.
        data_source: a sentence on the data's origin and licence, for the model card.
        citations: works to cite with the predictions.
        progress: called with plain numbers after each epoch and stage ("stage", "fraction_done", "elapsed_s",
            "validation_mae_ev_per_atom", ...).

    Returns:
        The content of `model.json`.

    Raises:
        EnergyDataError: for a table that cannot be read or used.
        FitOutputError: when the folder cannot be written.
    """
    from rewards._energy_network import Architecture, pack
    from rewards._energy_training import FitSettings, fit_parameters

    def report(event: dict[str, Any]) -> None:
        if progress is not None:
            scale = model.card["target"]["std"]
            suffix = "_standardised"
            renamed = {
                key.removesuffix(suffix) + "_ev_per_atom" if key.endswith(suffix) else key: value
                * (scale if key.endswith(suffix) else 1)
                for key, value in event.items()
            }
            progress(renamed)

    seed_split, seed_fit = np.random.SeedSequence(seed).spawn(2)
    table = read_energy_table(csv_path, formula_column=formula_column, target_column=target_column)
    split = split_table(
        table, seed_split, validation=VALIDATION_SHARE, test=TEST_SHARE, test_chemsys=TEST_CHEMSYS_SHARE
    )
    out_dir = Path(out_dir)
    card: dict[str, Any] = {"schema_version": SCHEMA_VERSION, **_scope_and_normalisation(table, split.train)}
    model = EnergyModel(out_dir, card)
    in_scope, _ = model.scope(table.compositions)
    validation = split.validation[in_scope[split.validation]]

    features, elements, fractions = model.encode(table.compositions)
    target = ((table.energy_ev_per_atom - card["target"]["mean"]) / card["target"]["std"]).astype(np.float32)
    architecture = Architecture(
        n_members=n_members,
        n_elements=len(model.elements),
        n_features=features.shape[1],
        node_width=node_width,
        trunk_width=trunk_width,
        n_blocks=n_blocks,
    )
    settings = FitSettings(n_epochs=n_epochs)
    parameters, record = fit_parameters(
        architecture,
        settings,
        encode=lambda rows: pack(features[rows], elements[rows], fractions[rows], architecture.n_elements),
        target=target,
        train=split.train,
        validation=validation,
        seed=seed_fit,
        max_minutes=max_minutes,
        progress=report,
    )
    card |= {"architecture": architecture.to_dict(), "fit": settings.to_dict() | record | {"seed": seed}}
    report({"stage": "test", "fraction_done": 1.0})
    weights = _store(card, parameters)
    _measure(card, parameters, table, split, validation, out_dir)
    card |= {
        "n_parameters": int(sum(p.numel() for p in parameters.values())),
        "data": {"file": Path(csv_path).name, "source": data_source, "target_column": target_column, **table.report},
        "citations": list(citations),
        "command": _command(csv_path, out_dir, locals()),
        "versions": _versions(),
    }
    from rewards._energy_card import render_card

    # The description last: until it is there, its hash tells that the weights are not the ones it describes.
    _write_atomically(
        out_dir,
        {
            WEIGHTS_FILE: weights,
            CARD_FILE: render_card(card).encode(),
            MODEL_FILE: (json.dumps(card, indent=1, ensure_ascii=False) + "\n").encode(),
        },
    )
    return card
