"""The CSV of all results: every value is that of a file, a block a row, nothing for what is missing."""

import csv

import pandas as pd
import pytest

from pipeline import config, paths
from pipeline.files import found_json, read_json, write_json
from pipeline.graph import declared
from pipeline.reporting.results_csv import COLUMNS, place, write_results

DST, CLASSIFIER = "dst_frcnn_r50_fpn_1x_dst", "psconv_cls_r50_120ep_cos"
KEYS = ("paper", "experiment", "test", "block")


def written() -> list[dict[str, str]]:
    write_results("mini")
    return list(csv.DictReader(place("mini").read_text().splitlines()))


def test_a_row_a_block_with_the_values_of_its_files(fake):
    numbers = {"ap": 0.1234567, "ap_small": None, "ar100": 0.4}
    blocks = [dict(numbers), {"ap": 0.25}]
    write_json(paths.metrics("mini", DST), {**blocks[0], "images": 300, "ap": 0.18672835, "blocks": blocks})
    facts = {"steps": 300, "precision": "bf16"}
    write_json(paths.training_summary("mini", DST), {**facts, "blocks": [facts, {**facts, "precision": "fp32"}]})
    fake.size(DST, 1_434_090, 2_182_595_520)
    first, second = written()
    assert tuple(first) == COLUMNS
    spec = config.resolve(DST, "mini")
    expected = {"paper": "dst", "experiment": DST, "test": "single", "images": "300"}
    expected |= {"steps": "300", "parameters_total": "1434090", "macs": "2182595520", "mask_ap": "", "top1_error": ""}
    for row in (first, second):
        assert {key: row[key] for key in expected} == expected
    told = ("block", "seed", "ap", "ap_small", "ar100", "precision")
    seeds = [str(spec.of_block(number).seed) for number in (1, 2)]
    assert [first[key] for key in told] == ["1", seeds[0], "0.1234567", "", "0.4", "bf16"]
    assert [second[key] for key in told] == ["2", seeds[1], "0.25", "", "", "fp32"]


def test_a_block_that_is_not_trained_again_yet_and_a_classifier(fake):
    fake.evaluation(DST, 0.2)
    fake.noise(dof=1)
    write_json(paths.training_summary("mini", DST), {"steps": 300})
    errors = {"top1_error": 0.35, "top5_error": 0.06, "images": 9000, "val_images": 1000, "steps": 1300}
    write_json(paths.training_summary("mini", CLASSIFIER), errors)
    rows = written()
    assert [(row["experiment"], row["block"], row["steps"]) for row in rows] == [
        (DST, "1", "300"),
        (DST, "2", ""),
        (CLASSIFIER, "1", "1300"),
    ]
    assert [rows[2][key] for key in ("images", "ap", "top1_error", "top5_error")] == ["1000", "", "0.35", "0.06"]


def test_the_processor_is_the_one_that_trained(fake):
    fake.evaluation(DST, 0.2)
    assert [row["processor"] for row in written()] == [""]
    stages = [f"{kind}@{DST},{DST},1,9.0,True,{machine}" for kind, machine in (("train", "one"), ("predict", "other"))]
    head = "stage,experiment,blocks,core_seconds,ended,processor"
    place("mini").with_name("hours.csv").write_text("\n".join([head, *stages]) + "\n")
    assert [row["processor"] for row in written()] == ["one"]


def test_the_stage_depends_on_every_file_that_a_row_comes_from():
    known = declared.stages()
    stage = next(stage for stage in known.values() if place("mini").as_posix() in stage.outs)
    scripts = ("evaluate", "train", "measure")
    made = {out for one in known.values() if one.script in scripts for out in one.outs if "/metrics/" in out}
    classified = {paths.training_summary("mini", name).as_posix() for name in config.experiments() if "_cls_" in name}
    assert made | classified <= set(stage.deps)


def test_every_committed_result_is_there_once_and_as_its_file_has_it(monkeypatch, tmp_path):
    (tmp_path / "reports/mini").mkdir(parents=True)
    (tmp_path / "reports/mini/metrics").symlink_to(paths.ROOT / "reports/mini/metrics")
    monkeypatch.chdir(tmp_path)
    write_results("mini")
    table = pd.read_csv(place("mini"))
    assert not table.duplicated(list(KEYS)).any()
    names = {paths.evaluation_name(row.experiment, row.test) for row in table.itertuples()}
    folder = paths.ROOT / "reports/mini/metrics"
    scored = {file.stem for file in folder.glob("*.json") if {"ap", "ar"} & read_json(file).keys()}
    scored = {name for name in scored if not name.endswith("_per_class")}
    assert scored <= names
    detectors = table[table.ap.notna()]
    assert len(detectors)
    for row in detectors.itertuples():
        found = read_json(paths.metrics("mini", paths.evaluation_name(row.experiment, row.test)))
        own = found.get("blocks", [found])[row.block - 1]
        assert (row.ap, row.ap50) == pytest.approx((own["ap"], own["ap50"]), abs=0)
        assert row.images == found["images"]
        size = found_json(paths.size("mini", row.experiment))
        assert pd.isna(row.macs) if size is None else row.macs == size["macs"]
