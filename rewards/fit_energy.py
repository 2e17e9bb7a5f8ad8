"""Fits the formation-energy model to a table of formulas and energies, and writes it with its model card."""

import hashlib
import inspect
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
from rewards._energy_data import EnergyTable, read_energy_table, split_table
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
    """Spread weight by Laplace likelihood, then the factor by the 90 % quantile of |error| / std."""
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


def _command(arguments: dict[str, Any]) -> str:
    """The call that repeats a fit, without the folders of this machine and without defaults."""
    given = []
    for name, parameter in inspect.signature(fit_energy).parameters.items():
        value = arguments[name]
        if name in ("csv_path", "out_dir"):
            given.append(repr(Path(value).name))
        elif name != "progress" and value != parameter.default:
            given.append(f"{name}={value!r}")
    return "fit_energy(\n" + "".join(f"    {argument},\n" for argument in given) + ")"


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
        progress: called with plain numbers after each epoch and stage ("stage", "done" and "total"
            epochs, "elapsed_s", "validation_mae_ev_per_atom" and others).

    Returns:
        The content of `model.json`.

    Raises:
        EnergyDataError: for a table that cannot be read or used.
        FitOutputError: when the folder cannot be written.
    """
    arguments = dict(locals())
    from safetensors.torch import save

    from rewards._energy_card import render_card
    from rewards._energy_network import Architecture, pack
    from rewards._energy_training import FitSettings, fit_parameters

    def report(event: dict[str, Any]) -> None:
        if progress is not None:
            progress(event)

    seed_split, seed_fit = np.random.SeedSequence(seed).spawn(2)
    report({"stage": "read", "done": 0, "total": n_epochs, "fraction_done": 0.0})
    table = read_energy_table(csv_path, formula_column=formula_column, target_column=target_column)
    split = split_table(
        table, seed_split, validation=VALIDATION_SHARE, test=TEST_SHARE, test_chemsys=TEST_CHEMSYS_SHARE
    )
    card: dict[str, Any] = {"schema_version": SCHEMA_VERSION, **_scope_and_normalisation(table, split.train)}
    scope_model = EnergyModel(Path(out_dir), card)
    in_scope, _ = scope_model.scope(table.compositions)
    validation = split.validation[in_scope[split.validation]]
    features, elements, fractions = scope_model.encode(table.compositions)
    architecture = Architecture(
        n_members=n_members,
        n_elements=len(scope_model.elements),
        n_features=features.shape[1],
        node_width=node_width,
        trunk_width=trunk_width,
        n_blocks=n_blocks,
    )
    settings = FitSettings(n_epochs=n_epochs)
    fitted, record = fit_parameters(
        architecture,
        settings,
        encode=lambda rows: pack(features[rows], elements[rows], fractions[rows], architecture.n_elements),
        energy_ev_per_atom=table.energy_ev_per_atom,
        target_mean=card["target"]["mean"],
        target_std=card["target"]["std"],
        train=split.train,
        validation=validation,
        seed=seed_fit,
        max_minutes=max_minutes,
        progress=report,
    )

    report({"stage": "test", "done": n_epochs, "total": n_epochs, "fraction_done": 1.0})
    stored = {name: tensor.half().contiguous() for name, tensor in fitted.items()}
    weights = save(stored)
    # From here on with the weights as stored: calibration and all errors are those that users will see.
    model = EnergyModel(Path(out_dir), card, ({name: t.float() for name, t in stored.items()}, architecture))
    member_mean, member_scale = model.predict_members(table.compositions[validation])
    card["calibration"] = _calibrate(member_mean, member_scale, table.energy_ev_per_atom[validation])
    parts = {"validation": split.validation, "test": split.test, "test_chemsys": split.test_chemsys}
    card |= {
        "metrics": {
            name: error_metrics(model, table.compositions[rows], table.energy_ev_per_atom[rows])
            for name, rows in parts.items()
        },
        "split": {"train": len(split.train), **{name: len(rows) for name, rows in parts.items()}},
        "architecture": architecture.to_dict(),
        "n_parameters": sum(tensor.numel() for tensor in stored.values()),
        "fit": {**settings.to_dict(), **record, "seed": seed},
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "data": {"file": Path(csv_path).name, "source": data_source, "target_column": target_column, **table.report},
        "citations": list(citations),
        "command": _command(arguments),
        "versions": _versions(),
    }
    # The description last: until it is there, its hash tells that the weights are not the ones it describes.
    contents = {
        WEIGHTS_FILE: weights,
        CARD_FILE: render_card(card).encode(),
        MODEL_FILE: (json.dumps(card, indent=1, ensure_ascii=False) + "\n").encode(),
    }
    _write_atomically(Path(out_dir), contents)
    return card
