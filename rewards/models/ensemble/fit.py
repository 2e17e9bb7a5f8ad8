"""The half of a fit that does not depend on what a model reads: scope, measured errors, record, and the files.

Each kind of model encodes its own rows and builds its own network; `rewards.models.composition.fit` and
`rewards.models.crystal.fit` do that, and call the steps of this module in between.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from oreflow.envs.arrays import AnyFloats, Floats, Ints
from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.models.ensemble.distance import TrainingSummary
from oreflow.rewards.models.ensemble.folder import (
    CARD_FILE,
    MODEL_FILE,
    WEIGHTS_FILE,
    command_of,
    versions,
    write_model_files,
)
from oreflow.rewards.models.ensemble.metrics import Predictor, calibrate, error_metrics, errors_by_distance, significant
from oreflow.rewards.models.ensemble.tables import Split
from oreflow.rewards.models.ensemble.training import Progress

# A number of elements is in scope when this share of the training rows has it.
SCOPE_SHARE = 1e-3
# Shares of the validation rows at whose distances the table of errors by distance is divided; the last is the threshold
# beyond which a composition counts as far.
DISTANCE_QUANTILES = (0.5, 0.9, 0.99)


class MemberPredictor(Predictor, Protocol):
    """A model that also tells what each member of its ensemble says."""

    def predict_members(self, objects: Any, /) -> tuple[Floats, Floats, Floats]:
        """Return mean and scale, float64 [member, batch], and distance, float64 [batch], before calibration."""
        ...


@dataclass(frozen=True)
class MeasuredRows:
    """The rows that a fitted model is calibrated and measured on.

    Attributes:
        objects: all rows of the table, what the model reads: `Compositions` or `Crystals`.
        values: float64 [row].
        split: row indices of the parts of the table.
        calibration: int64, the validation rows that are in the model's scope.
        unseen: int64, the rows of both tests, in the order in which they are measured.
    """

    objects: Any
    values: Floats
    split: Split
    calibration: Ints
    unseen: Ints

    def parts(self) -> dict[str, Ints]:
        """Return the row indices of the parts that were not fitted, by name."""
        return {
            "validation": self.split.validation,
            "test": self.split.test,
            "test_chemsys": self.split.test_chemsys,
        }


def reporter(progress: Progress | None) -> Progress:
    """Return what a fit calls after each stage: `progress`, or nothing where there is none."""
    return (lambda event: None) if progress is None else progress


def stage_event(name: str, n_epochs: int) -> dict[str, Any]:
    """Describe the start of the stage "read" or "test" for `progress`: no epoch is done yet, or all are."""
    done = name == "test"
    return {"stage": name, "done": n_epochs if done else 0, "total": n_epochs, "fraction_done": float(done)}


def scope_and_normalisation(train: Compositions, features: AnyFloats, values: Floats) -> dict[str, Any]:
    """Return what `model.json` says of scope and normalisation.

    Args:
        train: the training rows, whose elements and numbers of elements are in scope.
        features: float32 or float64 [row, feature], of all rows that are fitted.
        values: float64 [row], of the same rows.

    Returns:
        target (mean and std of the values), elements, min_elements, max_elements, feature_mean, feature_std.
    """
    present = np.unique(train.atomic_numbers)
    sizes = np.flatnonzero(np.bincount(train.n_elements) >= SCOPE_SHARE * len(train))
    spread = features.std(axis=0)
    return {
        "target": {"mean": float(values.mean()), "std": float(values.std()) or 1.0},
        "elements": [symbols()[z] for z in present[present > 0].tolist()],
        "min_elements": int(sizes.min()),
        "max_elements": int(sizes.max()),
        "feature_mean": features.mean(axis=0).tolist(),
        "feature_std": np.where(spread > 1e-9, spread, 1.0).tolist(),
    }


def measure(model: MemberPredictor, card: dict[str, Any], rows: MeasuredRows, summary: TrainingSummary) -> None:
    """Calibrate a model with its weights as stored, and add its measured errors to its card.

    Args:
        model: reads `card`, so that its predictions are calibrated as soon as the calibration stands there.
        card: receives `calibration`, `metrics`, `distance` and `split`.
        rows: what is measured on.
        summary: where the training rows lie.
    """
    member_mean, member_scale, distance = model.predict_members(rows.objects[rows.calibration])
    card["calibration"] = calibrate(member_mean, member_scale, rows.values[rows.calibration])
    edges = [significant(float(q)) for q in np.quantile(distance, DISTANCE_QUANTILES)]
    parts, unseen = rows.parts(), rows.unseen
    card["metrics"] = errors_of_parts(model, rows, parts)
    card["distance"] = {
        "threshold": edges[-1],
        "quantiles": list(DISTANCE_QUANTILES),
        "test_errors": errors_by_distance(model, rows.objects[unseen], rows.values[unseen], edges),
        "n_components": summary.projection.shape[1],
        "n_centres": len(summary.centres),
    }
    card["split"] = {"train": len(rows.split.train), **{name: len(part) for name, part in parts.items()}}


def errors_of_parts(model: Predictor, rows: MeasuredRows, parts: Mapping[str, Ints]) -> dict[str, Any]:
    """Return the errors of a model on each part, by name; parts are int64 row indices."""
    return {name: error_metrics(model, rows.objects[part], rows.values[part]) for name, part in parts.items()}


def provenance(
    fit: Callable[..., Any], arguments: dict[str, Any], weights: bytes, table: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what `model.json` says of where a model comes from.

    Args:
        fit: the function that fitted it.
        arguments: all it was called with, by name: `csv_path`, `data_source`, `target_column`, `citations`, ...
        weights: the content of the file of weights, whose hash ties the two files together.
        table: the report of the table that was read.

    Returns:
        weights_sha256, data, citations, command, versions.
    """
    citations: Sequence[str] = arguments["citations"]
    return {
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "data": {
            "file": Path(arguments["csv_path"]).name,
            "source": arguments["data_source"],
            "target_column": arguments["target_column"],
            **table,
        },
        "citations": list(citations),
        "command": command_of(fit, arguments),
        "versions": versions(),
    }


def write_model(out_dir: Path, card: dict[str, Any], weights: bytes, text: str) -> None:
    """Write a model's folder: weights, model card and description.

    The description comes last: until it is there, its hash tells that the weights are not the ones it describes.

    Raises:
        FitOutputError: when the folder cannot be written.
    """
    description = json.dumps(card, indent=1, ensure_ascii=False) + "\n"
    contents = {WEIGHTS_FILE: weights, CARD_FILE: text.encode(), MODEL_FILE: description.encode()}
    write_model_files(out_dir, contents)
