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
            "oreflow/Composition-v0": "reduced formulas, one element's count at a time (kind: composition)"
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
        "samplers": {"gflownet": "samples each object with probability R/Z"},
        "objectives": {"trajectory_balance": "Malkin et al. 2022, arXiv:2201.13259; log Z on its own learning rate"},
        "backward policies": {"uniform": "each parent equally likely", "learned": "a head of the network"},
    }


@verb
def init(
    directory: Annotated[Path, typer.Argument(help="Folder to write into.")],
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """A commented config and a reward template to start from; existing files stay.

    Example: oreflow init my_search
    """
    from agent.files import write_text

    directory.mkdir(parents=True, exist_ok=True)
    written, kept = [], []
    for name in ("config.yaml", "my_reward.py"):
        target = directory / name
        if target.exists():
            kept.append(str(target))
            continue
        write_text(target, files("agent").joinpath("templates", name).read_text(encoding="utf-8"))
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
    data: Annotated[Path, typer.Argument(help="CSV with a formula column and a target column.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for weights and model card.")],
    column: Annotated[str, typer.Option(help="Target column.")] = "formation_energy_per_atom",
    formula_column: Annotated[str, typer.Option(help="Formula column.")] = "formula",
    source: Annotated[str, typer.Option(help="Origin and licence of the data, a sentence for the model card.")] = "",
    cite: Annotated[list[str] | None, typer.Option(help="Work to cite with the predictions; repeatable.")] = None,
    members: Annotated[int | None, typer.Option(min=1, help="Members of the ensemble.")] = None,
    max_minutes: Annotated[float | None, typer.Option(min=0.05, help="Stop training after so long.")] = None,
    seed: Seed = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Fit the formation-energy ensemble to a CSV of formulas and energies (eV/atom).

    Example: oreflow fit-energy compositions.csv.gz --out models/mine
    """
    from agent.progress import Progress
    from rewards.fit_energy import fit_energy as fit

    options: dict[str, Any] = {"target_column": column, "formula_column": formula_column, "seed": seed or 0}
    options |= {"data_source": source, "citations": tuple(cite or ())}
    if members is not None:
        options["n_members"] = members
    if max_minutes is not None:
        options["max_minutes"] = max_minutes
    with Progress("fit", 1, quiet) as progress:

        def show(event: dict[str, Any]) -> None:
            figures = {k: v for k, v in event.items() if isinstance(v, int | float) and k not in ("done", "total")}
            progress.total = int(event.get("total", 1))
            progress.update(int(event.get("done", 0)), **figures)

        card = fit(data, out, progress=show, **options)
    if as_json:
        print_json(card)
    elif not quiet:
        print(f"model written to {out}")
        for name, value in card.items():
            if isinstance(value, int | float | str):
                print(f"  {name:36s} {value}")
    return DONE
