"""Tables of `runs/published/README.md`, made from the records beside it.

    python -m benchmarks.published

Rewrites what stands between the markers `<!-- NAME -->` and `<!-- end -->`; `tests/whole/test_published.py` checks that
it is up to date.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from benchmarks.agent.bench_proof import TITLES
from benchmarks.records import ROOT
from oreflow.agent.storage.atomic_files import write_text

PUBLISHED = ROOT / "runs" / "published"


def read_metrics(name: str) -> dict[str, Any]:
    """`metrics.json` of a record."""
    found: dict[str, Any] = json.loads((PUBLISHED / name / "metrics.json").read_text(encoding="utf-8"))
    return found


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _proof(metrics: dict[str, Any]) -> list[str]:
    world = metrics["world"]
    rows = [
        [
            TITLES[name],
            f"{run['total_variation']:.4f}",
            f"{run['jensen_shannon_nats']:.1e}",
            f"{run['log_z_error']:+.3f}",
            f"{run['total_variation_from_counted_target']:.4f}",
            f"{run['share_of_probability_within_factor_1.25']:.1%}",
            f"{run['target_probability_below_a_tenth']:.2%} ({run['n_formulas_below_a_tenth']} formulas)",
            f"{run['reward_calls']}",
            f"{run['seconds']:.0f}",
        ]
        for name, run in metrics["runs"].items()
    ]
    rows.append(
        [
            "n R / Z', computed without training",
            f"{world['total_variation_of_counted_target']:.4f}",
            f"{world['jensen_shannon_nats_of_counted_target']:.1e}",
            f"{world['log_z_of_counted_target'] - world['log_z']:+.3f}",
            "0",
            *[""] * 4,
        ]
    )
    header = ["sampler", "TV to R/Z", "JSD to R/Z (nats)", "log Z error", "TV to n R / Z'"]
    header += ["R/Z within a factor of 1.25", "R/Z drawn ten times too seldom", "reward calls", "seconds"]
    shares = {
        "exact target R / Z": world["share_of_target_by_elements"],
        **{TITLES[name]: run["share_of_draws_by_elements"] for name, run in metrics["runs"].items()},
        "n R / Z', computed without training": world["share_of_counted_target_by_elements"],
    }
    kinds = world["n_formulas_by_elements"]
    by_elements = [[label, *(f"{share[k]:.2%}" for k in kinds)] for label, share in shares.items()]
    return [
        *_table(header, rows),
        "",
        *_table(["draws of", *(f"{k} elements ({n} formulas)" for k, n in kinds.items())], by_elements),
    ]


def _crystals(metrics: dict[str, Any]) -> list[str]:
    world = metrics["world"]
    rows = [
        [
            _words(name),
            f"{run['total_variation']:.4f}",
            f"{run['jensen_shannon_nats']:.1e}",
            f"{run['log_z_error']:+.4f}",
            f"{run['total_variation_from_counted_target']:.4f}",
            f"{run['reward_calls']}",
            f"{run['seconds']:.0f}",
        ]
        for name, run in metrics["runs"].items()
    ]
    counted = f"{world['total_variation_of_counted_target']:.4f}"
    far = f"{world['jensen_shannon_nats_of_counted_target']:.1e}"
    rows.append(["n R / Z', computed without training", counted, far, "", "0", "", ""])
    header = ["sampler", "TV to R/Z", "JSD to R/Z (nats)", "log Z error", "TV to n R / Z'", "reward calls", "seconds"]
    by_labelings = world["n_crystals_by_labelings"]
    return [
        *_table(header, rows),
        "",
        f"{world['n_crystals']} crystals, {world['n_labelings']} labelings: "
        + ", ".join(f"{count} crystals of {n}" for n, count in by_labelings.items()),
    ]


def _hypergrid(metrics: dict[str, Any]) -> list[str]:
    rows = [
        [
            _words(name),
            f"{run['median_total_variation']:.4f}",
            f"{run['largest_total_variation']:.4f}",
            f"{run['largest_log_z_error']:.3f}",
            f"{len(run['by_seed'])}",
            f"{run['reward_calls']}",
            f"{run['median_seconds']:.0f}",
        ]
        for name, run in metrics["runs"].items()
    ]
    header = ["objective", "median TV", "largest TV", "largest log Z error", "seeds", "reward calls", "median seconds"]
    return _table(header, rows)


def _recipes(metrics: dict[str, Any]) -> list[str]:
    rows = [
        [
            _words(name),
            ", ".join(f"`{change.removeprefix('sampler.')}`" for change in run["changes"]),
            f"{found['total_variation']:.4f}",
            f"{found['log_z_error']:+.3f}",
            f"{found['target_probability_below_a_tenth']:.3%}",
            seed,
            f"{found['reward_calls']}",
            f"{found['seconds']:.0f}",
        ]
        for name, run in metrics["runs"].items()
        for seed, found in run["by_seed"].items()
    ]
    header = ["recipe", "keys of sampler", "TV", "log Z error", "R/Z drawn ten times too seldom"]
    return _table([*header, "seed", "reward calls", "seconds"], rows)


# One table for each record that has a place in the README.
def _speed(metrics: dict[str, Any]) -> list[str]:
    rows = [
        [
            name,
            f"{run['per_second']:,.0f}",
            f"{run['torchgfn_per_second']:,.0f}" if "ratio" in run else "",
            f"{run['ratio']:.1f}" if "ratio" in run else "",
            f"{run['share_outside_network']:.0%}" if "share_outside_network" in run else "",
        ]
        for name, run in metrics["runs"].items()
    ]
    header = ["work", "a second", "torchgfn", "ratio (median of pairs)", "of a step outside the network"]
    if not any("ratio" in run for run in metrics["runs"].values()):
        header, rows = header[:2], [row[:2] for row in rows]
    return _table(header, rows)


def _memory(metrics: dict[str, Any]) -> list[str]:
    # Processes of a few MiB, such as git's, are no workers.
    rows = [
        [f"`{name}`", f"{run['peak_mib']:,.0f}", f"{run['worker_mib']:,.0f}" if run["worker_mib"] > 10 else ""]
        for name, run in metrics["runs"].items()
    ]
    return _table(["command", "peak, MiB", "largest worker process, MiB"], rows)


def _crystals_at_scale(metrics: dict[str, Any]) -> list[str]:
    names = {
        "stable": "stable, at most 0.08 eV/atom above the hull",
        "sun": "stable, unique and novel (S.U.N.)",
        "symmetric_sun": "the same, and not P1",
        "unlisted_sun": "S.U.N. with a formula that neither table lists",
        "new_prototype_sun": "S.U.N. that are no substitution of a known crystal",
        "msun": "S.U.N. at 0.1 eV/atom",
        "symmetric_msun": "the same, and not P1",
        "on_or_below_hull": "on or below the hull",
    }
    figures = metrics["figures"]

    def share(key: str) -> str:
        found = figures.get(key)
        return "" if found is None else f"{found['share']:.1%} ({found['low_95']:.1%} to {found['high_95']:.1%})"

    rows = [[title, share(key), share(f"free_{key}")] for key, title in names.items()]
    varied, core_hours = metrics["diversity"], _core_hours(metrics)
    hits = figures["msun"]["count"]
    return [
        *_table(["of the sampled objects (95 % interval)", "symmetry held", "free after a rattle"], rows),
        "",
        f"n = {metrics['n_sampled']}; {metrics['potential']}; hull of {metrics['hull']}; novelty against "
        f"{metrics['novelty_reference']} ({metrics['n_novelty_reference']} structures). Unique "
        f"{figures['unique']['share']:.1%}; {varied['n_space_groups']} space groups (entropy "
        f"{varied['entropy_space_groups_nats']:.2f} nats, Jensen-Shannon divergence to the reference's "
        f"{varied['space_groups_jensen_shannon_nats']:.3f} nats), {varied['n_chemical_systems']} chemical systems. "
        f"{core_hours:.2f} core-hours for realising and relaxing: {hits / core_hours:.0f} hits (S.U.N. at 0.1 eV/atom, "
        "symmetry held) a core-hour.",
        *_second_judge(metrics),
    ]


def _second_judge(metrics: dict[str, Any]) -> list[str]:
    if "core_seconds_of_second" not in metrics:
        return []
    compared, figures = metrics["referees"], metrics["figures"]
    held = compared["held"]
    both, hits = figures["stable_by_both"], figures["sun_by_both"]
    return [
        "",
        f"A second judge, {compared['second_potential']}, relaxed the same {held['n_joined']} with their symmetry held "
        f"({metrics['core_seconds_of_second'] / 3600:.2f} core-hours). At {held['threshold_ev_per_atom']:g} eV/atom, "
        f"both find {both['share']:.1%} ({both['low_95']:.1%} to {both['high_95']:.1%}) stable and {hits['share']:.1%} "
        f"({hits['low_95']:.1%} to {hits['high_95']:.1%}) stable, unique and novel; the first alone calls "
        f"{held['n_first_only']} stable, the second alone {held['n_second_only']}, neither {held['n_neither']}. Rank "
        f"correlation of the energies above the hull {held['rank_correlation']:.2f}.",
    ]


def _core_hours(metrics: dict[str, Any]) -> float:
    return float(metrics["core_seconds_realising"] + metrics["core_seconds_relaxing"]) / 3600


TABLES: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "exact_energy": _proof,
    "crystals": _crystals,
    "hypergrid": _hypergrid,
    "recipes": _recipes,
    "throughput": _speed,
    "memory": _memory,
    "crystals_at_scale": _crystals_at_scale,
    "crystals_screened": _crystals_at_scale,
    "environment": _speed,
}


def block(name: str) -> str:
    """Command, circumstances and table of a record, as they stand in the README."""
    metrics = read_metrics(name)
    command = (PUBLISHED / name / "command.txt").read_text(encoding="utf-8").strip()
    machine = metrics["machine"]
    threads = f"{machine['threads']} thread{'s' * (machine['threads'] > 1)} of {machine['cores']} cores"
    lines = [
        "```bash",
        command,
        "```",
        "",
        *TABLES[name](metrics),
        "",
        f"({metrics['date']}, oreflow {machine['versions']['oreflow']}, torch {machine['versions']['torch']}, "
        f"{threads}, {metrics['seconds'] / 60:.0f} minutes in all)",
    ]
    return "\n".join(lines)


def filled(text: str) -> str:
    """The README with every marked place filled from its record."""
    return re.sub(
        r"(<!-- (\w+) -->\n)(?:(?!<!-- end -->).)*(<!-- end -->)",
        lambda found: f"{found[1]}{block(found[2])}\n{found[3]}",
        text,
        flags=re.DOTALL,
    )


def main() -> None:
    path = PUBLISHED / "README.md"
    write_text(path, filled(path.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
