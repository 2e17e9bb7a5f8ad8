"""Packs a run of `oreflow fit-prior` into a folder beside this file: config, weights in eight bits, and their card.

Run from the repository root: `python agent/priors/build_priors.py RUN NAME "source of the data"`. README.md beside this
file has the commands that made the runs.
"""

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from oreflow.agent.config.run import dump_config
from oreflow.agent.learners.prior import split
from oreflow.agent.sampling.prior_card import prior_card
from oreflow.agent.sampling.trained_run import TrainedRun, load_run
from oreflow.agent.storage.atomic_files import to_json
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.storage.shipped_priors import (
    CARD_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    fill,
    shipped_names,
    write_weights,
)
from oreflow.agent.training.warm_start import known_objects
from oreflow.envs.arrays import Bools, Ints, States

HERE = Path(__file__).parent
WALKS = 4  # over the fitted objects; rows that none of them has met are left out


def walks(run: TrainedRun) -> Iterator[tuple[States, Ints]]:
    """Take the fitted objects apart in several orders: states, and the actions that were taken in them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        states = known_objects(run.config, run.kernel)
    assert states is not None
    _, fitted = split(states, run.config)
    rng = np.random.default_rng(0)
    for _ in range(WALKS):
        states = fitted
        while len(states):
            allowed = run.kernel.backward_allowed(states)
            going_on = allowed.any(axis=1)
            states, allowed = states[going_on], allowed[going_on]
            if len(states):
                back = (rng.random(allowed.shape) * allowed).argmax(axis=1)
                actions = run.kernel.redo_action(states, back)
                states = run.kernel.unstep(states, back)
                yield states, actions


def prune(run: TrainedRun) -> dict[str, Bools]:
    """Tell which rows of the first and last layer the fitted objects have trained, by the tensors' names.

    Actions that no object takes were pushed down all the same: their mean logit goes into the bias.
    """
    policy = run.policy
    assert policy is not None
    tokens: Ints = np.zeros(run.kernel.n_tokens + 1, dtype=np.int64)
    actions: Ints = np.zeros(run.kernel.n_actions, dtype=np.int64)
    total, n = torch.zeros(policy.head.own.shape[1]), 0
    with torch.no_grad():
        for states, taken in walks(run):
            encoded = run.kernel.encode(states)
            np.add.at(tokens, encoded.ravel(), 1)
            np.add.at(actions, taken, 1)
            total, n = total + policy.trunk(torch.from_numpy(encoded)).sum(dim=0), n + len(states)
        tokens[-1] = 0  # padding adds nothing
        unmet = torch.from_numpy(actions == 0)
        policy.head_bias[unmet] += policy.head.own[unmet] @ (total / n)
    return {"embedding.own": tokens > 0, "head.own": actions > 0}


def build(path: Path, name: str, source: str) -> dict[str, Any]:
    """Write the folder, and return its card, which is that of the weights as they are stored."""
    run = load_run(RunFolder(path))
    assert run.policy is not None
    out = HERE / name
    out.mkdir(exist_ok=True)
    unpacked = prior_card(run)["likelihood"]
    file = Path(run.config.sampler.warm_start.path or "")
    write_weights(run.policy, prune(run), out / WEIGHTS_FILE)
    shipped_names.cache_clear()
    fill(run.policy, name)
    card = prior_card(run)
    card["data"] |= {"path": file.name, "source": source}
    card["likelihood"]["nats_per_object_before_packing"] = unpacked["nats_per_object"]
    (out / CARD_FILE).write_text(to_json(card), encoding="utf-8")
    run.config.sampler.warm_start.path = file.name
    run.config.purpose = f"Prior of the compounds in {file.name}, fitted by maximum likelihood"
    (out / CONFIG_FILE).write_text(dump_config(run.config), encoding="utf-8")
    return card


if __name__ == "__main__":
    print(to_json(build(Path(sys.argv[1]), sys.argv[2], sys.argv[3])))
