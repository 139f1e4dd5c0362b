"""The benchmark of COCO's evaluation: all evaluators give the same numbers, and the page says what was measured."""

import pytest

from pipeline.benchmarks import evaluation
from pipeline.benchmarks.pages.evaluation import evaluation_page

SMALL = {"images": 20, "objects": 150, "detections": 900, "categories": 6}


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(evaluation, "SIZE", SMALL)
    monkeypatch.setattr(evaluation, "DRAWS", 3)


def test_invented_results_are_of_that_size_and_neither_all_right_nor_all_wrong():
    truth, results = evaluation.invented_results(**SMALL)
    assert [len(truth["images"]), len(truth["annotations"]), len(results)] == [20, 150, 900]
    assert len(truth["categories"]) == 6
    assert 0.1 < evaluation.evaluate(truth, results)[1] < 0.9
    assert evaluation.invented_results(**SMALL) == (truth, results)


@pytest.mark.parametrize("missing", [[], ["faster_coco_eval"]])
def test_a_run_times_what_is_installed(small, monkeypatch, tmp_path, missing):
    monkeypatch.setattr(evaluation, "installed", lambda name: name not in missing)
    words = ["--output", str(tmp_path), "--minutes", "0.001", "--rounds", "1"]
    result = evaluation.main(evaluation.parser().parse_args(words))
    names = ["ours", "ours_draws", *(name for name in evaluation.REFERENCES if name not in missing)]
    assert list(result["seconds"]) == names
    assert all(value < 1e-12 for value in result["largest_difference"].values())
    page = (tmp_path / "cpu_evaluation.md").read_text()
    assert ("not installed" in page) == bool(missing)


def test_draws_are_held_to_both_evaluations_without_them():
    ratio = {"median": 1.9, "low": 1.9, "high": 1.9}
    result = {
        "machine": {"cpu": "c", "instructions": "i", "threads": 1, "cores": 1, "torch": "t", "numpy": "n"},
        "settings": SMALL | {"draws": 200, "rounds": 3},
        "seconds": dict.fromkeys(("pycocotools", "faster_coco_eval", "ours", "ours_draws"), ratio),
        "ratios": dict.fromkeys(("pycocotools", "faster_coco_eval", "ours", "ours_draws"), ratio),
        "limit": 2.0,
        "largest_difference": {"pycocotools": 1e-16},
        "contributions_mb": 9.5,
    }
    assert evaluation_page(result).count("**met**") == 2
    result["ratios"] = result["ratios"] | {"faster_coco_eval": ratio | {"median": 2.1}}
    assert "2.10 times faster-coco-eval (**missed**), and 1.90 times ours (**met**)" in evaluation_page(result)
