"""Known compounds of a system among the formulas sampled most often: lists of users, ranks by brute force."""

import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks.tasks import page, rediscovery, system_ranking

from oreflow.agent.config.run import Config, load_config
from oreflow.agent.errors import ConfigError
from oreflow.agent.rollout.log_probabilities import action_log_probabilities
from oreflow.agent.sampling.trained_run import open_prior
from oreflow.envs.errors import TableError
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.formulas import parse_formulas
from oreflow.rewards.reference.known_phases import read_reference
from oreflow.rewards.terms.composition.electronegativity_balance import ElectronegativityBalance
from oreflow.rewards.terms.energy.energy_above_hull import EnergyAboveHull

LIST = """formula,space_group
V2O5,59
V2 O5,31
O5V2,11
VO2,14
V2O4,136
V2O3,167
V3O5,15
MgO,225
Fe,229
V80O3,2
water?,1
"""


@pytest.fixture(name="known")
def known_list(tmp_path: Path) -> Path:
    (tmp_path / "known.csv").write_text(LIST)
    return tmp_path / "known.csv"


def small(name: str = "vanadium_oxides", most_atoms: int = 7) -> Config:
    config = load_config(page.TASKS / name / "config.yaml")
    config.world.n_atoms = (2, most_atoms)
    return config


def test_spellings_duplicates_and_polymorphs_count_once(known: Path) -> None:
    found = rediscovery.known_of_system(known, small())
    assert sorted(found.compositions.formulas()) == ["O2V", "O3V2", "O3V80", "O5V2", "O5V3"]
    assert found.counted == {
        "rows": 11,
        "rows_merged": 3,
        "rows_unreadable": 1,
        "formulas_of_other_elements": 2,
        "formulas": 5,
    }


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("vanadium_oxides", "", "is empty; expected a header with a column 'formula'"),
        ("vanadium_oxides", "formula\n", "holds no readable formula"),
        ("mg_mn_o", "formula\nMgO\nMnO\nMn2V2O7\n", "known compounds of Mg-Mn-O .* got 3 formulas, none of exactly"),
        ("vanadium_oxides", "mineral,mass\nkarelianite,1\n", "formula"),
    ],
)
def test_a_list_without_the_system_is_refused_in_a_sentence(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / "known.csv").write_text(text)
    with pytest.raises(TableError, match=said):
        rediscovery.known_of_system(tmp_path / "known.csv", small(name))


def test_hits_share_out_ties_and_leave_out_what_is_never_sampled() -> None:
    score = np.array([3.0, 1.0, 1.0, 1.0, 0.5, -np.inf])
    known = np.array([True, True, False, True, False, True])
    assert [system_ranking.hits(score, known, n) for n in (1, 2, 3, 4, 5, 9)] == [
        1,
        pytest.approx(1 + 2 / 3),
        pytest.approx(1 + 4 / 3),
        3,
        3,
        3,
    ]
    assert system_ranking.hits(np.zeros(10), np.arange(10) < 4, 5) == pytest.approx(2)


def probability_by_paths(formula: Compositions) -> float:
    """P0 of a formula under the shipped prior, every build order walked by itself."""
    prior = open_prior("compositions")
    kernel, policy = prior.kernel, prior.policy
    assert policy is not None
    target = formula.dense()[0]
    stop = kernel.n_actions - 1
    total, stack = 0.0, [(kernel.initial(1), 0.0)]
    while stack:
        state, log_p = stack.pop()
        log_pf = action_log_probabilities(kernel, policy, state)[0]
        if not (log_pf > -np.inf).any():
            continue
        for action in np.flatnonzero(log_pf > -np.inf).tolist():
            following = kernel.step(state, np.array([action]))
            counts = kernel.objects(following).dense()[0]
            if action == stop:
                total += math.exp(log_p + log_pf[action]) if (counts == target).all() else 0.0
            elif ((counts == target) | (counts == 0)).all():
                stack.append((following, log_p + float(log_pf[action])))
    return total


def test_the_ranking_is_that_of_prior_times_reward_by_brute_force() -> None:
    config = small(most_atoms=4)
    found = system_ranking.rank(config)
    pairs = {(v, o) for v in range(1, 4) for o in range(1, 4) if v + o <= 4 and math.gcd(v, o) == 1}
    formulas = [f"V{v}O{o}" for v, o in sorted(pairs)]
    batch = parse_formulas(formulas)[0]
    assert sorted(found.compositions.key_bytes()) == sorted(batch.key_bytes())
    above = EnergyAboveHull()(batch).columns["energy_above_hull_scored"]
    ordered = ElectronegativityBalance("pymatgen_icsd", mixed_valence=True)(batch).values
    log_r = -np.log1p(np.exp((above - 0.05) / 0.03)) - 5.0 * (1 - ordered)
    p0 = np.array([probability_by_paths(batch[np.array([row])]) for row in range(len(batch))])
    weight = p0 * np.exp(log_r)
    by_hand = [batch.key_bytes()[row] for row in np.argsort(-weight)]
    scores = found.scores()
    order = np.argsort(-scores["prior_and_reward"])
    assert [found.compositions.key_bytes()[row] for row in order] == by_hand
    expected = np.sort(np.log(weight))[::-1]
    assert scores["prior_and_reward"][order] == pytest.approx(expected, abs=1e-4)
    # the orders differ, so that no other one would pass
    for other in ("prior", "reward"):
        assert not np.allclose(scores[other], scores["prior_and_reward"], atol=0.01)


def test_a_target_without_a_prior_is_refused() -> None:
    config = small()
    config.target.prior = None
    with pytest.raises(ConfigError, match="expected a prior, got none"):
        system_ranking.rank(config)


def test_baselines_start_without_the_system_and_the_rest_is_counted(tmp_path: Path, known: Path) -> None:
    (tmp_path / "other.csv").write_text("formula\nNb2O5\nTa2O5\nTiO2\nCr2O3\nV2O5\nV3O5\nNaCl\n")
    config, other = small(), read_reference(tmp_path / "other.csv", energies=False)
    mine = rediscovery.known_of_system(known, config)
    found = rediscovery.measure(config, mine, other, draws=500)
    assert found["held_out"]["left_out_of_known"] == 2
    assert found["held_out"]["formulas_of_the_system_in_it"] is None
    assert found["known"]["formulas_outside_the_world"] == 2  # V3O5 and V80O3 of at most 7 atoms
    assert set(found["hits"]) == set(rediscovery.TITLES)
    assert 0 < found["hits"]["ion_exchange"]["1"] <= 3
    n_world = found["formulas_of_the_world"]
    assert found["hits"]["random"]["1"] == pytest.approx(5 * 3 / n_world)
    alone = system_ranking.drawn_scores(config, other.compositions[np.array([], dtype=int)], mine.compositions, 10)
    assert all((scores == -np.inf).all() for scores in alone.values())


def test_no_prototype_comes_from_the_system_itself(tmp_path: Path) -> None:
    (tmp_path / "known.csv").write_text("formula\nV2O5\n")
    (tmp_path / "other.csv").write_text("formula\nV2O5\nCr2O3\n")
    config, other = small(), read_reference(tmp_path / "other.csv", energies=False)
    mine = rediscovery.known_of_system(tmp_path / "known.csv", config)
    found = rediscovery.measure(config, mine, other, draws=200)
    assert found["hits"]["prototype_decoration"] == {"1": 0, "3": 0}  # V2O3 alone, after Cr2O3
    leaking = system_ranking.drawn_scores(config, other.compositions, system_ranking.rank(config).compositions, 200)
    assert (leaking["prototype_decoration"] > 0).sum() == 2


def test_whether_the_system_was_seen_is_told_by_the_cards(tmp_path: Path) -> None:
    config = small()
    (tmp_path / "other.csv").write_text("formula\nV2O5\nNaCl\n")
    other = read_reference(tmp_path / "other.csv", energies=False)
    cards = rediscovery.held_out(config, None)
    assert cards["prior_fitted_to_sha256"] == cards["model_fitted_to_sha256"] != other.sha256
    assert rediscovery.held_out(config, other)["formulas_of_the_system_in_it"] is None
    same = replace(other, sha256=cards["prior_fitted_to_sha256"])
    assert rediscovery.held_out(config, same)["formulas_of_the_system_in_it"] == 1
    assert rediscovery.held_out(small("bi_se"), same)["formulas_of_the_system_in_it"] == 0


def test_a_run_writes_a_record_that_the_page_shows(
    tmp_path: Path, known: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = tmp_path / "runs" / "tasks"
    shutil.copytree(page.TASKS / "vanadium_oxides", tasks / "vanadium_oxides")
    monkeypatch.setattr(page, "TASKS", tasks)
    before = "\n".join(page.overview())
    assert page.NO_RECORD in before
    assert "26 of 31" in before
    assert "--reference known.csv" in before
    out = tasks / "vanadium_oxides"
    words = ["rediscovery", "--task", "vanadium_oxides", "--reference", str(known), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    rediscovery.main()
    said = capsys.readouterr().out
    assert "of 11 rows 3 repeat a formula of another and 1 cannot be read, and 2 formulas are of other" in said
    assert "so that they count as missed: 1." in said
    metrics = page.read_metrics("vanadium_oxides")
    assert metrics["reference"] == "known.csv"
    ranks = [row["share"] for row in metrics["first"]]
    assert len(ranks) == 15
    assert ranks == sorted(ranks, reverse=True)
    hits = sum(row["known"] for row in metrics["first"][:5])
    assert metrics["hits"]["prior_and_reward"]["1"] == hits
    after = "\n".join(page.overview())
    assert page.NO_RECORD not in after
    assert f"| {hits} of 5 |" in after
    assert "prior times reward" in "\n".join(page.record("vanadium_oxides"))


def test_an_error_of_a_list_ends_a_run_with_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "known.csv").write_text("")
    monkeypatch.setattr(sys, "argv", ["rediscovery", "--task", "bi_se", "--reference", str(tmp_path / "known.csv")])
    with pytest.raises(SystemExit, match="is empty; expected a header"):
        rediscovery.main()


def test_the_target_is_the_same_for_all_systems() -> None:
    configs = [load_config(page.TASKS / name / "config.yaml") for name in rediscovery.names()]
    assert len(configs) == 3
    texts = {"".join(part.model_dump_json() for part in (c.target, c.reward, c.sampler)) for c in configs}
    assert len(texts) == 1
