"""`oreflow fit-prior`: what known compounds look like, as a sampler."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from oreflow.agent.commands.common import (
    DONE,
    STOPPED_BY_SIGNAL,
    AsJson,
    Overrides,
    Plugins,
    Quiet,
    Seed,
    load_plugins,
    print_json,
    verb,
)

_COMPOSITIONS = {
    "elements": ["mp84"],
    "n_elements": [2, 5],
    "n_atoms": [2, 45],
    "count": [1, 30],
    "neutrality": "off",
}
_CRYSTALS = {
    "kind": "wyckoff",
    "space_groups": ["all"],
    "elements": ["mp84"],
    "n_elements": [1, 5],
    "n_atoms": [1, 20],
    "neutrality": "off",
    "geometry": False,
}


@verb
def fit_prior(
    known: Annotated[Path, typer.Argument(help="Known compounds: a table of formulas, or structures.")],
    out: Annotated[Path, typer.Option("--out", help="Run folder to write.")],
    config: Annotated[
        Path | None,
        typer.Option("--config", help="Take world and network from a config; by default a wide world of 84 elements."),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Gradient steps.")] = 1500,
    set_: Overrides = None,
    seed: Seed = None,
    plugin: Plugins = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run that is in --out.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Fit a policy to known compounds by maximum likelihood, and say what it is worth.

    The result is a run: `sample` draws from it, and `target.prior` multiplies a reward by its law. card.json holds the
    likelihood of compounds held out of the fit, and what 10 000 draws are like.

    Example: oreflow fit-prior known.csv --out priors/mine
    """
    from oreflow.agent.config.run import load_config, override_config, validate_config
    from oreflow.agent.runtime.signals import StopFlag
    from oreflow.agent.sampling.prior_card import prior_card
    from oreflow.agent.sampling.trained_run import load_run
    from oreflow.agent.storage.atomic_files import to_json, write_text
    from oreflow.agent.storage.lock import RunLock
    from oreflow.agent.storage.run_folder import RunFolder
    from oreflow.agent.storage.shipped_priors import CARD_FILE
    from oreflow.agent.tables.known_crystals import holds_crystals
    from oreflow.agent.training.build import make_checked
    from oreflow.agent.training.loop import train

    with StopFlag() as stop:
        plugins = load_plugins(plugin)
        world: Any = _CRYSTALS if holds_crystals(known) else _COMPOSITIONS
        sampler: dict[str, Any] = {"batch": 512, "learning_rate": 0.002, "hidden": [256, 256]}
        if config is not None:
            given = load_config(config)
            world = given.world.model_dump(mode="json")
            sampler |= {"hidden": given.sampler.hidden, "policy": given.sampler.policy}
        data: dict[str, Any] = {
            "schema_version": 1,
            "purpose": f"Prior of the compounds in {known.name}, fitted by maximum likelihood",
            "world": world,
            # Rewards are looked at, and decide nothing.
            "reward": {
                "terms": [{"name": "formation_energy", "shape": {"kind": "minimise", "beta": 1.0}}],
                "invalid_budget": 1.0,
            },
            "sampler": sampler | {"kind": "prior", "steps": steps, "warm_start": {"path": str(known.resolve())}},
        }
        resolved = validate_config(override_config(data, set_ or [], seed), "fit-prior")
        folder = RunFolder(out)
        kernel, reward = make_checked(resolved, "fit-prior")
        folder.check_place(overwrite)
        started = time.monotonic()
        with RunLock(out):
            folder.create(resolved, overwrite, plugins, reward.describe())
            result = train(resolved, folder, kernel=kernel, reward=reward, stop=stop, quiet=quiet)
        if result.stopped_by:
            print(f"stopped by {result.stopped_by}; go on with: oreflow resume {out}")
            return STOPPED_BY_SIGNAL
        card = prior_card(load_run(folder)) | {"seconds": round(time.monotonic() - started, 1)}
        write_text(out / CARD_FILE, to_json(card))
    if as_json:
        print_json(card)
    elif not quiet:
        _print(card, out)
    return DONE


def _print(card: dict[str, Any], out: Path) -> None:
    data, likelihood, draws = card["data"], card["likelihood"], card["draws"]
    print(f"prior of {data['n_fitted']} compounds in {card['seconds']:.0f} s: {out}")
    nats, error = likelihood["nats_per_object"], likelihood["standard_error"]
    of = f"{likelihood['n']} {likelihood['of']}"
    print(
        f"likelihood                 {nats:.2f} ± {error:.2f} nats an object over {of}; "
        f"{likelihood['nats_per_action']:.2f} an action, {likelihood['nats_along_one_order']:.2f} along one order"
    )
    shares = f"{draws['share_distinct']:.1%} distinct, {draws['share_fitted']:.1%} of these fitted"
    print(f"of {draws['n']} draws            {shares}")
    print(f"held-out compounds met     {draws['n_held_out_met']} of {data['n_held_out']}")
    for name, value in draws.items():
        if name.startswith("share_neutral") or name == "share_smact_valid":
            print(f"{name.removeprefix('share_').replace('_', ' '):26s} {value:.1%}")
    if "n_space_groups" in draws:
        entropy = draws["entropy_space_groups_nats"]
        print(f"space groups               {draws['n_space_groups']}, entropy {entropy:.2f} nats")
    print(f"next: oreflow sample {out} -n 1000 --unique")
