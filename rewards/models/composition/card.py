"""The model card of a fitted property model: `model.json` as prose."""

from typing import Any

from oreflow.rewards.models.ensemble.card_rows import baseline_rows, coverage_rows, distance_rows, metrics_row
from oreflow.rewards.models.ensemble.metrics import COVERAGES

_PARTS = {
    "test": "random formulas, none of them fitted",
    "test_chemsys": "whole chemical systems, none of their compounds fitted",
    "validation": "validation (early stopping and calibration)",
}


def _introduction(target: dict[str, Any]) -> str:
    if target["formation_energy"]:
        return """# Formation energy from composition

Predicts the formation energy per atom (eV/atom) of the most stable known crystal of a composition, relative to the
elements in their reference states, with a standard deviation. Negative means that energy is released on formation from
the elements. The convention (functional, corrections, reference states) is that of the data below."""
    unit = f"in {target['unit']}" if target["unit"] else "without a unit"
    return f"""# {target["name"]} from composition

Predicts the property `{target["name"]}`, {unit}, from the composition, with a standard deviation. What the property
means, and how it was computed or measured, is a matter of the data below."""


def _limits(target: dict[str, Any]) -> str:
    if target["formation_energy"]:
        return """- A composition has many crystals: the energy is that of the best one in the data, if it is there.
- A low formation energy does not mean that a compound is stable against its competing phases, and errors of this size
  do not decide stability (Bartel et al., npj Comput. Mater. 6, 97, 2020).
- The data are known compounds. Compositions that are chemically absurd lie outside them although their elements are in
  scope; the standard deviation and the distance grow there, without a guarantee.
- Energies of tables with other corrections differ systematically, by about 0.05 eV/atom between Materials Project
  releases."""
    return """- A composition has many crystals, and their values may differ: the prediction is for crystals like those
  of the data.
- Compositions that are unlike the data lie outside them although their elements are in scope; the standard deviation
  and the distance grow there, without a guarantee."""


_MEASURED = ("test", "test_chemsys")


def _beside_baselines(card: dict[str, Any]) -> str:
    """What trivial answers reach on the same rows, and how true the intervals are; cards of 0.4 have neither."""
    if "baselines" not in card:
        return ""
    answers = {"mean": "mean of the training values", "nearest": "value of the training formula nearest in features"}
    metrics, baselines = card["metrics"], card["baselines"]
    beside = [baseline_rows(_PARTS[name], metrics[name], baselines[name], answers) for name in _MEASURED]
    true = "\n".join(coverage_rows(_PARTS[name], metrics[name]) for name in _PARTS)
    return f"""
The same rows, answered without a fit:

| rows | answer | MAE | RMSE | R2 |
|---|---|---|---|---|
{chr(10).join(beside)}

How often a value lies within the interval that is meant to hold so many per cent of them (calibrated on the validation
rows at 90 %):

| rows | {" | ".join(f"{percent} %" for percent in COVERAGES)} |
|---|{"---|" * len(COVERAGES)}
{true}
"""


def render_card(card: dict[str, Any]) -> str:
    """Markdown text; every number in it stands in `card` too."""
    data, split, fit, a, target = card["data"], card["split"], card["fit"], card["architecture"], card["target"]
    distance = card["distance"]
    rows = "\n".join(metrics_row(_PARTS[name], card["metrics"][name]) for name in _PARTS)
    versions = ", ".join(f"{name} {number}" for name, number in card["versions"].items())
    source = f"{data['source']}\n\n" if data["source"] else ""
    citations = "".join(f"- {citation}\n" for citation in card["citations"]) or "- none given\n"
    shortened = " The time limit shortened the schedule." if fit["shortened_by_time_limit"] else ""
    quick = " It is a quick fit: smaller, and not trained to the end; without --quick errors are lower."
    shortened += quick if fit.get("quick") else ""
    shortened += " It started from the weights of the shipped model." if fit.get("from_pretrained") else ""
    unit = f"In {target['unit']}, of" if target["unit"] else "Of"
    if target["formation_energy"]:
        pure = f"{data['pure_element_rows']} were pure\nelements, which are left out"
        zero = "; a pure element in scope\ngets 0 by definition"
    else:
        pure, zero = f"{data['pure_element_rows']} were pure\nelements, which are data like the others", ""
    return f"""{_introduction(target)}

## Measured errors

{unit} the weights as stored; interval: share of rows within mean ± 1.645 std; the last column is the rank
correlation (Spearman) of predicted std and absolute error.

| rows | n | MAE | RMSE | median | 90 % interval | std against error |
|---|---|---|---|---|---|---|
{rows}
{_beside_baselines(card)}
## Data

{source}File `{data["file"]}` (SHA-256 `{data["sha256"]}`), column `{data["target_column"]}`:
{data["rows_read"]} rows read, {data["rows_used"]} reduced formulas used; {data["bad_rows"]} rows could not be used,
{data["duplicate_rows"]} repeated a formula (the {data["duplicates_kept"]} value was kept), {pure}.
Split by reduced formula: {split["train"]} training, {split["validation"]} validation, {split["test"]} test,
and {split["test_chemsys"]} rows of whole chemical systems set aside.

## Scope

{len(card["elements"])} elements: {" ".join(card["elements"])}.
{card["min_elements"]} to {card["max_elements"]} elements in a composition. Anything else is reported as out of scope, \
with a reason{zero}.

## Distance from the training data

The distance of a composition is that to the nearest of {distance["n_centres"]} cluster centres of the training rows, in
the leading {distance["n_components"]} principal components of the standardised features, divided by the root of the
number of features: about the root mean square difference from the most similar training formulas, in standard
deviations of a feature. Beyond {distance["threshold"]:.4g}, which {100 * distance["quantiles"][-1]:g} % of the \
validation rows keep, a composition is
flagged as extrapolated; it is refused only where a limit is set (`max_distance`). The test rows of
both kinds by their distance:

| distance | n | MAE | mean std |
|---|---|---|---|
{distance_rows(distance)}

## Limits

{_limits(target)}

## Model

{a["n_members"]} networks, {card["n_parameters"]} parameters in all: {a["n_rounds"]} message rounds over element
vectors of width {a["node_width"]}, then {a["n_blocks"]} gated residual blocks of width {a["trunk_width"]} on them, on
{a["n_features"]} features (132 of Magpie, the others of stoichiometry and charge balance), and on vectors of
{a["n_ordered_prototypes"] + a["n_anonymous_prototypes"] - 2} frequent prototypes. Loss: absolute error, and a Laplace
likelihood for the scale. {fit["epochs_run"]} epochs in {fit["fit_seconds"] / 60:.1f} minutes on {fit["threads"]} \
thread{"s" if fit["threads"] > 1 else ""}, the best was epoch {fit["best_epoch"]}.{shortened}
Standard deviation: {card["calibration"]["factor"]:.4f} · sqrt({card["calibration"]["spread_weight"]:.4f} · variance
between members + mean squared scale), fitted on the validation rows. Weights: half precision, computed in single
precision, SHA-256 `{card["weights_sha256"]}`.

Fitted by

```
{card["command"]}
```

with {versions}. The same command on the same number of threads of the same kind of processor gives the same weights.

## Cite

{citations}"""
