"""Rows of figures that both model cards hold."""

from typing import Any


def metrics_row(name: str, m: dict[str, Any]) -> str:
    """Format the errors of one part of the rows, `name`, as a row of a Markdown table."""
    if m["mae"] is None:
        return f"| {name} | {m['n']} | too few rows | | | | |"
    return (
        f"| {name} | {m['n']} | {m['mae']:.4g} | {m['rmse']:.4g} | {m['median_absolute_error']:.4g} "
        f"| {100 * m['coverage_90']:.1f} % | {m['spearman_std_error']:.3f} |"
    )


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
