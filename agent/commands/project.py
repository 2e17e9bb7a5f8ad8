"""`list`, `init` and `fit-energy`."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.commands.common import DONE, AsJson, Plugins, Quiet, Seed, load_plugins, print_json, verb


@verb
def list_(
    what: Annotated[str, typer.Argument(help="envs, rewards or samplers.")],
    plugin: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """What there is: environments and element presets, rewards and shapes, samplers.

    Example: oreflow list rewards
    """
    from envs.elements import nearest

    listings = {"envs": _envs, "rewards": _rewards, "samplers": _samplers}
    if what not in listings:
        raise ValueError(f"expected envs, rewards or samplers, got {what!r}; {nearest(what, listings)}")
    load_plugins(plugin)
    sections = listings[what]()
    if as_json:
        print_json(sections)
    elif not quiet:
        for section, entries in sections.items():
            print(section)
            for name, text in entries.items():
                print(f"  {name:26s} {text}")
    return DONE


def _envs() -> dict[str, dict[str, str]]:
    from envs.elements import presets
    from envs.oxidation import TABLES

    return {
        "environments": {
            "oreflow/Composition-v0": "reduced formulas, one element's count at a time (kind: composition)",
            "oreflow/Wyckoff-v0": "crystals: space group, elements on Wyckoff positions, lattice (kind: wyckoff)",
        },
        "element presets": {name: f"{len(e)} elements: {e[0]} to {e[-1]}" for name, e in presets().items()},
        "oxidation-state tables": {name: f"{table.description} [{table.version}]" for name, table in TABLES.items()},
    }


def _rewards() -> dict[str, dict[str, str]]:
    import inspect

    from rewards.errors import PluginError
    from rewards.registry import factory_of, names
    from rewards.shaping import SHAPES

    def first_line(thing: Any) -> str:
        return (inspect.getdoc(thing) or "").split("\n")[0]

    def describe(name: str) -> str:
        try:
            factory = factory_of(name)
        except PluginError as error:  # a broken entry point must not hide the others
            return f"cannot be loaded: {error}"
        unit = getattr(factory, "unit", "")
        params = [
            key if p.default is p.empty else f"{key}={p.default}"
            for key, p in inspect.signature(factory).parameters.items()
        ]
        return f"[{unit}] {first_line(factory)}" + (f" Parameters: {', '.join(params)}." if params else "")

    return {
        "rewards": {
            name: describe(name) + ("" if origin == "built in" else f" ({origin})") for name, origin in names().items()
        },
        "shapes": {
            name: f"{', '.join(inspect.signature(shape).parameters)}: {first_line(shape)}"
            for name, shape in SHAPES.items()
        },
    }


def _samplers() -> dict[str, dict[str, str]]:
    return {
        "samplers (sampler.kind)": {
            "gflownet": "draws each object with probability R/Z",
            "policy_gradient": "the same, learned as entropy-regularised reinforcement learning",
            "random": "baseline: random allowed actions",
            "metropolis_hastings": "baseline: parallel chains that leave R/Z unchanged; sample continues them",
            "genetic": "baseline: an optimiser, no sampler of R/Z",
        },
        "objectives of gflownet": {
            "trajectory_balance": "Malkin et al. 2022, arXiv:2201.13259; log Z on its own learning rate",
            "sub_trajectory_balance": "Madan et al. 2023, arXiv:2209.12782; learns state flows",
            "detailed_balance": "Bengio et al. 2023, arXiv:2111.09266; learns state flows",
            "log_partition_variance": "Zhang et al. 2023, arXiv:2302.05446; needs no log Z",
        },
        "objectives of policy_gradient": {
            "baseline": "returns minus a learned value",
            "gae": "generalised advantage estimation, arXiv:1506.02438; the default",
            "entropic_ppo": "several clipped, KL-anchored epochs a batch, arXiv:2606.15793",
        },
        "engines": {"oreflow": "compiled, the default", "torchgfn": "torchgfn's own sampler and losses (gflownet)"},
        "backward policies": {"uniform": "each parent equally likely", "learned": "a head of the network"},
        "recipes, off by default": {
            "replay": "objects found before, along new build orders drawn from P_B",
            "warm_start": "known compounds from a table fill the replay buffer",
            "local_search": "takes objects apart and finishes them anew, keeps the better ones",
            "temperature_start, temperature_end": "draws training batches from a flatter policy",
            "family": "one policy for all temperatures, or all weightings of the terms, chosen when it samples",
        },
    }


@verb
def init(
    directory: Annotated[Path, typer.Argument(help="Folder to write into.")],
    crystals: Annotated[bool, typer.Option("--crystals", help="A config of crystals, not of formulas.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """A commented config and a reward template to start from; existing files stay.

    Example: oreflow init my_search
    """
    from agent.files import write_text

    directory.mkdir(parents=True, exist_ok=True)
    written, kept = [], []
    for name, template in (("config.yaml", "crystals.yaml" if crystals else "config.yaml"), ("my_reward.py",) * 2):
        target = directory / name
        if target.exists():
            kept.append(str(target))
            continue
        write_text(target, files("agent").joinpath("templates", template).read_text(encoding="utf-8"))
        written.append(str(target))
    if as_json:
        print_json({"written": written, "kept": kept})
    elif not quiet:
        for path in written:
            print(f"wrote {path}")
        for path in kept:
            print(f"kept {path}, which was there already")
        config, plugin = directory / "config.yaml", directory / "my_reward.py"
        print(f"next: oreflow check {config} --plugin {plugin}")
        print(f"      oreflow train {config} --plugin {plugin} --out {directory / 'run'}")
    return DONE


@verb
def fit_energy(
    data: Annotated[Path, typer.Argument(help="CSV of formulas, or of structures (columns lattice, sites); .gz too.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for weights and model card.")],
    column: Annotated[str, typer.Option(help="Target column: any property.")] = "formation_energy_per_atom",
    formula_column: Annotated[str, typer.Option(help="Formula column.")] = "formula",
    unit: Annotated[str | None, typer.Option(help="Unit of the target; eV/atom for formation energies.")] = None,
    formation_energy: Annotated[
        bool | None,
        typer.Option(help="Pure elements are 0, the lowest of several values counts. By default: if the column is so."),
    ] = None,
    compositions: Annotated[
        Path | None, typer.Option(help="With structures: a CSV of formulas and their ground-state energies beside it.")
    ] = None,
    composition_only: Annotated[
        bool, typer.Option("--composition-only", help="Fit formulas, though the table holds structures.")
    ] = False,
    source: Annotated[str, typer.Option(help="Origin and licence of the data, a sentence for the model card.")] = "",
    cite: Annotated[list[str] | None, typer.Option(help="Work to cite with the predictions; repeatable.")] = None,
    members: Annotated[int | None, typer.Option(min=1, help="Members of the ensemble.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training rows.")] = None,
    max_minutes: Annotated[float | None, typer.Option(min=0.05, help="Stop training after so long.")] = None,
    seed: Seed = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Fit a property ensemble to a CSV of formulas and values: formation energies, or any --column with its --unit.

    A CSV of structures gives a model of the formation energy of crystals, from space group and occupied positions.

    Example: oreflow fit-energy compositions.csv.gz --out models/mine
    """
    from agent.progress import Progress
    from rewards._energy_data import EnergyDataError
    from rewards.fit_energy import FORMATION_ENERGY_UNIT
    from rewards.fit_energy import fit_energy as fit
    from rewards.wyckoff_energy.data import has_structures

    options: dict[str, Any] = {"target_column": column, "seed": seed or 0}
    options |= {"data_source": source, "citations": tuple(cite or ())}
    if not composition_only and has_structures(data):
        from rewards.wyckoff_energy.fit import fit_crystal_energy as fit  # type: ignore[assignment]

        if unit not in (None, FORMATION_ENERGY_UNIT) or formation_energy is False:
            raise EnergyDataError(
                f"expected formation energies in {FORMATION_ENERGY_UNIT} of the structures in {data}, got another "
                "property; add --composition-only to fit it to the formulas alone"
            )
        options |= {"compositions_path": compositions}
    elif compositions is not None:
        raise EnergyDataError(
            f"expected structures (columns lattice and sites) beside --compositions, got formulas alone in {data}: "
            "give the structures as DATA, or leave --compositions out"
        )
    else:
        options |= {"formula_column": formula_column, "formation_energy": formation_energy, "unit": unit}
    given = {"n_members": members, "n_epochs": epochs, "max_minutes": max_minutes}
    options |= {name: value for name, value in given.items() if value is not None}
    with Progress("fit", 1, quiet) as progress:

        def show(event: dict[str, Any]) -> None:
            figures = {k: v for k, v in event.items() if isinstance(v, int | float) and k not in ("done", "total")}
            progress.total = int(event.get("total", 1))
            progress.update(int(event.get("done", 0)), **figures)

        card = fit(data, out, progress=show, **options)
    if as_json:
        print_json(card)
    elif not quiet:
        for line in _fit_summary(card, out):
            print(line)
    return DONE


def _fit_summary(card: dict[str, Any], out: Path) -> list[str]:
    """What was fitted, what of the table was not used, and the errors on rows that were not fitted."""
    target, data, epochs = card["target"], card["data"], card["fit"]
    unit = f" {target['unit']}" if target["unit"] else ""
    repeated = ""
    if "duplicate_rows" in data:  # of structures each is a row, however many have one formula
        repeated = f"{data['duplicate_rows']} repeated a formula ({data['duplicates_kept']} value kept), "
    lines = [
        f"model of {target['name']} written to {out}",
        f"  rows used                 {data['rows_used']} of {data['rows_read']}; {repeated}"
        f"{data['pure_element_rows']} pure elements",
        f"  rows that cannot be used  {data['bad_rows']}",
    ]
    lines += [f"    line {bad['line']}: {bad['reason']}" for bad in data["bad_rows_first"][:5]]
    lines.append(f"  epochs                    {epochs['epochs_run']}, the best was {epochs['best_epoch']}")
    for name, text in (("test", "random formulas"), ("test_chemsys", "new chemical systems")):
        m = card["metrics"][name]
        figures = "too few rows"
        if m["mae"] is not None:
            figures = f"{m['mae']:.4g}{unit}, {100 * m['coverage_90']:.1f} % within mean ± 1.645 std"
        lines.append(f"  {'MAE, ' + text:25s} {figures} ({m['n']} rows)")
    return [*lines, f"  weights                   SHA-256 {card['weights_sha256']}"]
