"""Model cards: what a trained network is, its numbers with intervals, and lines of code that load it."""

import re

import pytest
import tiny
import torch

from pipeline import config, paths
from pipeline.files import read_json, write_json, write_text
from pipeline.reporting.cards import interval, loading, what_it_is, write_cards
from pipeline.verdicts.results import Results

DST, BASE = "dst_frcnn_r50_fpn_1x_dst", "dst_frcnn_r50_fpn_1x"


def test_a_card_of_every_trained_network_and_of_no_other(fake):
    fake.dst()
    folder = paths.cards("mini")
    write_text(folder / "old.md", "of a network that is no longer trained")
    write_cards("mini")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", f"{BASE}.md", f"{DST}.md"]
    listed = (folder / "README.md").read_text()
    assert f"| [{DST}]({DST}.md) | dst_t2 / Ours | 23.0 |" in listed
    assert "| combo_frcnn_r50_fpn_1x_psconv_dst |" in listed
    assert "| not run |" in listed


def test_a_card_holds_metrics_with_intervals_cost_weights_and_licence(fake):
    fake.dst()
    fake.evaluation(DST, 0.23, (-0.02, 0.02))
    fake.size(DST, 1_596_272, 1_086_280_000)
    write_cards("mini")
    text = (paths.cards("mini") / f"{DST}.md").read_text()
    # percentiles 2.5 and 97.5 between two draws of 21 and 25
    assert "| `single` | 300 | 23.0 [21.1, 24.9] | 50.0 [48.1, 51.9] |" in text
    assert "1.596 million parameters, 1.086 thousand million multiply-adds for one image of 240 x 400 px" in text
    assert f"`{paths.weights('mini', DST)}`, a safetensors file whose MD5 stands in the `dvc.lock` of its stage" in text
    assert "Apache 2.0" in text
    assert "knows their classes and styles, and no photographs" in text
    spec = config.resolve(DST, "mini")
    assert "- One training; another seed" in text
    summary = read_json(paths.training_summary("mini", DST))
    write_json(paths.training_summary("mini", DST), summary | {"blocks": [summary] * 8})
    write_cards("mini")
    text = (paths.cards("mini") / f"{DST}.md").read_text()
    assert "means over 8 trainings, what is exported or loaded is the first of them;" in text
    assert f"300 steps of {spec.batch} images with adamw at a rate of {spec.lr:g}" in text


def test_what_a_network_is_and_its_interval():
    both = "PSConv in its 3x3 convolutions and dynamic scale training (DST)"
    assert both in what_it_is("combo_frcnn_r50_fpn_1x_psconv_dst")
    assert "without any scale method: a baseline." in what_it_is(BASE)
    assert "From DST (2020): dst_t2 / Ours." in what_it_is(DST)
    assert "joins methods of several" in what_it_is("combo_frcnn_r50_fpn_1x_msfm_dst")
    # an interval needs two draws
    assert interval([0.2]) == ""
    assert interval([None, 0.2, 0.2]) == "[20.0, 20.0]"


@pytest.mark.parametrize("name", ["psconv_frcnn_r50_fpn_1x_psconv", "snip_drfcn_r50_7ep_snip"])
def test_the_lines_that_load_a_network_work(tiny_project, monkeypatch, name):
    """Run the card's own code on a tiny network of random weights, saved as a training saves them."""
    from pipeline.data.manifest import load_split
    from pipeline.models import build_detector
    from pipeline.training.checkpoint import save_weights

    spec = tiny.spec(name)
    monkeypatch.setattr("pipeline.config.resolve", lambda *_: spec)
    torch.manual_seed(0)
    classes = len(load_split(paths.manifest("tiny"), "val")["categories"])
    save_weights(paths.weights("tiny", name), build_detector(spec, classes).state_dict())
    results = Results.__new__(Results)
    results.name, results.preset = "tiny", spec.preset
    code = re.search(r"```python\n(.*)```", loading(results, name), re.S)[1]
    found: dict = {}
    exec(compile(code, name, "exec"), found)
    assert set(found["found"]) >= {"boxes", "labels", "scores"}
    assert found["found"]["boxes"].shape[1] == 4
