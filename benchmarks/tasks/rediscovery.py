"""Known compounds of a chemical system that no fit has seen, among the formulas that are sampled most often.

    python -m benchmarks.tasks.rediscovery --task vanadium_oxides --reference known.csv [--known other.csv]
        [--out runs/tasks/vanadium_oxides]

Three papers asked their generator for the compounds of one system: vanadium oxides (Noh et al. 2019, iMatGen), Mg-Mn-O
(Kim et al. 2020) and Bi-Se (Long et al. 2021, CCDCGAN). Asked here is how many of the N known formulas of the system
are among the N, and the 3 N, that are sampled most often.

Protocol. `--reference` is the list of known compounds, any table of formulas that oreflow reads; rows count once a
reduced formula, however it is spelt and however many polymorphs there are. N counts the formulas of exactly the
elements of the system. Those outside the world (larger than it allows) cannot be found, and count as missed. World and
target stand in `runs/tasks/NAME/config.yaml`, the same target in all three: the shipped prior `compositions` times a
reward. A world of one system is small, so that nothing is trained or drawn: P0(x) R(x)/Z is computed for every formula,
all build orders summed, and the formulas that are sampled most often are those of the largest P0 R. A formula without a
valid reward is not sampled.

Beside it stand the prior alone, the reward alone (what a search by the reward finds), and a random order, whose hits
are expected values. `--known` names known compounds of other systems; those of this system are left out of it, counted.
Two baselines that change known compounds, ion exchange and charge-balanced decoration of prototypes, then draw
`--draws` formulas each and rank by how often; formulas drawn as often share their places evenly. Where `--known` is the
table that the shipped prior and energy model were fitted to, by the SHA-256 on their cards, it is said how many
formulas of the system it holds: 0 where both have never seen it.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.records import ROOT, command_line, machine, today, write_record
from benchmarks.tasks.system_ranking import drawn_scores, hits, of_system, rank, system_name
from oreflow.agent.config.run import Config, load_config
from oreflow.agent.storage.shipped_priors import card_of_prior
from oreflow.agent.training.build import set_threads
from oreflow.envs.errors import OreflowError, TableError
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.formulas import written_formulas
from oreflow.rewards.models.composition.model import DEFAULT_MODEL, EnergyModel
from oreflow.rewards.reference.known_phases import Reference, read_reference

TASKS = ROOT / "runs" / "tasks"
TITLES = {
    "prior_and_reward": "prior times reward",
    "prior": "prior alone",
    "reward": "reward alone",
    "ion_exchange": "ion exchange",
    "prototype_decoration": "decorated prototypes",
    "random": "random",
}
TIMES = (1, 3)
DRAWS = 20_000
N_UNLISTED = 10


@dataclass(frozen=True)
class KnownOfSystem:
    """The list of known compounds, as far as it is of the system: reduced formulas, distinct, and what was counted."""

    compositions: Compositions
    counted: dict[str, int]


def names() -> list[str]:
    """The tasks of this kind: those with a description of their system, by name."""
    return sorted(path.parent.name for path in TASKS.glob("*/task.yaml"))


def known_of_system(path: Path, config: Config, formula_column: str | None = None) -> KnownOfSystem:
    """Read the known compounds of a system.

    Raises:
        TableError: when no row can be read, or none is of the system.
    """
    found = read_reference(path, energies=False, formula_column=formula_column)
    mine = of_system(found.compositions, config)
    if not mine.any():
        raise TableError(
            f"expected known compounds of {system_name(config)} in {path}, got {len(found)} formulas, none of exactly "
            f"these elements, such as {found.compositions.formulas()[0]}; name a list of this system"
        )
    counted = {
        "rows": found.report["rows_read"],
        "rows_merged": found.report["duplicates"],
        "rows_unreadable": found.report["rows_set_aside"],
        "formulas_of_other_elements": int((~mine).sum()),
        "formulas": int(mine.sum()),
    }
    return KnownOfSystem(found.compositions[mine], counted)


def held_out(config: Config, other: Reference | None) -> dict[str, Any]:
    """What is known of whether prior and energy model have seen the system, by the hashes on their cards."""
    assert config.target.prior is not None
    prior = card_of_prior(config.target.prior).get("data", {}).get("sha256")
    model = EnergyModel.load(DEFAULT_MODEL).card["data"]["sha256"]
    found = {"prior_fitted_to_sha256": prior, "model_fitted_to_sha256": model}
    if other is None or other.sha256 != prior or other.sha256 != model:
        return found | {"formulas_of_the_system_in_it": None}
    return found | {"formulas_of_the_system_in_it": int(of_system(other.compositions, config).sum())}


def measure(config: Config, known: KnownOfSystem, other: Reference | None = None, draws: int = DRAWS) -> dict[str, Any]:
    """The figures of a task: hits of each order among the first N and 3 N, and the first formulas."""
    ranking = rank(config)
    keys = set(known.compositions.key_bytes())
    is_known = np.array([key in keys for key in ranking.compositions.key_bytes()])
    scores, n = ranking.scores(), len(known.compositions)
    left_out = 0
    if other is not None:
        mine = of_system(other.compositions, config)
        left_out = int(mine.sum())
        scores |= drawn_scores(config, other.compositions[~mine], ranking.compositions, draws)
    total = scores["prior_and_reward"]
    share = np.exp(total - np.logaddexp.reduce(total))
    order = np.argsort(-total, kind="stable")
    formulas = written_formulas(ranking.compositions)

    def line(place: int) -> dict[str, Any]:
        row = int(order[place])
        values = {name: float(of_term[row]) for name, of_term in ranking.terms.items()}
        known_too = bool(is_known[row])
        return {"rank": place + 1, "formula": formulas[row], "known": known_too, "share": float(share[row])} | values

    rows = range(min(max(TIMES) * n, int((total > -np.inf).sum())))
    return {
        "system": system_name(config),
        "known": known.counted | {"formulas_outside_the_world": n - int(is_known.sum())},
        "formulas_of_the_world": len(ranking.compositions),
        "formulas_without_reward": int(np.isnan(ranking.log_r).sum()),
        "held_out": held_out(config, other) | {"left_out_of_known": left_out},
        "hits": {
            name: {str(times): hits(scores[name], is_known, times * n) for times in TIMES}
            for name in TITLES
            if name in scores
        },
        "first": [line(place) for place in rows],
    }


def task_row(task: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """What the page of all tasks says of this one, from its description and its figures."""
    n, own = found["known"]["formulas"], found["hits"]["prior_and_reward"]
    measures = [
        {"name": m["name"], "paper": m["paper"], "ours": f"{own[str(m['times'])]:.0f} of {n}"} for m in task["measures"]
    ]
    return {"title": task["title"], "after": task["after"], "measures": measures}


def table(metrics: dict[str, Any]) -> list[str]:
    """The record as lines of Markdown."""
    known, random = metrics["known"], metrics["hits"]["random"]
    n = known["formulas"]
    lines = [f"| order | known among the first N = {n} | among the first 3 N = {3 * n} | times random at N |"]
    lines.append(f"|{' --- |' * 4}")
    for name, own in metrics["hits"].items():
        digits = 0 if all(value == int(value) for value in own.values()) else 1
        cells = [f"{own[str(times)]:.{digits}f}" for times in TIMES]
        times_random = f"{own['1'] / random['1']:.1f}" if random["1"] else ""
        lines.append(f"| {TITLES[name]} | {cells[0]} | {cells[1]} | {times_random} |")
    unlisted = [row for row in metrics["first"] if not row["known"]][:N_UNLISTED]
    lines += [
        "",
        f"{n} known compounds of {metrics['system']} in {metrics['reference']}: of {known['rows']} rows "
        f"{known['rows_merged']} repeat a formula of another and {known['rows_unreadable']} cannot be read, and "
        f"{known['formulas_of_other_elements']} formulas are of other elements. Outside "
        f"the {metrics['formulas_of_the_world']:,} formulas of the world, so that they count as missed: "
        f"{known['formulas_outside_the_world']}.",
        "",
        _held_out_sentence(metrics["held_out"], metrics["system"]),
        "",
        "Sampled most often of those that are not in the list: "
        + ", ".join(f"{row['formula']} (rank {row['rank']}, {row['share']:.2%} of the draws)" for row in unlisted)
        + ".",
    ]
    return lines


def _held_out_sentence(found: dict[str, Any], system: str) -> str:
    n = found["formulas_of_the_system_in_it"]
    if n is None:
        return (
            "Whether prior and energy model have seen the system was not checked: `--known` did not name the table "
            f"that they were fitted to (SHA-256 {found['prior_fitted_to_sha256'][:12]})."
        )
    if n:
        return (
            f"**Prior and energy model have seen the system**: the table that they were fitted to holds {n} formulas."
        )
    return (
        "Neither prior nor energy model has seen the system: the table that they were fitted to holds no formula of "
        f"{system}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=names(), required=True, help="folder in runs/tasks")
    parser.add_argument("--reference", type=Path, required=True, help="your list of known compounds of the system")
    parser.add_argument("--formula-column", help="where its formulas stand, if not found")
    parser.add_argument("--known", type=Path, help="known compounds of other systems, for two more baselines")
    parser.add_argument("--draws", type=int, default=DRAWS, help="of each of these baselines")
    parser.add_argument("--out", type=Path, help="folder of the record")
    options = parser.parse_args()
    started, folder = time.perf_counter(), TASKS / options.task
    set_threads(1)
    config = load_config(folder / "config.yaml")
    try:
        known = known_of_system(options.reference, config, options.formula_column)
        other = None if options.known is None else read_reference(options.known, energies=False)
        found = measure(config, known, other, options.draws)
    except OreflowError as error:
        raise SystemExit(f"error: {error}") from None
    task = yaml.safe_load((folder / "task.yaml").read_text(encoding="utf-8"))
    metrics = {
        "date": today(),
        "machine": machine(1),
        "seconds": time.perf_counter() - started,
        "task": task_row(task, found),
        "reference": options.reference.name,
    } | found
    print("\n".join(table(metrics)))
    if options.out is not None:
        words = ["--task", options.task, "--reference", options.reference.name]
        words += [] if options.formula_column is None else ["--formula-column", options.formula_column]
        words += [] if options.known is None else ["--known", options.known.name, "--draws", str(options.draws)]
        command = command_line("benchmarks.tasks.rediscovery", *words, "--out", options.out)
        protocol = {
            "protocol": (__doc__ or "").strip(),
            "config": (folder / "config.yaml").relative_to(ROOT).as_posix(),
        }
        write_record(options.out.resolve() / "metrics.json", command, metrics, protocol)


if __name__ == "__main__":
    main()
