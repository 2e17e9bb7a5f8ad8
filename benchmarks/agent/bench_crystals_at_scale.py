"""Stable, unique and novel crystals of 1 000 drawn decorations, all of them realised and relaxed.

    python -m benchmarks.agent.bench_crystals_at_scale --hull compositions.csv.gz --structures structures.csv.gz
        --work DIR [-n 1000] [--best 300] [--second 7net-l3i5] [--out runs/published/crystals_at_scale]

Protocol. Decorations (space group, elements on Wyckoff positions) of the 76 stable elements, up to 20 atoms in the
primitive cell and four elements, are drawn exactly in proportion to P0 R by rejection: P0 is the prior `decorations`,
and R asks for a predicted energy (shipped crystal model, half a standard deviation added) at least 0.01 eV/atom below
the hull of all formulas of both tables, aligned per element, and for the symmetry that is written. Decorations whose
log P0 is below -20 nats, a quarter of them, are left out (`--least-log-prior`). With `--group-power` space groups have
shares of that power of what P0 R gives them. Nothing is screened after that: each draw is realised (`oreflow realise`),
the geometry of lowest CHGNet energy is relaxed (`oreflow relax`: with its symmetry held, and free after a rattle of
0.05 angstrom and 1 % strain), and judged (`oreflow evaluate`)
against the same hull; novelty is against the structures. Duplicates and failures stay in the denominator.

With `--best`, those of the draws are realised, and counted, that are likeliest by P0 R, which is how `oreflow sample`
ranks them, at most eight of one space group: the screened protocol. `--std-weight` adds another number of standard
deviations.

With `--second` another potential relaxes the same geometries, with their symmetry held, and is judged beside the first.

Every step goes on from what `--work` holds, so that an interruption costs nothing.
"""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import oreflow
from benchmarks.records import command_line, machine, today, write_record
from oreflow.agent.config.run import Config, validate_config
from oreflow.agent.judging.judge import Rule
from oreflow.agent.judging.report import report
from oreflow.agent.realisation.geometries import Settings as Search
from oreflow.agent.realisation.run import realise_to_folder
from oreflow.agent.relaxation.run import relax_to_folder
from oreflow.agent.tables.formulas import read_table

N_CORES = 2
MOST_OF_A_GROUP = 8


def config_of(
    hull: Path, structures: Path, std_weight: float, least_log_prior: float, group_power: float | None
) -> Config:
    """What is drawn."""
    shares = {} if group_power is None else {"space_groups": "power", "power": group_power}
    above = {"reference": str(hull), "aligned_by": str(structures), "std_weight": std_weight}
    return validate_config(
        {
            "schema_version": 1,
            "world": {
                "kind": "wyckoff",
                "space_groups": ["all"],
                "elements": ["stable"],
                "n_elements": [2, 4],
                "n_atoms": [2, 20],
                "cell": "primitive",
                "neutrality": "off",
                "geometry": False,
            },
            "target": {"prior": "decorations", "least_log_prior": least_log_prior} | shares,
            "reward": {
                "terms": [
                    {
                        "name": "crystal_energy_above_hull",
                        "params": above,
                        "shape": {"kind": "below", "threshold": -0.01, "width": 0.01},
                    },
                    {"name": "eigensymmetry", "shape": {"kind": "verdict", "log_penalty": 4.0}},
                ]
            },
            "sampler": {"kind": "rejection", "steps": 4 if group_power is None else 64, "batch": 1024},
        },
        "crystals_at_scale",
    )


def screened(candidates: Path, n: int, most_of_a_group: int, out: Path) -> Path:
    """Write the n candidates of largest P0 R, each decoration once, and few of one space group."""
    frame = read_table(candidates).drop_duplicates("protostructure")
    frame = frame.assign(n_times_sampled=1, log_target=frame["log_prior"] + frame["log_reward"])
    frame = frame.sort_values("log_target", ascending=False, kind="stable")
    few = frame.groupby("space_group_number").cumcount() < most_of_a_group
    frame[few].head(n).to_csv(out, index=False)
    return out


def best_of(realised: Path, out: Path) -> Path:
    """Write the first geometry of each decoration."""
    with realised.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["geometry_rank"] == "1"]
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return out


def core_seconds(journal: Path) -> float:
    """Sum the seconds that workers of one thread spent, by a clock on the wall."""
    entries = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    return sum(entry.get("seconds", 0.0) for entry in entries)


def main() -> None:
    """Draw, realise, relax, judge; print the report, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hull", type=Path, required=True, help="formulas and formation energies")
    parser.add_argument("--structures", type=Path, required=True, help="known crystals, and the energies' scale")
    parser.add_argument("--work", type=Path, required=True, help="folder of the steps")
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("--std-weight", type=float, default=0.5, help="standard deviations added to predictions")
    parser.add_argument("--least-log-prior", type=float, default=-20.0, help="what is less likely is left out, nats")
    parser.add_argument("--group-power", type=float, help="shares of space groups are Z^power; by default Z")
    parser.add_argument("--best", type=int, help="realise so many, the best by prediction")
    parser.add_argument("--second", help="potential of a second judge")
    parser.add_argument("--out", type=Path, help="folder of the record")
    options = parser.parse_args()
    work = options.work
    config = config_of(
        options.hull, options.structures, options.std_weight, options.least_log_prior, options.group_power
    )
    sampled = work / "sampled"
    if not (sampled / "candidates.csv").is_file():
        run = oreflow.train(config, work / "run", overwrite=True, quiet=False)
        oreflow.sample(run, options.n, out=sampled, quiet=False)
    table = sampled / "candidates.parquet"
    n_judged = options.best or options.n
    if options.best is not None:
        table = screened(table, options.best, MOST_OF_A_GROUP, work / "screened.csv")
    realise_to_folder(table, work / "realised", Search(rank="chgnet"), workers=N_CORES)
    best = best_of(work / "realised" / "realised.csv", work / "best.csv")
    relax_to_folder([best], work / "relaxed", workers=N_CORES)
    second = None
    if options.second is not None:
        relax_to_folder([best], work / options.second, workers=N_CORES, potential=options.second, track="held")
        second = work / options.second / "relaxed.csv"
    rule = Rule(options.structures, options.hull, options.structures, n_sampled=n_judged)
    judged = report(work / "relaxed", rule, second=second, quiet=False)
    print("\n".join(judged.lines))
    if options.out is None:
        return
    realising = core_seconds(work / "realised" / "realisations.jsonl")
    relaxing = core_seconds(work / "relaxed" / "relaxations.jsonl")
    metrics: dict[str, Any] = {
        "date": today(),
        "machine": machine(threads=N_CORES),
        "seconds": (realising + relaxing) / N_CORES,  # of all calls that went on from one another
        "core_seconds_realising": realising,
        "core_seconds_relaxing": relaxing,
        **judged.metrics,
        "novelty_reference": options.structures.name,
    }
    if second is not None:
        metrics["referees"] |= {"second": second.relative_to(work).as_posix()}
        metrics["core_seconds_of_second"] = core_seconds(work / options.second / "relaxations.jsonl")
    arguments = ["--hull", options.hull.name, "--structures", options.structures.name, "--work", "work"]
    for name, value, usual in (
        ("-n", options.n, 1000),
        ("--best", options.best, None),
        ("--std-weight", options.std_weight, 0.5),
        ("--least-log-prior", options.least_log_prior, -20.0),
        ("--group-power", options.group_power, None),
    ):
        arguments += [] if value == usual else [name, f"{value:g}"]
    arguments += [] if second is None else ["--second", options.second]
    command = command_line("benchmarks.agent.bench_crystals_at_scale", *arguments, "--out", options.out.as_posix())
    protocol = {"protocol": (__doc__ or "").strip(), "reward": config.model_dump(mode="json")["reward"]["terms"]}
    for term in protocol["reward"]:
        for key in ("reference", "aligned_by"):
            if key in term["params"]:
                term["params"][key] = Path(term["params"][key]).name
    write_record(options.out / "metrics.json", command, metrics, protocol)


if __name__ == "__main__":
    main()
