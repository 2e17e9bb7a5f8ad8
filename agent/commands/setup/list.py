"""`oreflow list`: the worlds, rewards and samplers there are."""

from typing import Annotated, Any

import typer

from oreflow.agent.commands.common import DONE, AsJson, Plugins, Quiet, load_plugins, print_json, verb


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
    from oreflow.envs.suggestions import nearest

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
    from oreflow.envs.chemistry.built_in_oxidation import TABLES
    from oreflow.envs.chemistry.elements import presets
    from oreflow.envs.errors import PluginError
    from oreflow.envs.registry import WORLDS

    def first_line(kind: str, origin: str) -> str:
        try:
            text = (WORLDS.find(kind).__doc__ or "").partition("\n")[0]
        except PluginError as error:  # a broken entry point must not hide the others
            return f"cannot be loaded: {error}"
        return text if origin == "built in" else f"{text} ({WORLDS.origin(kind)})"

    return {
        "worlds (world.kind)": {kind: first_line(kind, origin) for kind, origin in WORLDS.names().items()},
        "environments": {
            "oreflow/Composition-v0": "reduced formulas, one element's count at a time (kind: composition)",
            "oreflow/Wyckoff-v0": "crystals: space group, elements on Wyckoff positions, lattice (kind: wyckoff)",
        },
        "element presets": {name: f"{len(e)} elements: {e[0]} to {e[-1]}" for name, e in presets().items()},
        "oxidation-state tables": {name: f"{table.description} [{table.version}]" for name, table in TABLES.items()},
    }


def _rewards() -> dict[str, dict[str, str]]:
    import inspect

    from oreflow.rewards.errors import PluginError
    from oreflow.rewards.registry import factory_of, names
    from oreflow.rewards.shaping import SHAPES

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
    import inspect

    from oreflow.agent.registry import OBJECTIVES, POLICIES
    from oreflow.envs.errors import PluginError
    from oreflow.envs.plugins import Registry

    def own(registry: Registry) -> dict[str, str]:
        out = {}
        for name in registry.names():
            if name not in registry.built_in:
                try:
                    text = (inspect.getdoc(registry.find(name)) or "").partition("\n")[0]
                except PluginError as error:  # a broken entry point must not hide the others
                    text = f"cannot be loaded: {error}"
                out[name] = f"{text} ({registry.origin(name)})"
        return out

    return {
        "samplers (sampler.kind)": {
            "gflownet": "draws each object with probability R/Z",
            "policy_gradient": "the same, learned as entropy-regularised reinforcement learning",
            "rejection": "takes draws of a prior by their reward: P0 R / Z exactly, without training",
            "random": "baseline: random allowed actions",
            "metropolis_hastings": "baseline: parallel chains that leave R/Z unchanged; sample continues them",
            "genetic": "baseline: an optimiser, no sampler of R/Z",
            "ion_exchange": "baseline: known compounds with ions exchanged for others of equal charge (Hautier 2011)",
            "prototype_decoration": "baseline: charge-neutral random elements on known prototypes",
        },
        "objectives of gflownet": {
            "trajectory_balance": "Malkin et al. 2022, arXiv:2201.13259; log Z on its own learning rate",
            "sub_trajectory_balance": "Madan et al. 2023, arXiv:2209.12782; learns state flows",
            "detailed_balance": "Bengio et al. 2023, arXiv:2111.09266; learns state flows",
            "log_partition_variance": "Zhang et al. 2023, arXiv:2302.05446; needs no log Z",
            **own(OBJECTIVES),
        },
        "objectives of policy_gradient": {
            "baseline": "returns minus a learned value",
            "gae": "generalised advantage estimation, arXiv:1506.02438; the default",
            "entropic_ppo": "several clipped, KL-anchored epochs a batch, arXiv:2606.15793",
        },
        "policies": {"mlp": "multilayer perceptron on a bag of tokens, compiled; the default", **own(POLICIES)},
        "engines": {"oreflow": "compiled, the default", "torchgfn": "torchgfn's own sampler and losses (gflownet)"},
        "backward policies": {"uniform": "each parent equally likely", "learned": "a head of the network"},
        "recipes, off by default": {
            "replay": "objects found before, along new build orders drawn from P_B",
            "warm_start": "known compounds from a table fill the replay buffer",
            "local_search": "takes objects apart and finishes them anew, keeps the better ones",
            "temperature_start, temperature_end": "draws training batches from a flatter policy",
            "family": "one policy for all temperatures, weightings of terms, or values of a property, asked for later",
        },
    }
