"""What the verb `campaign` does: rounds until the budget is spent, and a summary after each."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from oreflow.agent.campaigns.folder import SUMMARY_FILE, claim
from oreflow.agent.campaigns.rounds import Campaign, Interrupted, play
from oreflow.agent.config.campaign import CampaignConfig
from oreflow.agent.errors import ConfigError, OutputError
from oreflow.agent.storage.atomic_files import to_json, write_text
from oreflow.agent.storage.lock import RunLock
from oreflow.envs.errors import OreflowError
from oreflow.envs.registry import STRUCTURE
from oreflow.rewards.potential.listing import require_potential


def check_campaign(config: CampaignConfig) -> None:
    """See that all files and packages that a campaign needs are there, before any work is done.

    Raises:
        MissingPackageError: when the potential, or what ranks geometries, is not installed.
        UnknownPotentialError: when there is no potential of the name.
        ConfigError: when a file is missing, or the potential has no energies of the elements.
    """
    if require_potential(config.potential, "oreflow campaign").references is None:
        raise ConfigError(
            f"potential: expected one with reference energies of the elements, which formation energies take; got "
            f"{config.potential}, for which none are known"
        )
    if config.rank == "chgnet":
        require_potential("chgnet", "rank: chgnet")
    for key in ("run", "hull", "aligned_by", "novelty"):
        path = getattr(config, key)
        if path is not None and path != "predicted" and not Path(path).exists():
            raise ConfigError(f"{key}: expected a file or folder, found nothing at {path}")


def run_campaign(campaign: Campaign, told: Callable[[dict[str, Any]], None] = lambda figures: None) -> dict[str, Any]:
    """Play all rounds that are not over; return the summary, which is in the folder, too.

    Args:
        campaign: what to do, where.
        told: is given the figures of each round that ends in this call.

    Raises:
        ConfigError: when the run draws no crystals.
        RunFolderError: when the folder is in use, or holds a campaign with another config.
        OutputError: when the disk is full; what was finished is kept.
    """
    config, out = campaign.config, campaign.out
    kind = campaign.source.load_config().world
    if kind.space().object_kind != STRUCTURE:
        raise ConfigError(f"expected a run that draws crystals (world.kind wyckoff), got world.kind {kind.kind}")
    with RunLock(out):
        claim(out, config)
        figures: list[dict[str, Any]] = []
        while (over := campaign.folder(len(figures) + 1).figures()) is not None and len(figures) < config.rounds:
            figures.append(over)
        n_before, interrupted = len(figures), False
        try:
            while not _why_over(config, figures):
                figures.append(play(campaign, figures))
                told(figures[-1])
                write_text(out / SUMMARY_FILE, to_json(_summary(campaign, figures, n_before, "")))
        except (Interrupted, KeyboardInterrupt):
            interrupted = True
        except OSError as error:
            if isinstance(error, OreflowError | BrokenPipeError):
                raise
            raise OutputError(
                f"cannot write to {out}: {error.strerror or error}; what was finished is kept: make room and give the "
                "same command again"
            ) from error
        result = _summary(campaign, figures, n_before, "a signal" if interrupted else _why_over(config, figures))
        write_text(out / SUMMARY_FILE, to_json(result))
    return result | {"interrupted": interrupted}


def _why_over(config: CampaignConfig, figures: Sequence[dict[str, Any]]) -> str:
    """What ended the campaign; "" where there is a round to come."""
    if len(figures) >= config.rounds:
        return "the number of rounds"
    if figures and config.minutes is not None and sum(one["seconds"] for one in figures) >= 60 * config.minutes:
        return "the time"
    return ""


def _summary(campaign: Campaign, figures: list[dict[str, Any]], n_before: int, stopped_by: str) -> dict[str, Any]:
    config = campaign.config
    calls = sum(one["n_referee_calls"] for one in figures)
    hits = figures[-1]["n_hits_so_far"] if figures else 0
    return {
        "n_rounds": len(figures),
        "n_rounds_before": n_before,
        "stopped_by": stopped_by,
        "run": str(campaign.source.path),
        "n_drawn": sum(one["n_drawn"] for one in figures),
        "n_picked": sum(one["n_picked"] for one in figures),
        "n_referee_calls": calls,
        "budget_referee_calls": config.rounds * config.relaxations,
        "n_stable": sum(one["n_stable"] for one in figures),
        "n_hits": hits,
        "hits_per_referee_call": hits / calls if calls else None,
        "hit_rule": hit_rule(campaign),
        "minutes": round(sum(one["seconds"] for one in figures) / 60, 2),
        "rounds": figures,
    }


def hit_rule(campaign: Campaign) -> str:
    """What a hit is, in words."""
    config = campaign.config
    against = "" if campaign.known is None else f"; novel against {campaign.known.path.name}"
    return (
        f"at most {config.threshold:g} eV/atom above the hull of {campaign.surrogate.hull.name} by {config.potential}, "
        f"{'symmetry held' if config.track == 'held' else 'free after a rattle'}; unique{against}"
    )
