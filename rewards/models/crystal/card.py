"""The model card of a fitted crystal energy model: `model.json` as prose."""

from typing import Any

from oreflow.rewards.models.ensemble.card_rows import distance_rows, metrics_row

_PARTS = {
    "unseen": "all formulas that were not fitted (the two rows below together)",
    "test": "random formulas, none of them fitted",
    "test_chemsys": "whole chemical systems, none of their compounds fitted",
    "validation": "validation (early stopping and calibration)",
}
_PROTOTYPES = {
    "known": "the same positions are occupied in a fitted crystal, by whatever elements",
    "new": "in no fitted crystal",
}


def _compositions(c: dict[str, Any]) -> str:
    if not c:
        return "No table of compositions was fitted beside it."
    before, after = c["mean_absolute_difference"], c["mean_absolute_difference_corrected"]
    return f"""File `{c["file"]}` (SHA-256 `{c["sha256"]}`), compositions without structures:
{c["rows_used"]} reduced formulas, of which {c["rows_held_out"]} were left out because their formula or chemical system
is held out above, and {c["rows_fitted"]} were fitted. Their energies follow another convention: over the
{c["common_formulas"]} training formulas that both tables hold they differ by {before:.4g} eV/atom (mean absolute),
and by {after:.4g} after one correction per element, which was fitted to them and stands in `model.json`."""


def _polymorphs(p: dict[str, Any]) -> str:
    if not p["pairs"]:
        return "The rows that were not fitted hold no such pair."
    share = 100 * p["right"] / max(p["pairs"] - p["tied"], 1)
    return f"""Of {p["pairs"]} such pairs among the rows that were not fitted, {p["tied"]} have one prediction (the same
decoration, or one that the model cannot tell apart). Of the others {p["right"]} ({share:.0f} %) are predicted
in the right order, where tossing a coin gives half."""


def render_card(card: dict[str, Any]) -> str:
    """Markdown text; every number in it stands in `card` too."""
    data, split, fit, a = card["data"], card["split"], card["fit"], card["architecture"]
    c, distance, polymorphs = a["composition"], card["distance"], card["polymorphs"]
    parts = "\n".join(metrics_row(text, card["metrics"][name]) for name, text in _PARTS.items())
    prototypes = "\n".join(metrics_row(text, card["by_prototype"][name]) for name, text in _PROTOTYPES.items())
    numbers = ", ".join(f"{name} {number}" for name, number in card["versions"].items())
    source = f"{data['source']}\n\n" if data["source"] else ""
    citations = "".join(f"- {citation}\n" for citation in card["citations"]) or "- none given\n"
    shortened = " The time limit shortened the schedule." if fit["shortened_by_time_limit"] else ""
    n_formula_types = c["n_ordered_prototypes"] + c["n_anonymous_prototypes"] - 2
    n_prototypes = a["n_ordered"] + a["n_anonymous"] - 2
    minutes = fit["fit_seconds"] / 60
    threads = f"{fit['threads']} thread{'s' if fit['threads'] > 1 else ''}"
    header = "| rows | n | MAE | RMSE | median | 90 % interval | std against error |\n|---|---|---|---|---|---|---|"
    return f"""# Formation energy of a crystal from its space group and occupied positions

Predicts the formation energy per atom (eV/atom) of a crystal, relative to the elements in their reference states, with
a standard deviation. It is told the elements, the space group, and which Wyckoff positions the elements occupy, and
neither lattice nor coordinates: the energy is that of the relaxed crystal with this decoration. Labelings of
one crystal that the normalizer of the space group relates have the same prediction.

## Measured errors

In eV/atom, of the weights as stored; interval: share of rows within mean ± 1.645 std; the last column is the rank
correlation (Spearman) of predicted std and absolute error. No reduced formula is in two parts.

{header}
{parts}

The rows that were not fitted, by their prototype:

{header}
{prototypes}

Polymorphs: crystals of one formula whose energies differ by {polymorphs["difference"]:g} eV/atom or more.
{_polymorphs(polymorphs)}

## Data

{source}File `{data["file"]}` (SHA-256 `{data["sha256"]}`), column `{data["target_column"]}`:
{data["rows_read"]} structures read, {data["rows_used"]} used; {data["bad_rows"]} could not be used, and
{data["pure_element_rows"]} were pure elements, which are left out.
Symmetry: moyopy at {data["symprec_angstrom"]:g} Å. Split by reduced formula: {split["train"]} training, \
{split["validation"]} validation, {split["test"]} test,
and {split["test_chemsys"]} rows of whole chemical systems set aside.

{_compositions(data["compositions"])}

## Scope

{len(card["elements"])} elements: {" ".join(card["elements"])}.
{card["min_elements"]} to {card["max_elements"]} elements in a crystal. Anything else is reported as out of scope, with
a reason; so are pure elements.

## Distance from the training data

That of the crystal's composition, as in the composition model: to the nearest of {distance["n_centres"]} cluster
centres of the training crystals. Beyond {distance["threshold"]:.4g}, which {100 * distance["quantiles"][-1]:g} % of the
validation rows keep, a crystal is flagged as extrapolated. Whether one of the {card["n_prototypes_seen"]} prototypes of
the training crystals is met is a column of its own. The rows that were not fitted by their distance:

| distance | n | MAE | mean std |
|---|---|---|---|
{distance_rows(distance)}

## Limits

- The data are crystals that were made, or are near to what was made: at most 0.5 eV/atom above the hull in this
  release's data. Of a decoration that puts atoms where they do not belong the model has seen no example, and it can be
  far too optimistic there; the standard deviation grows with the distance from the data, without a guarantee. Relax
  what a search finds.
- A low formation energy does not mean that a crystal is stable against its competing phases, and errors of this size
  do not decide stability (Bartel et al., npj Comput. Mater. 6, 97, 2020).
- Of polymorphs of one new formula, which differ by a few hundredths of an eV/atom, the figure above tells what to
  expect: near half of the pairs in order means that this model must not be used to rank polymorphs.
- Free coordinates are not seen: crystals that differ only in them have one prediction.
- Energies of tables with other corrections differ systematically.

## Model

{c["n_members"]} networks, {card["n_parameters"]} parameters in all. The composition: {c["n_rounds"]} message rounds
over element vectors of width {c["node_width"]}, {c["n_features"]} features, {n_formula_types} frequent formula types.
The crystal: {a["n_rounds"]} message rounds over sites (element, site symmetry, multiplicity, free coordinates) of width
{a["site_width"]}, {a["n_space_groups"] - 1} space groups, {a["n_symbols"] - 1} site symmetries, {n_prototypes} frequent
prototypes. Both meet in {c["n_blocks"]} gated residual blocks of width {c["trunk_width"]}. Loss: absolute error, and a
Laplace likelihood for the scale. {fit["epochs_run"]} epochs in {minutes:.1f} minutes on {threads}, the best was
epoch {fit["best_epoch"]}; each showed every crystal {fit["crystal_repeats"]} times.{shortened}
Standard deviation: {card["calibration"]["factor"]:.4f} · sqrt({card["calibration"]["spread_weight"]:.4f} · variance
between members + mean squared scale), fitted on the validation rows. Weights: matrices in one byte a number, with a
scale for each column, computed in single precision, SHA-256 `{card["weights_sha256"]}`.

Fitted by

```
{card["command"]}
```

with {numbers}. The same command on the same number of threads of the same kind of processor gives the same weights.

## Cite

{citations}"""
