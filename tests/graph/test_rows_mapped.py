"""Every row that the papers ran themselves has its numbers from somewhere, or a reason in words."""

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml

from pipeline import paths
from pipeline.errors import InputError
from pipeline.graph import declared
from pipeline.published.rows import RowsFile, Speed, check_rows, load_rows
from pipeline.published.tables import exists, find_table, load_published
from pipeline.reporting.catalogue import beyond_tables
from pipeline.verdicts.baselines import find_baseline
from pipeline.verdicts.comparison import metrics_of
from pipeline.verdicts.results import load_experiment

STAGES = declared.stages()
MADE = {out: stage for stage in STAGES.values() for out in stage.outs}
PRESET = yaml.safe_load((paths.ROOT / paths.PARAMS).read_text())["preset"]
PUBLISHED = {paper: load_published(paper) for paper in paths.PAPERS}
TABLES = [table for paper in paths.PAPERS for table in load_published(paper).tables]
OWN = [(table, row) for table in TABLES for row in table.rows if row.ours]


def needed(target):
    return declared.ancestors(target, STAGES)


@pytest.mark.parametrize(("table", "row"), OWN, ids=lambda value: value.id)
def test_every_own_row_has_a_stage_a_benchmark_or_a_reason(table, row):
    source = row.source
    stage = STAGES[f"workflow/papers/{paths.paper_of(table.id)}/tables/dvc.yaml:{table.id}"]
    if source.kind == "evaluation":
        metrics = paths.metrics(PRESET, source.name).as_posix()
        assert MADE[metrics].address.endswith(f":evaluate@{source.name}")
        assert metrics in stage.deps
        if find_baseline(PUBLISHED[paths.paper_of(table.id)], table, row)[0]:
            assert paths.bootstrap(PRESET, source.name).as_posix() in stage.deps
        experiment, test = paths.split_evaluation(source.name)
        assert experiment == row.experiments[-1] or test == "ensemble"
        assert test in load_experiment(experiment).tests
    elif source.kind == "classifier":
        summary = paths.training_summary(PRESET, source.name).as_posix()
        assert summary in stage.deps
        assert MADE[summary].command.startswith("python -m pipeline.stages.pretrain ")
    elif source.kind == "scales":
        scales = paths.scales(PRESET, source.name).as_posix()
        assert scales in stage.deps
        assert "learn_scales@" in MADE[scales].address
        assert row.factors["split"] in ("train", "minival")
    elif source.kind == "speed":
        assert Path(source.name).parent == Path("reports/benchmarks")
    else:
        assert source.kind == "absent"
        assert len(source.reason.split()) > 3


def test_the_rows_by_where_their_numbers_come_from():
    counts = Counter(row.source.kind for _, row in OWN)
    assert counts == {"evaluation": 213, "classifier": 30, "scales": 8, "speed": 6, "absent": 5}
    assert sum(counts.values()) == 262
    assert sum(bool(row.experiments) for _, row in OWN) == 251  # the other 11 are PSConv's speeds
    assert {table.id for table, row in OWN if not row.experiments} == {"psconv_s_g"}


def test_speeds_come_from_a_benchmark_that_was_run():
    result = json.loads((paths.ROOT / paths.layer_benchmark("cpu")).read_text())
    for _, row in OWN:
        if row.speed and row.speed.device == "cpu":
            assert row.speed.value(result) > 0, row.id


def test_a_speed_is_a_median_or_a_ratio_of_what_the_benchmarks_page_shows():
    def line(name, ms, ratio, pixels):  # the median of ratios in a round is not the ratio of medians
        timed = {"group": "layer", "dtype": "fp32", "mode": "forward", "case": {"pixels": pixels}, "name": name}
        return timed | {"ms": {"median": ms}, "ratio": {"median": ratio}}

    rows = [line("plain", 4.0, 1.0, 56), line("psconv", 6.4, 1.5, 56), line("dilated", 8.1, 2.0, 56)]
    result = {"rows": [*rows, line("plain", 100.0, 1.0, 7)]}
    assert Speed("psconv", {"pixels": 56}, over="dilated").value(result) == 0.75
    assert Speed("plain", {"pixels": 56}).value(result) == 4.0
    assert Speed("psconv", {"pixels": 56}, over="plain").value(result) == 1.5
    assert Speed("psconv", {"pixels": 7}, over="plain").value(result) is None
    assert Speed("psconv", {"pixels": 56}, group="network").value(result) is None
    assert Speed("plain", {"pixels": 56}).value(None) is None


def test_the_catalogue_needs_every_experiment_of_the_papers():
    trained = {paths.split_evaluation(address.rpartition("@")[2])[0] for address in needed("catalogue")}
    catalogue = yaml.safe_load((paths.ROOT / "data/published/experiments.yaml").read_text())
    assert len(catalogue) == 212
    assert set(catalogue) - trained == set()
    tables_needed = {address.rpartition(":")[2] for address in needed("catalogue") if "/tables/" in address}
    assert tables_needed == {table.id for table in TABLES}
    assert len(tables_needed) == 44
    assert len(beyond_tables()) == 18


def test_the_report_needs_the_catalogue_and_the_quickstart_needs_neither():
    assert {"catalogue", "quickstart"} <= needed("report")
    headline = {address.rpartition(":")[2] for address in needed("quickstart") if "/tables/" in address}
    listed = {f"headline_{name}" for paper in paths.PAPERS for name in load_rows(paper).headline}
    assert headline == listed
    assert sum("train@" in address for address in needed("quickstart")) < 25


def test_the_headline_hides_rows_and_nothing_else():
    _, full = find_table("dst_t2")
    _, few = find_table("dst_t2", headline=True)
    assert [row.id for row in few.rows] == [row.id for row in full.rows]
    assert sum(map(exists, full.rows)) == 10
    shown = [f"frcnn_r50_fpn_1x__{name}" for name in ("baseline", "ms_train_m", "dst")]
    assert [row.id for row in few.rows if exists(row)] == shown
    with pytest.raises(InputError, match="Table dst_t3 has no headline rows"):
        find_table("dst_t3", headline=True)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (RowsFile(evaluations={"dst_t77": {}}), "evaluations names the unknown table 'dst_t77'; did you mean 'dst_t7'"),
        (RowsFile(absent={"dst_t7": {"ros": "why"}}), "absent of dst_t7 names the unknown row 'ros'; did you mean"),
    ],
)
def test_a_wrong_row_is_said_in_one_sentence(rows, words):
    with pytest.raises(InputError) as caught:
        check_rows(rows, {"dst_t7": ["row"]}, Path("rows.yaml"))
    assert words in str(caught.value)


def test_a_table_decides_by_a_column_that_it_prints():
    for table in TABLES:
        if any(row.source.kind in ("evaluation", "classifier") for row in table.rows):
            assert metrics_of(table)[0] in table.columns, table.id
    assert metrics_of(find_table("snip_t1")[1])[0] == "ap_small"
    assert metrics_of(find_table("psconv_t1")[1]) == ("top1_err", "top5_err")
    assert metrics_of(find_table("psconv_t6")[1]) == ("top1_err",)
    assert metrics_of(find_table("dst_t9")[1])[0] == "mask_ap"
