"""Campaigns: the budget holds, nothing is relaxed twice, every object's lineage is there, a kill costs nothing."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from oreflow.agent.campaigns import rounds as rounds_module
from oreflow.agent.campaigns.run import run_campaign
from oreflow.agent.relaxation import relax as relaxation
from oreflow.envs.structure_io.crystal_text import crystal_from_text
from oreflow.rewards.executors.protocol import Answer, Task, Work
from tests.agent.campaigns.worlds import RUN, calls, campaign, table
from tests.agent.judging.samples import reference
from tests.support.cli import done


@pytest.fixture(scope="module", autouse=True)
def _in_this_process() -> Iterator[None]:
    """Starting workers takes longer than all else; that of the command is tested with real ones."""

    def here(tasks: list[Task], work: Work) -> Iterator[Answer]:
        relax = work.make()
        for task in tasks:
            yield Answer(task.id, "done", relax(task.payload))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relaxation, "run_tasks", here)
        patch.setattr(relaxation, "make_executor", lambda settings, work, **limits: work)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("campaigns")
    (folder / "run.yaml").write_text(RUN)
    done("train", folder / "run.yaml", "--out", folder / "run", "--quiet")
    return folder / "run"


@pytest.fixture(scope="module")
def whole(run: Path) -> Path:
    """A campaign that nothing stopped."""
    out = run.parent / "whole"
    told: list[dict[str, Any]] = []
    result = run_campaign(campaign(run, out), told.append)
    assert [one["round"] for one in told] == [1, 2]
    assert result["stopped_by"] == "the number of rounds"
    return out


def test_the_budget_is_spent_and_every_object_has_its_lineage(whole: Path) -> None:
    frame, summary = table(whole), json.loads((whole / "summary.json").read_text())
    assert summary["n_referee_calls"] == summary["budget_referee_calls"] == 8 == len(calls(whole)) == len(frame)
    assert frame["decoration"].is_unique
    assert frame.groupby("round")["formula_reduced"].nunique().tolist() == [4, 4]
    assert frame["round"].tolist() == [1] * 4 + [2] * 4
    assert (frame["drawn_in_round"] <= frame["round"]).all()
    assert frame["picked_because"].tolist() == ["best"] * 3 + ["explored"] + ["best"] * 4  # the last learns no more
    for row in frame.to_dict("records"):
        drawn = pd.read_parquet(whole / f"round_{row['drawn_in_round']:02d}" / "samples" / "candidates.parquet")
        source = drawn.set_index("candidate_id").loc[row["candidate_id"].split("-")[1]]
        assert source["protostructure"] == row["decoration"]
        realised = crystal_from_text([row["realised_structure"]])
        assert realised.has_geometry[0]
        assert (realised.space_group[0], row["geometry"]) == (row["space_group_number"], f"{row['candidate_id']}-1")
        if row["status"] == "converged":
            assert (whole / row["cif"]).is_file()
            assert row["space_group_number_after"] in (221, 225)  # no atom moves, but both may be of higher symmetry


def test_energies_verdicts_and_what_is_learned_follow_from_the_referee(whole: Path) -> None:
    frame = table(whole)
    from pymatgen.core import Composition

    assert {"converged", "unphysical"} == set(frame["status"])  # silver falls apart
    for row in frame.to_dict("records"):
        fractions = Composition(row["formula_reduced"]).fractional_composition
        if fractions["Ag"] > 0:
            assert (row["learned_ev_per_atom"], row["is_stable"], row["is_hit"]) == (0.5, False, False)
            continue
        by_hand = -0.9 * fractions["Pd"] + 0.1 * fractions["Al"] - 0.2
        assert row["formation_energy_ev_per_atom"] == pytest.approx(by_hand, abs=1e-6)
        above = row["energy_above_hull_ev_per_atom"]
        assert row["is_stable"] == (above <= 0.08)
        assert row["learned_ev_per_atom"] == pytest.approx(min(above, 0.5))
    summary = json.loads((whole / "summary.json").read_text())
    assert summary["n_hits"] == frame["is_hit"].sum() == sum(one["n_hits"] for one in summary["rounds"])
    assert summary["n_stable"] == frame["is_stable"].sum() > 0
    assert (frame["is_hit"] <= frame["is_stable"]).all()


def test_rank_correlations_are_of_what_was_said_before(whole: Path) -> None:
    from scipy.stats import spearmanr

    frame, summary = table(whole), json.loads((whole / "summary.json").read_text())
    for one in summary["rounds"]:
        rows = frame[frame["round"] == one["round"]]
        for key, column in (
            ("rank_correlation", "predicted_ev_per_atom"),
            ("rank_correlation_calibrated", "calibrated_ev_per_atom"),
        ):
            expected = spearmanr(rows[column], rows["learned_ev_per_atom"]).statistic
            if one[key] is None:
                assert np.isnan(expected)
            else:
                assert one[key] == pytest.approx(expected)
    first = frame[frame["round"] == 1]
    assert first["calibrated_ev_per_atom"].tolist() == first["predicted_ev_per_atom"].tolist()
    later = frame[frame["round"] > 1]
    assert (later["calibrated_ev_per_atom"] - later["predicted_ev_per_atom"]).abs().min() > 1e-4
    assert summary["rounds"][-1]["learned_from"]["n_learned"] == 8


class Killed(BaseException):
    """Like SIGKILL, it leaves everything as it is."""


def stop_at(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """The second round ends in the midst of a stage."""
    from oreflow.agent.campaigns import folder
    from oreflow.agent.relaxation import journal

    if where in ("realisations", "relaxations"):
        add, seen = journal.Journal.add, []

        def stops(self: journal.Journal, record: dict[str, Any]) -> None:
            if self.what == where and "round_02" in str(self.path):
                seen.append(record)
                if len(seen) == 3:
                    raise Killed
            add(self, record)

        monkeypatch.setattr(journal.Journal, "add", stops)
        return
    module, name, is_second = {
        "draw": (rounds_module, "sample", lambda *given, out, **more: "round_02" in str(out)),
        "picks": (rounds_module, "_relax", lambda campaign, folder, n: folder.number == 2),
        "judge": (rounds_module, "judge_rounds", lambda rounds, *more: len(rounds) == 2),
        "campaign.csv": (rounds_module, "write_csv", lambda frame, path: len(frame) == 8 and "campaign" in path.name),
        "outcome.csv": (folder, "write_text", lambda path, text: "round_02" in str(path)),
    }[where]
    before = getattr(module, name)

    def killed(*given: Any, **more: Any) -> Any:
        if is_second(*given, **more):
            raise Killed
        return before(*given, **more)

    monkeypatch.setattr(module, name, killed)


STAGES = ["draw", "picks", "realisations", "relaxations", "judge", "campaign.csv", "outcome.csv"]


@pytest.mark.parametrize("where", STAGES)
def test_a_kill_at_any_stage_costs_nothing_and_spends_nothing(where: str, run: Path, whole: Path) -> None:
    out = run.parent / f"killed_{where.split('.')[0]}"
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, where)
        with pytest.raises(Killed):
            run_campaign(campaign(run, out))
    assert not (out / "round_02" / "round.json").exists()
    result = run_campaign(campaign(run, out))
    assert result["n_rounds_before"] == 1
    in_flight = where == "relaxations"  # one relaxation had ended and was not on the disk yet
    assert len(calls(out)) <= 8 + in_flight
    assert result["n_referee_calls"] == 8
    pd.testing.assert_frame_equal(table(out), table(whole))
    assert run_campaign(campaign(run, out))["n_rounds_before"] == 2
    assert len(calls(out)) <= 8 + in_flight


def test_ctrl_c_keeps_what_was_finished(run: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, seen = run.parent / "interrupted", []
    from oreflow.agent.relaxation import journal

    add = journal.Journal.add

    def stops(self: journal.Journal, record: dict[str, Any]) -> None:
        add(self, record)
        seen.append(self.what)
        if seen.count("relaxations") == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(journal.Journal, "add", stops)
    result = run_campaign(campaign(run, out))
    assert (result["interrupted"], result["stopped_by"], result["n_rounds"]) == (True, "a signal", 1)
    monkeypatch.undo()
    assert run_campaign(campaign(run, out))["stopped_by"] == "the number of rounds"
    pd.testing.assert_frame_equal(table(out), table(whole))
    assert len(calls(out)) == 8


def test_further_rounds_go_on_and_another_config_is_refused(run: Path, whole: Path) -> None:
    from oreflow.agent.errors import RunFolderError

    out = run.parent / "longer"
    run_campaign(campaign(run, out, rounds=1, explore=0.0))
    assert len(table(out)) == 4
    with pytest.raises(RunFolderError, match=r"holds a campaign with draws 40 \(now 41\)"):
        run_campaign(campaign(run, out, rounds=2, explore=0.0, draws=41))
    assert run_campaign(campaign(run, out, rounds=2, explore=0.0))["n_rounds"] == 2
    assert len(table(out)) == len(calls(out)) == 8


def test_time_ends_a_campaign_between_rounds(run: Path) -> None:
    result = run_campaign(campaign(run, run.parent / "short", minutes=1e-6))
    assert (result["n_rounds"], result["stopped_by"]) == (1, "the time")


def test_what_a_round_leaves_over_the_next_one_may_use(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decorations without a geometry cost no referee call; they are learned from as unstable."""
    from oreflow.agent.errors import RealisationError
    from oreflow.agent.realisation import run as realisation

    find, seen = realisation.find_geometries, []

    def fails_first(*given: Any) -> Any:
        seen.append(given)
        if len(seen) <= 2:
            raise RealisationError("no room for the atoms")
        return find(*given)

    monkeypatch.setattr(realisation, "find_geometries", fails_first)
    out = run.parent / "sparing"
    result = run_campaign(campaign(run, out))
    frame = table(out)
    assert [one["n_referee_calls"] for one in result["rounds"]] == [2, 6]
    without = frame[frame["status"] == "no_geometry"]
    assert without["reason"].tolist() == ["no room for the atoms"] * 2
    assert without["learned_ev_per_atom"].tolist() == [0.5, 0.5]
    assert not without["is_hit"].any()
    assert len(calls(out)) == 8


def test_known_crystals_are_not_picked_and_no_hits(run: Path, whole: Path, tmp_path: Path) -> None:
    from oreflow.envs.structure_io.pymatgen_structures import pymatgen_structures

    hits = table(whole).query("is_hit")
    (structure,) = pymatgen_structures(crystal_from_text([hits["realised_structure"].iloc[0]]))
    known = reference(tmp_path, {"k-1": structure})
    result = run_campaign(campaign(run, tmp_path / "novel", novelty=str(known)))
    frame = table(tmp_path / "novel")
    assert hits["decoration"].iloc[0] not in set(frame["decoration"])
    assert result["rounds"][-1]["n_left_out"]["known"] == 1
    assert "novel against known.csv" in result["hit_rule"]
    assert frame["is_novel"].dropna().isin([True, False]).all()


def test_a_surrogate_that_never_learns_is_the_same_in_all_rounds(run: Path, tmp_path: Path) -> None:
    result = run_campaign(campaign(run, tmp_path / "plain", calibration="none"))
    frame = table(tmp_path / "plain")
    assert frame["calibrated_ev_per_atom"].tolist() == frame["predicted_ev_per_atom"].tolist()
    assert all(one["rank_correlation"] == one["rank_correlation_calibrated"] for one in result["rounds"])
