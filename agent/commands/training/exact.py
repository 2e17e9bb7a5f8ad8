"""`exact`: how far a trained sampler is from R/Z."""

import math
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from oreflow.agent.commands.common import (
    BAD_INPUT,
    DONE,
    AsJson,
    Beta,
    Overrides,
    Plugins,
    Quiet,
    Seed,
    TargetValue,
    Weights,
    condition_line,
    load_plugins,
    print_json,
    verb,
)


@verb
def exact(
    config_or_run: Annotated[
        Path, typer.Argument(help="A run folder, or a config (trained first, in a scratch folder).")
    ],
    set_: Overrides = None,
    seed: Seed = None,
    beta: Beta = None,
    weights: Weights = None,
    target: TargetValue = None,
    step: Annotated[
        int | None, typer.Option("--step", min=1, help="Measure the checkpoint of this step; the newest by default.")
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option(
            "--draws",
            min=2,
            help="Draws for the bracket of log Z, of each space group of prescribed share; by default 8192 in all "
            "where the world is too large to enumerate, and none elsewhere.",
        ),
    ] = None,
    plugin: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Distance of a trained sampler from R/Z, with --beta, --weights or --target from that of the reward so chosen.

    In a world small enough to enumerate nothing is estimated: the probability of every object is computed by pushing
    mass through all build orders. In larger ones the probabilities of objects are as exact, but the objects looked at
    are drawn: errors are those within random sets of objects, and log R - log P over the sampler's own draws. log Z, of
    each space group where their shares are prescribed, is bracketed by trajectories.

    Example: oreflow exact runs/configs/tiny_exact.yaml
    """
    from oreflow.agent.api import exact as compare
    from oreflow.agent.learners.families.conditions import parse_target, parse_weights

    load_plugins(plugin)
    weighting = None if weights is None else parse_weights(weights)
    value = None if target is None else parse_target(target)
    if config_or_run.is_dir() and (set_ or seed is not None):
        print("oreflow: --set and --seed change a training, and this run is trained already", file=sys.stderr)
        return BAD_INPUT
    figures = compare(
        config_or_run,
        overrides=set_ or (),
        seed=seed,
        beta=beta,
        weights=weighting,
        target=value,
        step=step,
        draws=draws,
        quiet=quiet,
    )
    if as_json:
        print_json(figures)
    elif not quiet:
        if step is not None:
            print(f"checkpoint                 of step {figures['step']}")
        if "condition" in figures:
            print(f"under                      {condition_line(figures['condition'])}")
        print("\n".join(_exact_lines(figures) if "n_objects" in figures else _drawn_lines(figures)))
        if "log_z_brackets" in figures:
            print("\n".join(_bracket_lines(figures["log_z_brackets"])))
    if figures["nondeterministic_rewards"]:
        names = ", ".join(figures["nondeterministic_rewards"])
        print(f"oreflow: {names} gives one formula different values: these figures prove nothing", file=sys.stderr)
    return DONE


def _exact_lines(figures: dict[str, Any]) -> list[str]:
    strata = figures["strata"]
    if strata:
        worst = max(strata, key=lambda stratum: stratum["total_variation"])
        error = max(strata, key=lambda stratum: abs(stratum["log_z_error"]))
        power = figures["power"]
        given = "of prescribed shares" if power is None else f"of shares proportional to Z^{power:g}"
        return [
            f"objects                    {figures['n_objects']}, of them without a valid reward "
            f"{figures['n_invalid_reward']}",
            f"{figures['strata_are']:26s} {len(strata)} {given}, each with a log Z of its own",
            f"log Z errors               at most {abs(error['log_z_error']):.6f}, in {error['name']}",
            f"exact total variation      {figures['total_variation']:.6f}, within one at most "
            f"{worst['total_variation']:.6f} ({worst['name']})",
            *(
                []
                if power is None
                else [f"shares                     {figures['shares_total_variation']:.6f} from those by the exact Z"]
            ),
            f"exact Jensen-Shannon       {figures['jensen_shannon_nats']:.3e} nats",
            f"mass of all objects        {figures['learned_mass']:.12f}",
        ]
    return [
        f"objects                    {figures['n_objects']}, of them without a valid reward "
        f"{figures['n_invalid_reward']}",
        f"log Z                      exact {figures['log_z_exact']:.6f}, learned {figures['log_z_learned']:.6f}",
        f"log Z error                {figures['log_z_error']:+.6f}",
        f"exact total variation      {figures['total_variation']:.6f}",
        f"exact Jensen-Shannon       {figures['jensen_shannon_nats']:.3e} nats",
        f"mass of all objects        {figures['learned_mass']:.12f}",
        "for scale: 10 000 draws of a perfect sampler would show a total variation of "
        f"{figures['floor_total_variation_10000_samples']:.4f}",
    ]


def _drawn_lines(figures: dict[str, Any]) -> list[str]:
    lines = [f"the world is too large to enumerate; exact probabilities of {figures['n_drawn']} draws:"]
    if "log_z_importance" in figures:
        lines.append(
            f"std of log R - log P       {figures['log_reward_minus_log_p_std']:.3f} nats (0 for a perfect sampler)"
        )
        by_importance = f"{figures['log_z_importance']:.3f} ± {figures['log_z_importance_standard_error']:.3f}"
        lines.append(
            f"log Z less the learned     {by_importance} by importance, over all shares (0 for a perfect sampler)"
            if math.isnan(figures["log_z_learned"])  # each stratum has its own
            else f"log Z                      learned {figures['log_z_learned']:.3f}, by importance {by_importance}"
        )
    for name, label in (("drawn", "the sampler's draws"), ("random", f"objects, {figures['random_objects']}")):
        key = f"sub_support_{name}"
        if key in figures:
            lines.append(
                f"error within {figures['sub_support_size']} objects    {figures[key]:.4f} ± "
                f"{figures[f'{key}_standard_error']:.4f} total variation, {figures[f'{key}_sets']} random sets of "
                f"{label} (0 for a perfect sampler)"
            )
    return lines


_SHOWN_BRACKETS = 30


def _bracket_lines(brackets: list[dict[str, Any]]) -> list[str]:
    """One line a stratum, the widest brackets alone where there are many, and what is a bound in them."""
    known = [bracket for bracket in brackets if bracket["lower"] is not None]
    widest = sorted(known, key=lambda bracket: bracket["upper"] - bracket["lower"], reverse=True)
    shown = known if len(known) <= _SHOWN_BRACKETS else widest[:_SHOWN_BRACKETS]
    of = "" if len(shown) == len(known) else f", the {len(shown)} widest of {len(known)}; all with --json"
    ends = ("lower", "importance", "upper")
    lines = [
        f"brackets of log Z          in nats, ± standard error{of}",
        "   group" + "".join(f"{end:>20s}" for end in ends) + "   learned  effective draws",
    ]
    for bracket in shown:
        cells = [f"{bracket[end]:.3f} ± {bracket[f'{end}_standard_error']:.3f}" for end in ends]
        learned = "" if bracket["learned"] is None else f"{bracket['learned']:.3f}"
        lines.append(
            f"{bracket['name']:>8s}"
            + "".join(f"{cell:>20s}" for cell in cells)
            + f"{learned:>10s}  {bracket['effective_draws']:.0f} of {bracket['n_draws']}"
        )
    none = len(brackets) - len(known)
    lines += [f"{none} groups without a draw of valid reward"] if none else []
    lines += [
        "lower and importance are at most log Z in expectation; upper estimates a bound that is at least log Z,",
        "too low where the sampler misses objects: trust it where many draws are effective",
    ]
    return lines
