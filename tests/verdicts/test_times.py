"""Ratios of times: which are wanted, which are 1 by construction, which were measured, and where they are shown."""

import pytest
from fake_results import read_csv

from pipeline import paths
from pipeline.files import write_json
from pipeline.reporting.latency import latency_section
from pipeline.reporting.tables import write_table
from pipeline.verdicts import times

BASE, DST = "dst_frcnn_r50_fpn_1x", "dst_frcnn_r50_fpn_1x_dst"
WIDE = "dst_frcnn_r50_fpn_1x_ms_train_600_1000"
C4 = "pod_frcnn_r50_c4_1x"


def detectors(*rows: tuple[str, str, str, float], prefix: str = "cpu") -> None:
    """Write a benchmark of detectors: kind, experiment, baseline and median ratio, quartiles 0.1 beside it."""
    found = [
        {"kind": kind, "key": times.key(kind, name), "baseline_key": times.key(kind, base)}
        | {"ratio": {"median": ratio, "low": ratio - 0.1, "high": ratio + 0.1}}
        for kind, name, base, ratio in rows
    ]
    machine = {"cpu": "X", "gpu": "Y" if prefix == "gpu" else None}
    write_json(times.FOLDER / f"{prefix}_detectors.json", {"prefix": prefix, "machine": machine, "rows": found})


def overhead(mean: float) -> None:
    total = {"mean": {"ratio": mean, "low": mean - 0.01, "high": mean + 0.01}}
    write_json(times.FOLDER / "cpu_dst_overhead.json", {"ratios": {"dst": {"total": total}}})


def test_what_is_timed_is_what_tables_and_the_methods_page_compare():
    found = {(one.kind, one.experiment, one.baseline) for one in times.wanted()}
    assert ("inference", f"{C4}_gsl", C4) in found
    assert ("training", WIDE, BASE) in found
    assert ("inference", "combo_frcnn_r50_fpn_1x_psconv_msfm_dst", "psconv_frcnn_r50_fpn_1x") in found
    kinds = {(kind, name) for kind, name, _ in found}
    assert ("training", DST) not in kinds  # its steps change; the dst_overhead benchmark has live trainings
    assert not any(name.startswith("snip") for _, name in kinds)
    assert ("training", "dst_frcnn_r50_fpn_2x_ms_train_600_1000") not in kinds  # the step of the 1x training


def test_ratios_are_one_by_construction_measured_or_unknown(fake):
    assert times.ratio("inference", DST, BASE).value == 1.0
    assert times.ratio("inference", DST, BASE).low is None
    assert times.ratio("inference", f"{DST}_res_512", BASE) is None  # a smaller input
    assert times.ratio("inference", "pod_frcnn_r50_fpn_1x_fd", "pod_frcnn_r50_fpn_1x") is None
    assert times.ratio("training", DST, BASE) is None
    # a measured pair stands for equal networks and inputs
    detectors(("training", WIDE, BASE, 1.24), ("inference", f"{C4}_gsl", C4, 1.7))
    assert times.ratio("training", WIDE, BASE).value == 1.24
    assert times.ratio("training", "dst_frcnn_r50_fpn_2x_ms_train_600_1000", "dst_frcnn_r50_fpn_2x").value == 1.24
    assert times.ratio("training", "dst_frcnn_r50_fpn_1x_ms_train_400_800", BASE) is None
    assert times.ratio("inference", WIDE, BASE).value == 1.0  # of a test nothing is drawn
    assert times.ratio("inference", C4, f"{C4}_gsl") is None  # the other way round was not measured
    # collages take the time of live trainings, with loading
    overhead(1.013)
    found = times.ratio("training", DST, BASE)
    assert (found.value, found.low) == (1.013, pytest.approx(1.003))
    assert times.ratio("training", "dst_frcnn_r101_fpn_1x_dst", "dst_frcnn_r101_fpn_1x") is None  # another network
    detectors(("inference", f"{C4}_gsl", C4, 1.7), prefix="gpu")
    found = times.ratio("inference", f"{C4}_gsl", C4)
    assert (found.value, "on a GPU" in found.sentence) == (1.7, True)  # a GPU is shown where one was at hand


def test_tables_judge_hours_and_claims_by_the_measured_ratio(fake):
    fake.dst()
    fake.evaluation(WIDE, 0.21)
    detectors(("training", WIDE, BASE, 1.3))
    overhead(1.2)  # printed 9.0 / 8.7: another side of 1
    write_table("dst_t2", "mini")
    lines = read_csv(paths.table("mini", "dst_t2", "csv"))
    costs = {line["row"]: line for line in lines if line["kind"] == "printed cost" and line["metric"] == "hours"}
    words = [costs[f"frcnn_r50_fpn_1x__{name}"]["verdict"] for name in ("ms_train_m", "dst")]
    assert words == ["agrees", "contradicts"]
    claims = [line for line in lines if line["kind"] == "claim" and line["metric"] == "hours"]
    wide = [line for line in claims if line["evaluation"] == "dst_t2/frcnn_r50_fpn_1x__ms_train_m/hours"]
    assert {(line["our_gain"], line["verdict"]) for line in wide} == {("1.300", "agrees")}
    timed = "Timed on a CPU, 1.30 times the baseline's (quartiles 1.20 to 1.40)."
    assert wide[0]["why"] == f"Printed 1.24 times the baseline's. {timed}"


def test_the_methods_page_shows_both_kinds_and_what_was_not_timed(fake):
    assert latency_section().startswith("Not measured: `python -m pipeline.benchmarks.detector_times`")
    detectors(("inference", "msfm_frcnn_r50_fpn_1x_msfm", "msfm_frcnn_r50_fpn_1x", 1.5))
    section = latency_section()
    assert "| MSFM | 1.50x (1.40 to 1.60) | not timed |" in section
    assert "| DST | 1.00x | not timed |" in section
    assert "| SNIP | 1.00x | not timed |" in section
    assert "| MSFM + DST | 1.50x (1.40 to 1.60) | not timed |" in section
