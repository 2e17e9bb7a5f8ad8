"""The model card of a fitted energy model: `model.json` as prose."""

from typing import Any

_PARTS = {
    "test": "random formulas, none of them fitted",
    "test_chemsys": "whole chemical systems, none of their compounds fitted",
    "validation": "validation (early stopping and calibration)",
}


def _metrics_row(name: str, m: dict[str, Any]) -> str:
    if m["mae"] is None:
        return f"| {_PARTS[name]} | {m['n']} | too few rows | | | | |"
    return (
        f"| {_PARTS[name]} | {m['n']} | {m['mae']:.4f} | {m['rmse']:.4f} | {m['median_absolute_error']:.4f} "
        f"| {100 * m['coverage_90']:.1f} % | {m['spearman_std_error']:.3f} |"
    )


def render_card(card: dict[str, Any]) -> str:
    """Markdown text; every number in it stands in `card` too."""
    data, split, fit, a = card["data"], card["split"], card["fit"], card["architecture"]
    rows = "\n".join(_metrics_row(name, card["metrics"][name]) for name in _PARTS)
    versions = ", ".join(f"{name} {number}" for name, number in card["versions"].items())
    source = f"{data['source']}\n\n" if data["source"] else ""
    citations = "".join(f"- {citation}\n" for citation in card["citations"]) or "- none given\n"
    shortened = " The time limit shortened the schedule." if fit["shortened_by_time_limit"] else ""
    return f"""# Formation energy from composition

Predicts the formation energy per atom (eV/atom) of the most stable known crystal of a composition, relative to the
elements in their reference states, with a standard deviation. Negative means that energy is released on formation from
the elements. The convention (functional, corrections, reference states) is that of the data below.

## Measured errors

In eV/atom, of the weights as stored; interval: share of rows within mean ± 1.645 std; the last column is the rank
correlation (Spearman) of predicted std and absolute error.

| rows | n | MAE | RMSE | median | 90 % interval | std against error |
|---|---|---|---|---|---|---|
{rows}

## Data

{source}File `{data["file"]}` (SHA-256 `{data["sha256"]}`), column `{data["target_column"]}`:
{data["rows_read"]} rows read, {data["rows_used"]} reduced formulas used; {data["bad_rows"]} rows could not be used,
{data["duplicate_rows"]} repeated a formula (the lowest energy was kept), {data["pure_element_rows"]} were pure
elements. Split by reduced formula: {split["train"]} training, {split["validation"]} validation, {split["test"]} test,
and {split["test_chemsys"]} rows of whole chemical systems set aside.

## Scope

{len(card["elements"])} elements: {" ".join(card["elements"])}.
Two to {card["max_elements"]} elements in a composition. Anything else is reported as out of scope, with a reason; a
pure element in scope gets 0 by definition.

## Limits

- A composition has many crystals: the energy is that of the best one in the data, found or not found there.
- A low formation energy does not mean that a compound is stable against its competing phases, and errors of this size
  do not decide stability (Bartel et al., npj Comput. Mater. 6, 97, 2020).
- The data are known compounds. Compositions that are chemically absurd lie outside them although their elements are in
  scope; the standard deviation grows there, without a guarantee.
- Energies of tables with other corrections differ systematically, by about 0.05 eV/atom between Materials Project
  releases.

## Model

{a["n_members"]} networks, {card["n_parameters"]} parameters in all: {a["n_rounds"]} message rounds over element
vectors of width {a["node_width"]}, then {a["n_blocks"]} gated residual blocks of width {a["trunk_width"]} on them and
132 Magpie features. Loss: absolute error, and a Laplace likelihood for the scale. {fit["epochs_run"]} epochs in
{fit["fit_seconds"] / 60:.1f} minutes, the best was epoch {fit["best_epoch"]}.{shortened} Standard deviation:
{card["calibration"]["factor"]:.4f} · sqrt({card["calibration"]["spread_weight"]:.4f} · variance between members + mean
squared scale), fitted on the validation rows. Weights: half precision, computed in single precision, SHA-256
`{card["weights_sha256"]}`.

Fitted by `from rewards.fit_energy import fit_energy` and

```python
{card["command"]}
```

with {versions}.

## Cite

{citations}"""
