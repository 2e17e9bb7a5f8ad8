"""Rows of figures that both model cards hold."""

from collections.abc import Mapping
from typing import Any

from oreflow.rewards.models.ensemble.metrics import COVERAGES


def metrics_row(name: str, m: dict[str, Any]) -> str:
    """Format the errors of one part of the rows, `name`, as a row of a Markdown table."""
    if m["mae"] is None:
        return f"| {name} | {m['n']} | too few rows | | | | |"
    return (
        f"| {name} | {m['n']} | {m['mae']:.4g} | {m['rmse']:.4g} | {m['median_absolute_error']:.4g} "
        f"| {100 * m['coverage_90']:.1f} % | {m['spearman_std_error']:.3f} |"
    )


def baseline_rows(name: str, m: dict[str, Any], baselines: dict[str, Any], answers: Mapping[str, str]) -> str:
    """Format the errors of a model and of trivial answers on one part of the rows, `name`, as rows of a table."""
    errors = {"this model": m} | {text: baselines[key] for key, text in answers.items()}
    rows = []
    for answer, found in errors.items():
        cells = "too few rows | |" if found["mae"] is None else f"{found['mae']:.4g} | {found['rmse']:.4g} |"
        r2 = "" if found["r2"] is None else f"{found['r2']:.3f}"
        rows.append(f"| {name} | {answer} | {cells} {r2} |")
    return "\n".join(rows)


def coverage_rows(name: str, m: dict[str, Any]) -> str:
    """Format the true shares of the intervals of `COVERAGES` on one part of the rows as a row of a table."""
    shares = [m[f"coverage_{percent}"] for percent in COVERAGES]
    cells = ["" if share is None else f"{100 * share:.1f} %" for share in shares]
    return f"| {name} | {' | '.join(cells)} |"


def distance_rows(distance: dict[str, Any]) -> str:
    """Format errors by distance from the training data as rows of a Markdown table."""
    rows, lower = [], 0.0
    for part in distance["test_errors"]:
        upper = part["up_to"]
        span = f"beyond {lower:.4g}" if upper is None else f"{lower:.4g} to {upper:.4g}"
        errors = "no rows | " if part["mae"] is None else f"{part['mae']:.4g} | {part['mean_std']:.4g}"
        rows.append(f"| {span} | {part['n']} | {errors} |")
        lower = upper
    return "\n".join(rows)
