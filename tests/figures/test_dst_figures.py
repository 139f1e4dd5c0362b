"""DST's figures 1, 4, 5 and 6: what lies beside them is what was drawn, and what was not run is not invented."""

import math

import pytest
from fake_results import figure_rows as rows

from pipeline import config, paths
from pipeline.files import write_json, write_text
from pipeline.options import CollageOptions
from pipeline.published.tables import find_table
from pipeline.reporting.facts import threshold_facts
from pipeline.reporting.figures import plotting
from pipeline.reporting.figures.dst import (
    BASELINE,
    DST,
    SWEEP,
    bars_of,
    binned,
    draw_dst_figures,
    draw_loss_share,
    draw_loss_share_histogram,
    threshold_runs,
)
from pipeline.verdicts.results import Results, load_experiment


def history(name: str, lines: list[str]) -> None:
    header = "step,loss,small_share,medium_share,large_share"
    write_text(paths.history("mini", name), "\n".join([header, *lines]) + "\n")


def test_shares_over_steps_and_their_histograms(fake):
    history(BASELINE, ["10,1,0.05,0.25,0.7", "20,1,,,", "30,1,0.1,0.3,0.6"])
    draw_loss_share(Results("mini"), paths.figure("mini", "loss_share"))
    assert [tuple(row.values()) for row in rows("loss_share")] == [
        (BASELINE, "10", "0.05", "0.25", "0.7"),
        (BASELINE, "30", "0.1", "0.3", "0.6"),
    ]
    # histograms are parts of the steps
    fake.training(BASELINE)  # before steps were counted: there is no histogram
    draw_loss_share_histogram(Results("mini"), paths.figure("mini", "loss_share_histogram"))
    assert rows("loss_share_histogram") == []
    assert binned([0] * 99 + [4])[-1] == 1.0
    assert binned([1, 0, 0, 0, 0, 3])[:2] == [0.25, 0.75]
    for name, counts in ((BASELINE, [6, 0, 0, 0, 2] + [0] * 10 + [2]), (DST, [0] * 12 + [5])):
        write_json(paths.training_summary("mini", name), {"experiment": name, "small_share_histogram": counts})
    draw_loss_share_histogram(Results("mini"), paths.figure("mini", "loss_share_histogram"))
    found = rows("loss_share_histogram")
    assert len(found) == 40
    assert [(row["share_from"], row["steps"], row["part_of_steps"]) for row in found[:4]] == [
        ("0.0", "8", "0.8"),
        ("0.05", "0", "0.0"),
        ("0.1", "0", "0.0"),
        ("0.15", "2", "0.2"),
    ]
    assert found[22]["experiment"] == DST
    assert (found[22]["share_from"], found[22]["part_of_steps"]) == ("0.1", "1.0")


def test_longer_training_holds_every_printed_row_and_ours_where_run(fake):
    fake.evaluation("dst_frcnn_r50_fpn_4x_dst", 0.25)
    draw_dst_figures("mini")
    found = rows("dst_training_length")
    printed = {row.experiments[-1]: row.values["ap"] for row in find_table("dst_t5")[1].rows}
    assert {row["experiment"]: float(row["published"]) for row in found} == printed
    assert {row["experiment"]: row["ours"] for row in found if row["ours"]} == {"dst_frcnn_r50_fpn_4x_dst": "25.0"}
    assert {(row["method"], float(row["length"])) for row in found} == {
        (method, length) for method in ("baseline", "ms_train", "dst") for length in (1, 2, 4, 6)
    }


def test_thresholds_are_those_of_the_experiments(fake):
    assert list(threshold_runs().values()) == [0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 1.0]
    assert (threshold_runs()[DST], threshold_runs()[f"{DST}_tau_sweep"]) == (0.1, 0.3)
    fake.dst(gain=0.03, collage=0.4)
    draw_dst_figures("mini")
    found = [tuple(row.values()) for row in rows("dst_threshold")]
    assert [row[0] for row in found] == list(SWEEP)
    assert [row for row in found if row[2]] == [(BASELINE, "0.0", "20.0", "0.0", ""), (DST, "0.1", "23.0", "0.4", "")]


def test_bars_are_two_deviations_of_one_training(fake):
    fake.dst(gain=0.03)
    for name in (SWEEP[4], "dst_frcnn_r50_fpn_4x_dst"):
        fake.evaluation(name, 0.25)
    fake.noise(sd=0.005)
    draw_dst_figures("mini")
    assert {
        row["run_sd"] for name in ("dst_threshold", "dst_training_length") for row in rows(name) if row["run_sd"]
    } == {"1.118"}  # sqrt(5) * 0.5
    assert bars_of([{"run_sd": 0.5}, {"run_sd": None}]) == pytest.approx([1.0, math.nan], nan_ok=True)


def test_too_few_points_are_named_and_not_joined(fake, monkeypatch):
    said = []
    monkeypatch.setattr(plotting, "say_empty", lambda ax, text: said.append(text))
    fake.dst(gain=0.03, collage=0.4)
    draw_dst_figures("mini")
    assert said == ["only one length was run", "2 of 8 trainings were run"]
    fake.evaluation("dst_frcnn_r50_fpn_4x_dst", 0.25)
    fake.evaluation(SWEEP[4], 0.22)
    said.clear()
    draw_dst_figures("mini")
    assert said == []


def test_the_sweep_leaves_no_experiment_out():
    ours, found = load_experiment(DST), {BASELINE}
    for name in config.experiments("dst"):
        other = load_experiment(name)
        collage = other.method.collage
        keys = ("detector", "backbone", "neck", "dataset", "recipe", "length", "pyramid")
        alike = all(getattr(ours, key) == getattr(other, key) for key in keys)
        threshold = CollageOptions(threshold=collage.threshold if collage else 0.1)
        if alike and collage in (CollageOptions(feedback="always"), threshold):
            found.add(name)
    assert found == set(SWEEP)


def test_the_page_says_which_threshold_the_heuristic_proposes(fake):
    assert threshold_facts(Results("mini")) == []
    share = {"source": "steps", "window_steps": 10, "quantiles": {"0.5": 0.0312}, "proposed_threshold": 0.031}
    share |= {"below_paper_threshold": 0.73, "paper_threshold": 0.1}
    write_json(paths.loss_share("mini", BASELINE), share)
    (sentence,) = threshold_facts(Results("mini"))
    assert (
        "Half of the baseline's steps gave small objects a share of less than **0.031** of the regression" in sentence
    )
    assert "73 % lie below the paper's 0.1" in sentence
    write_json(paths.loss_share("mini", BASELINE), share | {"source": "windows"})
    assert "Half of the baseline's windows of 10 steps" in threshold_facts(Results("mini"))[0]
