"""SNIP's valid ranges from the sizes of objects: COCO's own give the paper's, larger objects larger ones."""

import numpy as np
import pytest

from pipeline import config, paths
from pipeline.data.manifest import write_manifest
from pipeline.files import read_json, read_yaml, sha256, write_json
from pipeline.options import Experiment
from pipeline.own import snip_ranges
from pipeline.published import coco_curve

PAPER = [[0, 80], [40, 160], [120, None]]
TEST = [[0, 90], [32, 180], [75, None]]


def coco_sizes(count: int = 20_000) -> np.ndarray:
    """Return sizes as COCO's are spread, in px."""
    scales, shares = coco_curve.curve()
    return np.interp((np.arange(count) + 0.5) / count, shares, scales) * snip_ranges.COCO_SIDE


def fitted(sizes: np.ndarray) -> tuple[list, list, list]:
    content = read_yaml(paths.ROOT / paths.experiment_file(snip_ranges.EXPERIMENT))
    snip_ranges.fit(content, sizes)
    head, proposal = ([level[key] for level in content["pyramid"]] for key in snip_ranges.TRAINING)
    return head, proposal, content["tests"]["ms_test"]["valid_ranges"]


def test_sizes_of_coco_give_the_paper_s_ranges():
    assert fitted(coco_sizes()) == (PAPER, [[0, 80], [0, 160], [120, None]], TEST)


def test_objects_twice_as_large_have_ranges_twice_as_large():
    assert fitted(2 * coco_sizes())[0] == [[0, 160], [80, 320], [240, None]]


@pytest.mark.parametrize("sizes", [np.full(5, 50.0), np.array([50.0]), np.array([0.2, 0.3])])
def test_objects_of_one_size_still_have_ranges(sizes):
    for low, high in fitted(sizes)[0]:
        assert high is None or low < high


def test_shares_and_spread_of_coco_are_those_of_its_page():
    """By hand from reports/benchmarks/annotation_statistics.json: 90th over 10th percentile of train2017's boxes."""
    page = read_json(paths.ROOT / coco_curve.CURVE.with_suffix(".json"))
    assert snip_ranges.coco_spread() == pytest.approx(page["sizes"]["train2017, boxes"]["q90_over_q10"], rel=0.01)
    assert snip_ranges.coco_share(0) == 0
    assert snip_ranges.coco_share(10_000) == 1
    assert snip_ranges.spread(np.array([10.0] * 9 + [30.0] * 9)) == 3.0


def test_the_folder_s_experiment_is_written_anew(tmp_path, monkeypatch):
    path = tmp_path / paths.experiment_file(snip_ranges.EXPERIMENT)
    path.parent.mkdir(parents=True)
    path.write_text((paths.ROOT / paths.experiment_file(snip_ranges.EXPERIMENT)).read_text())
    curve = paths.ROOT / coco_curve.CURVE
    monkeypatch.setattr(coco_curve, "CURVE", curve)  # an absolute path wins over the root before it
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    sizes = 2 * coco_sizes(2000)
    boxes = [{"bbox": [0, 0, size / 2, size / 2], "iscrowd": 0} for size in sizes]  # pictures half as large as COCO's
    boxes.append({"bbox": [0, 0, 9000, 9000], "iscrowd": 1})
    split = tmp_path / paths.manifest("own").with_name("train.json")
    write_json(split, {"annotations": boxes})
    entry = {"file": split.name, "sha256": sha256(split)}
    manifest = {"preset": "own", "kind": "coco", "factor": 0.5, "categories": [], "splits": {"train": entry}}
    write_manifest(tmp_path / paths.manifest("own"), manifest)
    said = snip_ranges.fit_ranges("own")
    assert "up to 160 px at 1400 (paper: up to 80), 80 to 320 px at 800 (paper: 40 to 160)" in said
    loaded = config.load(path, Experiment)
    assert [level.head_range for level in loaded.pyramid] == [(0, 160), (80, 320), (240, None)]
    assert loaded.notes.row == snip_ranges.NOTES["row"]
