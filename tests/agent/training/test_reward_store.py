"""Runs that share a reward store: each value is computed once, by whoever comes first."""

import json
import sqlite3
from collections import Counter

import pytest
import yaml

from tests.support.cli import done, refused
from tests.support.processes import oreflow

PLUGIN = """
import time
from pathlib import Path
import numpy as np
from oreflow import rewards

@rewards.register("logged")
class Logged:
    name, unit, version, citations, requires = "logged", "eV", "{version}", (), "composition"
    def __init__(self, scale: float = 1.0): self.scale = scale
    def __call__(self, batch):
        for formula in batch.formulas():
            time.sleep({pause})
            with open({log!r}, "a") as file:
                file.write(formula + "\\n")
        return rewards.TermValues(self.scale * batch.reduced().n_atoms / 4.0, np.ones(len(batch), dtype=bool))
"""
CONFIG = {
    "schema_version": 1,
    "world": {"elements": ["Li", "Mn", "O"], "n_elements": [1, 3], "n_atoms": [1, 5], "neutrality": "off"},
    "reward": {"terms": [{"name": "logged", "shape": {"kind": "minimise", "beta": 1.0}, "cost": 2.0}]},
    "sampler": {"hidden": [16], "steps": 10, "batch": 16},
    "run": {"threads": 1, "log_every_steps": 5},
}


class Place:
    """A config, a plug-in and what it logs."""

    def __init__(self, path):
        self.path, self.log, self.store = path, path / "log.txt", path / "rewards.db"
        self.plugin, self.config = path / "logged.py", path / "config.yaml"
        self.log.write_text("")
        self.write()

    def write(self, *, version="1", pause=0.0, **reward):
        self.plugin.write_text(PLUGIN.format(version=version, pause=pause, log=str(self.log)))
        config = CONFIG | {"reward": CONFIG["reward"] | {"store": str(self.store)} | reward}
        self.config.write_text(yaml.safe_dump(config))

    def arguments(self, out, *further):
        return ("train", self.config, "--out", self.path / out, "--plugin", self.plugin, "--quiet", *further)

    def computed(self):
        """How often each formula was computed since the last call."""
        lines = Counter(self.log.read_text().split())
        self.log.write_text("")
        return lines

    def rows(self, query):
        with sqlite3.connect(self.store) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def metrics_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_two_trainers_at_once_compute_each_reward_once(place):
    place.write(pause=0.02)
    started = [oreflow(place.path / f"streams{i}", *place.arguments(f"run{i}", "--seed", 0)) for i in range(2)]
    for process in started:
        assert process.wait() == 0, process.said
    computed = place.computed()
    assert len(computed) > 30
    assert set(computed.values()) == {1}
    assert place.rows("select count(*) from oreflow_rewards where valid") == [(len(computed),)]
    assert place.rows("select count(*) from oreflow_claims") == [(0,)]
    assert metrics_of(place.path / "run0") == metrics_of(place.path / "run1")  # the same seed, the same values
    assert place.rows("select count(distinct made_by), sum(cost) from oreflow_rewards")[0][1] == 2.0 * len(computed)


def test_a_second_run_pays_for_nothing_and_learns_the_same(place):
    done(*place.arguments("first"))
    assert place.computed()
    done(*place.arguments("second"))
    assert not place.computed()
    assert metrics_of(place.path / "first") == metrics_of(place.path / "second")
    done("sample", place.path / "second", "-n", 20, "--seed", 3, "--quiet")
    place.computed()
    done("sample", place.path / "first", "-n", 20, "--seed", 3, "--quiet")
    assert not place.computed()


def test_another_version_or_parameter_pays_anew(place):
    done(*place.arguments("first"))
    first = place.computed()
    terms = [dict(CONFIG["reward"]["terms"][0], params={"scale": 2.0})]
    place.write(terms=terms)
    done(*place.arguments("scaled"))
    assert sum(place.computed().values()) > 0.5 * sum(first.values())
    place.write(version="2")
    script = oreflow(place.path / "streams", *place.arguments("version"))  # a process that has not loaded version 1
    assert script.wait() == 0, script.said
    assert place.computed() == first
    assert [n for (n,) in place.rows("select count(*) from oreflow_terms")] == [3]


def test_a_killed_trainer_leaves_what_it_paid_for(place):
    place.write(pause=0.02)
    killed = oreflow(place.path / "streams", *place.arguments("killed"))
    killed.wait_for(lambda: len(place.log.read_text().split()) > 10)
    killed.process.kill()
    killed.wait()
    paid = place.computed()
    done(*place.arguments("next"))
    again = place.computed()
    (kept,) = place.rows("select count(*) from oreflow_rewards")[0]
    assert kept == len(paid | again)
    assert sum((paid & again).values()) <= 16  # no more than the slice it was at


def test_a_store_that_cannot_be_used_stops_before_any_work(place):
    (place.path / "text.db").write_text("no database\n" * 100)
    place.write(store=str(place.path / "text.db"))
    refused("cannot open the reward store", *place.arguments("run"), code=5)
    assert not (place.path / "run" / "config.resolved.yaml").exists()
    place.write(store="postgresql+psycopg://me:secret@host/x")
    refused("reward.store: expected a URL without a password", *place.arguments("run"), code=2)
