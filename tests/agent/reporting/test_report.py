"""Reports: their numbers are the table's, nothing of a user's text becomes HTML, and bad input is refused in words."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from oreflow.agent.storage.lock import RunLock
from oreflow.agent.tables import candidate_rows
from tests.agent.reporting.pages import cells, data_of, large_table, words_of
from tests.support.cli import done, oreflow, refused

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"


def test_the_funnel_is_that_of_the_table(page: Path) -> None:
    frame = pd.read_parquet(page.parents[1] / "samples" / "candidates.parquet")
    balanced = frame["charge_balance_e"] <= 1.0
    low = frame["formation_energy_ev_per_atom"] <= -1.0
    ordered = frame["electronegativity_balance_verdict"] == 1
    shares = {
        "formation energy / eV/atom at most -1 eV/atom": low,
        "charge balance / e at most 1 e": balanced,
        "electronegativity balance yes": ordered,
        "all of these thresholds": balanced & low & ordered,
        "charge-neutral": frame["charge_neutral"],
        "not in the reference (novel)": frame["is_novel"],
    }
    text = cells(words_of(page))
    for line, verdict in shares.items():
        share = f"{100 * verdict.mean():.1f} %"
        assert re.search(re.escape(line) + r"( median -?[\d.e-]+)? " + re.escape(share), text), (line, share)
    median = frame["formation_energy_ev_per_atom"].median()
    assert f"at most -1 eV/atom median {median:.4g}" in text
    assert f"complexity / nats as low as possible median {frame['complexity_nats'].median():.4g}" in text
    assert f"elements a formula median {frame['nelements'].median():.4g}" in text
    assert "more than 0.1 eV/atom below the hull" not in text  # of which this table says nothing
    assert 0 < (balanced & low & ordered).mean() < low.mean()  # or the test could not tell the lines apart


def test_rows_in_holes_of_the_hull_are_counted(tmp_path: Path) -> None:
    table = tmp_path / "candidates.csv"
    above = [-0.3, -0.11, -0.09, 0.02, 0.4]
    formulas = ["LiFeO2", "NaCl", "MgO", "CaTiO3", "KBr"]
    pd.DataFrame({"formula": formulas, "energy_above_hull_ev_per_atom": above}).to_csv(table, index=False)
    done("report", table, "-q")
    text = cells(words_of(tmp_path / "report" / "index.html"))
    assert (
        "more than 0.1 eV/atom below the hull the reference is likely to lack competing compounds there 40.0 %" in text
    )


def test_the_table_on_the_page_is_the_table(page: Path) -> None:
    frame = pd.read_parquet(page.parents[1] / "samples" / "candidates.parquet")
    (table,) = data_of(page)["tables"]
    assert table["n_rows"] == len(frame)
    columns = {column["key"]: column for column in table["columns"]}
    assert columns["formula"]["values"] == frame["formula"].tolist()
    assert columns["rank"]["values"] == frame["rank"].tolist()
    decimals = json.loads((page.parents[1] / "samples" / "summary.json").read_text())["log_reward_decimals"]
    assert columns["log_reward"]["digits"] == decimals
    np.testing.assert_allclose(columns["log_reward"]["values"], frame["log_reward"], atol=0.5 * 10.0**-decimals + 1e-9)
    np.testing.assert_allclose(
        columns["formation_energy_ev_per_atom"]["values"], frame["formation_energy_ev_per_atom"], atol=0.0005 + 1e-9
    )
    assert columns["is_novel"]["values"] == frame["is_novel"].astype(int).tolist()
    assert columns["electronegativity_balance_verdict"]["kind"] == "flag"
    assert "formation_energy_per_atom_pred" not in columns  # it says what the term says


def test_the_verdict_is_that_of_the_summary(page: Path) -> None:
    summary = json.loads((page.parents[1] / "samples" / "summary.json").read_text())
    assert "satisfy all that was asked" in summary["worth_reading"]
    assert cells(summary["worth_reading"]) in cells(words_of(page))


def test_what_was_asked_and_where_it_came_from_is_said(page: Path) -> None:
    text = cells(words_of(page))
    for said in (
        "formulas in proportion to R",
        "formation energy: at most -1 eV/atom (below, threshold -1, width 0.3)",
        "elements Li Mn O S; n elements 1 to 3; neutrality soft",
        "a &lt;b&gt;small&lt;/b&gt; run &amp; nothing else",
        "trained by",
        "versions oreflow",
    ):
        assert said in text or said in text.replace("&#39;", "'"), said


def test_nothing_on_the_page_leads_out_of_it(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"https?://[^\s\"'<]+", text) == []
    assert set(re.findall(r"\b(?:src|href)=\"([^\"#][^\"]*)", text)) == {"data:,"}
    assert "connect-src" not in text
    assert "default-src 'none'" in text  # so that no script could ask for anything


def test_figures_for_papers_are_those_of_the_page(page: Path) -> None:
    keys = set(data_of(page)["figures"])
    folder = page.parent / "figures"
    assert {path.stem for path in folder.glob("*.png")} == {path.stem for path in folder.glob("*.svg")} == keys
    assert {"learning_loss", "learning_exact_total_variation", "fit_0", "elements_0", "map_0"} <= keys
    assert {"distribution_charge_balance", "distribution_formation_energy"} <= keys
    assert any(key.startswith("hull_0_") for key in keys)
    for path in folder.glob("*.png"):
        assert path.read_bytes()[:4] == b"\x89PNG"
        assert path.stat().st_size > 10_000
    for path in folder.glob("*.svg"):
        assert "$" not in path.read_text(encoding="utf-8")  # a formula of matplotlib's that nobody has drawn


def test_seeds_are_a_band_and_each_a_column(runs: Path, tmp_path: Path) -> None:
    made = json.loads(done("report", runs / "runs", "--out", tmp_path / "both", "--json").stdout)
    assert list(made["n_rows"]) == ["seed_0", "seed_1"]
    data = data_of(tmp_path / "both" / "index.html")
    band, line = data["figures"]["learning_loss"]["data"]
    logs = [
        [json.loads(text) for text in (runs / "runs" / f"seed_{seed}" / "metrics.jsonl").read_text().splitlines()]
        for seed in (0, 1)
    ]
    losses = np.array([[entry["loss"] for entry in log] for log in logs])
    np.testing.assert_allclose(line["y"], losses.mean(axis=0), rtol=1e-5)
    n = losses.shape[1]
    np.testing.assert_allclose(band["y"][:n], losses.max(axis=0), rtol=1e-5)
    np.testing.assert_allclose(band["y"][n:], losses.min(axis=0)[::-1], rtol=1e-5)
    assert len(data["tables"]) == 2
    assert line["name"] == "runs (2 seeds)"
    assert made["funnel"][0]["of"].keys() == {"seed_0", "seed_1"}
    header = re.search(r'<table class="funnel">.*?</thead>', (tmp_path / "both" / "index.html").read_text(), re.DOTALL)
    assert header is not None
    assert cells(header[0]) == "wish seed_0 seed_1"


def test_text_that_looks_like_html_stays_text(tmp_path: Path) -> None:
    folder = tmp_path / "<b>bold & brash<"
    folder.mkdir()
    table = folder / "table.csv"
    frame = pd.DataFrame(
        {"formula": ["NaCl", "TiO2", "Fe2O3"], HOSTILE: ["1", "2", HOSTILE], "note": [HOSTILE, "'=1+1", "-->"]}
    )
    frame.to_csv(table, index=False)
    done("report", table, "--out", tmp_path / "out", "-q")
    page = tmp_path / "out" / "index.html"
    text = page.read_text(encoding="utf-8")
    assert "<img" not in text
    assert "alert(2)</script>" not in text
    assert "<b>bold" not in text
    assert "&lt;b&gt;bold &amp; brash&lt;" in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text  # in the first rows, as text
    columns = {column["key"]: column["values"] for column in data_of(page)["tables"][0]["columns"]}
    assert columns["note"] == [HOSTILE[:120], "=1+1", "-->"]


def test_a_formula_that_looks_like_html_stays_text(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    pd.DataFrame({"formula_reduced": ["NaCl", "KCl"], "formula_pretty": [HOSTILE, "Cl2<sub>9"]}).to_csv(
        table, index=False
    )
    done("report", table, "--out", tmp_path / "out", "-q")
    text = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "<img" not in text
    assert "&lt;img src=x" in text
    assert "Cl<sub>2</sub>&lt;sub&gt;9" in text


def test_a_table_of_another_program(tmp_path: Path) -> None:
    table = tmp_path / "foreign.csv"
    table.write_text("Formula,band gap,comment\nNaCl,8.5,salt\nNaN,,nitride\nnonsense!,1.0,\nTiO2,3.2,rutile\n")
    result = done("report", table, "--out", tmp_path / "out")
    text = cells(words_of(tmp_path / "out" / "index.html"))
    assert "1 rows without a readable formula are left out; row 4:" in text
    assert "The tables lack log_reward or log_pf" in text
    assert "No run folder is known for these tables" in text
    assert "The tables hold no crystals" in text
    assert "3 candidates" in result.stdout
    columns = {column["key"]: column for column in data_of(tmp_path / "out" / "index.html")["tables"][0]["columns"]}
    assert columns["formula"]["values"] == ["NaCl", "NaN", "TiO2"]
    assert columns["band gap"] | {"title": ""} == {
        "key": "band gap",
        "title": "",
        "kind": "number",
        "digits": 1,
        "values": [8.5, None, 3.2],
    }


def test_objects_of_an_own_world_have_no_formulas(tmp_path: Path) -> None:
    table = tmp_path / "paths.csv"
    table.write_text("object,log_reward,length\nup up right,-1,3.5\nright <i>,-2,2.5\n")
    done("report", table, "--figures", "--out", tmp_path / "out", "-q")
    page = tmp_path / "out" / "index.html"
    columns = {column["key"]: column["values"] for column in data_of(page)["tables"][0]["columns"]}
    assert columns == {"object": ["up up right", "right <i>"], "log_reward": [-1, -2], "length": [3.5, 2.5]}
    assert set(data_of(page)["figures"]) == {"distribution_log_reward", "distribution_length"}
    assert "The tables hold no formulas" in words_of(page)


@pytest.mark.parametrize(("n", "said"), [(0, "No candidates: nothing to read"), (1, "One candidate")])
def test_none_or_one_candidate(n: int, said: str, runs: Path, tmp_path: Path) -> None:
    rows = pd.read_parquet(runs / "runs" / "seed_0" / "samples" / "candidates.parquet").head(n)
    rows.to_parquet(tmp_path / "few.parquet")
    rows.to_csv(tmp_path / "few.csv", index=False)
    for suffix in ("parquet", "csv"):
        out = tmp_path / suffix
        result = done(
            "report", tmp_path / f"few.{suffix}", "--reference", runs / "known.csv", "--figures", "--out", out
        )
        assert said in result.stdout
        assert data_of(out / "index.html")["tables"][0]["n_rows"] == n


def test_a_large_table_is_sampled_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from oreflow.agent.reporting import sources

    monkeypatch.setattr(sources, "MOST_ROWS", 500)
    monkeypatch.setattr(candidate_rows, "FIRST_ROWS", 100)
    table = large_table(tmp_path / "large.parquet", 3000)
    ids = pd.read_parquet(table)["candidate_id"].tolist()
    pd.read_parquet(table).to_csv(tmp_path / "large.csv", index=False)
    shown = []
    for name in ("large.parquet", "large.csv"):
        done("report", tmp_path / name, "--out", tmp_path / f"{name}.report", "-q")
        page = tmp_path / f"{name}.report" / "index.html"
        assert "3,000 rows in the table; this page and its figures hold 500 of them" in words_of(page)
        (found,) = data_of(page)["tables"]
        assert found["n_rows"] == 500
        shown.append(next(column["values"] for column in found["columns"] if column["key"] == "candidate_id"))
    assert shown[0] == shown[1]
    assert shown[0][:100] == ids[:100]
    assert shown[0] == sorted(set(shown[0]))
    assert shown[0] != ids[:500]


def test_refusals(runs: Path, tmp_path: Path) -> None:
    run = tmp_path / "unsampled"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.resolved.yaml").write_bytes((runs / "runs/seed_0/config.resolved.yaml").read_bytes())
    refused(f"run `oreflow sample {run} -n 1000 --unique` first", "report", run, "--out", tmp_path / "a")
    refused("no candidates in any run", "report", tmp_path, "--out", tmp_path / "b")
    (tmp_path / "empty").mkdir()
    refused("expected a run, a folder of candidates or a table", "report", tmp_path / "empty", "--out", tmp_path / "c")
    (tmp_path / "prices.csv").write_text("metal,price\nLi,3\n")
    refused("expected a column 'formula'", "report", tmp_path / "prices.csv", "--out", tmp_path / "d")
    refused("found none at", "report", tmp_path / "missing.csv", "--out", tmp_path / "e")


def test_only_what_we_wrote_is_replaced(tmp_path: Path) -> None:
    table, out = tmp_path / "table.csv", tmp_path / "out"
    table.write_text("formula\nNaCl\nKCl\n")
    out.mkdir()
    (out / "index.html").write_text("mine")
    refused("was not written by oreflow", "report", table, "--out", out, "--overwrite")
    assert (out / "index.html").read_text() == "mine"
    (out / "index.html").unlink()
    (out / "notes.txt").write_text("mine")
    done("report", table, "--out", out, "-q")
    refused("holds results already", "report", table, "--out", out)
    done("report", table, "--out", out, "--overwrite", "--figures", "-q")
    assert (out / "figures" / "elements_0.png").is_file()
    done("report", table, "--out", out, "--overwrite", "-q")
    assert not (out / "figures").exists()
    assert (out / "notes.txt").read_text() == "mine"
    with RunLock(out):
        refused("is in use by process", "report", table, "--out", out, "--overwrite")


def test_a_run_that_is_trained_anew_takes_its_report_along(runs: Path, tmp_path: Path) -> None:
    short = ("--set", "sampler.steps=2", "--set", "run.log_every_steps=1", "--set", "run.measure_every=0", "-q")
    run = tmp_path / "run"
    done("train", runs / "config.yaml", "--out", run, *short)
    done("sample", run, "-n", 5, "-q")
    done("report", run, "-q")
    assert (run / "report" / "index.html").is_file()
    (run / "report" / "mine.txt").write_text("mine")
    done("train", runs / "config.yaml", "--out", run, "--overwrite", *short)
    assert [path.name for path in (run / "report").iterdir() if not path.name.startswith(".")] == ["mine.txt"]


def test_help_shows_both_kinds_of_sources() -> None:
    text = oreflow("report", "--help").stdout
    assert "runs/quickstart" in text
    assert "candidates.csv" in text
