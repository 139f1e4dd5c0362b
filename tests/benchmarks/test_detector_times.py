"""The benchmark of whole detectors: groups, drawn sides, what is kept of an earlier run, refusals, the page."""

import pytest
import torch

from pipeline.benchmarks import detector_times
from pipeline.benchmarks.networks import predict_scales
from pipeline.config import resolve
from pipeline.errors import InputError
from pipeline.files import read_json, write_json
from pipeline.layers import GlobalScaleConv2d
from pipeline.models.measure import printed_scales
from pipeline.verdicts.times import Timed

BASE = "dst_frcnn_r50_fpn_1x"
MS = "dst_frcnn_r50_fpn_1x_ms_train_400_800"
C4 = "pod_frcnn_r50_c4_1x"


def options(tmp_path, *more: str):
    words = ["--preset", "mini", "--rounds", "1", "--minutes", "1e-9", "--output", str(tmp_path), *more]
    return detector_times.parser().parse_args(words)


@pytest.fixture
def seconds(monkeypatch):
    """Times by the calls' order in the place of measured ones: the first takes 1 and 2 s, the second twice that."""

    def fixed(calls, *args, **kwargs):
        for call in calls.values():
            call()
        return {name: [1.0 * place, 2.0 * place] for place, name in enumerate(calls, start=1)}

    monkeypatch.setattr(detector_times, "interleave", fixed)


def test_a_drawn_side_is_timed_once_and_a_training_takes_the_mean_of_its_sides(tmp_path, monkeypatch, seconds):
    monkeypatch.setattr(detector_times, "wanted", lambda: [Timed("training", MS, BASE)])
    (row,) = detector_times.main(options(tmp_path))["rows"]
    # Calls: the baseline's 800, then 400, 500, 600, 700; 800 is the first again: (2 + 3 + 4 + 5 + 1) / 5 = 3.
    assert row["sides"] == [400, 500, 600, 700, 800]
    assert row["ratio"] == {"median": 3.0, "low": 3.0, "high": 3.0}
    assert row["baseline_ms"]["median"] == 1500.0
    assert row["ms"]["median"] == 4500.0
    assert (row["kind"], row["baseline"], row["rounds"]) == ("training", BASE, 2)


def test_a_part_is_repeated_and_the_rest_kept(tmp_path, monkeypatch, seconds):
    plan = [Timed("inference", f"{C4}_fd", C4), Timed("training", MS, BASE)]
    monkeypatch.setattr(detector_times, "wanted", lambda: plan)
    detector_times.main(options(tmp_path))
    path = tmp_path / "cpu_detectors.json"
    kept = read_json(path)
    detector_times.main(options(tmp_path, "--kinds", "inference"))
    again = read_json(path)
    assert [row["kind"] for row in again["rows"]] == ["training", "inference"]
    assert sorted(map(str, again["rows"])) == sorted(map(str, kept["rows"]))
    page = path.with_suffix(".md").read_text()
    assert page.index("## Inference, fp32") < page.index("## Training, bf16")


def test_rows_of_another_machine_or_preset_are_not_kept(tmp_path):
    path = tmp_path / "x.json"
    here = {"machine": {"cpu": "A", "threads": 1, "load_before": 0.1}, "preset": "full"}
    assert detector_times.earlier(path, here) == []
    write_json(path, here | {"rows": [{"kind": "training"}]})
    busier = {"cpu": "A", "threads": 1, "load_before": 2.0}
    assert detector_times.earlier(path, here | {"machine": busier}) == [{"kind": "training"}]
    assert detector_times.earlier(path, here | {"machine": busier | {"threads": 2}}) == []
    assert detector_times.earlier(path, here | {"preset": "mini"}) == []


def test_nothing_to_time_is_refused(tmp_path):
    with pytest.raises(InputError, match="leave no detector to time; kinds are inference, training, baselines pod_"):
        detector_times.main(options(tmp_path, "--baselines", "nobody"))


def test_learners_predict_the_printed_scales_in_every_block_heads_included():
    spec = resolve(f"{C4}_gsl", "mini")
    model = detector_times.Detector(spec, "cpu").model
    learners = {name: part for name, part in model.named_modules() if isinstance(part, GlobalScaleConv2d)}
    printed = printed_scales(resolve(f"{C4}_fd", "mini"))
    assert len(learners) == len(printed)
    assert any("layer4" in name and not name.startswith("backbone") for name in learners)  # C4's stage in the head
    for block, scale in printed.items():
        (part,) = (part for name, part in learners.items() if name.endswith(f"{block}.conv2"))
        assert torch.allclose(part.scale_predictor.bias + 1, torch.tensor(scale))
        assert not part.scale_predictor.weight.any()


def test_a_block_without_a_learner_is_an_error():
    model = detector_times.Detector(resolve(C4, "mini"), "cpu").model
    with pytest.raises(ValueError, match=r"Block layer2.0 has 0 scale learners"):
        predict_scales(model, {"layer2.0": (1.5, 1.5)})


def test_other_sides_keep_the_recipes_shape():
    spec = detector_times.at_side(resolve(BASE, "full"), 1200)
    assert (spec.recipe.short_side, spec.recipe.long_side) == (1200, 2000)
