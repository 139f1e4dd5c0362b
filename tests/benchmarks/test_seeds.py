"""The run-to-run benchmark: spreads by hand, its page, and its complaints."""

from pathlib import Path

import msgspec
import pytest

from pipeline import config
from pipeline.benchmarks import seeds
from pipeline.benchmarks.pages.seeds import page
from pipeline.benchmarks.seed_groups import PRECISIONS
from pipeline.preset import Data, Source
from pipeline.verdicts.results import Results

PSCONV = "psconv_frcnn_r50_fpn_1x_psconv"


def runs(*ap50: float) -> list[dict]:
    return [{"ap": v / 2, "ap50": v, "ap75": None, "ap_small": 0.1, "ap_medium": 0.2, "ap_large": 0.3} for v in ap50]


def test_spread_is_the_sample_standard_deviation():
    found = seeds.spread("msfm_frcnn_r50_fpn_1x", PRECISIONS, runs(0.40, 0.50, 0.60))
    assert found["dof"] == 2
    assert found["sd"]["ap50"] == pytest.approx(0.1)
    assert found["sd"]["ap"] == pytest.approx(0.05)
    assert found["sd"]["ap_small"] == 0
    assert found["values"]["ap50"] == [0.40, 0.50, 0.60]
    assert found["sd"]["ap75"] is None  # a metric that never existed


def test_page_shows_median_runs_and_spread():
    groups = {"fpn": seeds.spread("msfm_frcnn_r50_fpn_1x", PRECISIONS, runs(0.40, 0.47, 0.60))}
    results = Results("mini")
    results.__dict__ |= {"noise": groups, "seed_methods": {}}
    text = page(results)
    assert "Median AP50 of 3 seeds: **47.0** %." in text
    assert "| seed 2 | 23.5 | 47.0 | n/a | 10.0 | 20.0 | 30.0 |" in text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--seeds 1", "needs at least 2 runs"),
        ("--groups fnp", "--groups names 'fnp'"),
        ("--preset full --groups l1,pretraining", "preset full has init_source: torchvision"),
        (f"--groups l1 --methods {PSCONV}", "whose recipe is psconv, but msfm_frcnn_r50_fpn_1x"),
        (f"--groups l1,fpn --methods {PSCONV}", "--methods needs one group"),
        ("--groups pretraining --methods msfm_retinanet_r50_fpn_1x_msfm", "whose detector is retinanet"),
        ("--groups pretraining --methods psconv_frcnn_r50_fpn_1x_psconf", PSCONV),
    ],
)
def test_complaints_are_one_sentence_and_exit_code_2(words, sentence, capsys):
    with pytest.raises(SystemExit) as ended:
        seeds.run(seeds.main, "", arguments=["--preset", "mini", *words.split()], extend=seeds.options)
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert sentence in printed
    assert printed.count("\n") == 1


def test_relative_paths_of_own_images_lead_to_them_from_a_run(tmp_path, monkeypatch):
    images, beside = tmp_path / "project/photos/train", tmp_path / "beside"
    for folder in (images, beside):
        folder.mkdir(parents=True)
        (folder / "a.jpg").touch()
    monkeypatch.chdir(tmp_path / "project")
    data = Data(kind="coco", train=Source(images="photos/train"), val=Source(images="../beside"))
    preset = msgspec.structs.replace(config.load_preset("mini"), data=data)
    for run in ("fpn_1", "fpn_2", "fpn_2"):
        folder = Path("data/scratch/seeds/own") / run
        folder.mkdir(parents=True, exist_ok=True)
        seeds.link_images(folder, preset)
        assert (folder / "photos/train/a.jpg").is_file()
        assert (folder / "../beside/a.jpg").is_file()
    absolute = msgspec.structs.replace(preset, data=Data(kind="coco", train=Source(images=str(images)), val=Source()))
    seeds.link_images(Path("nowhere"), absolute)
    assert not Path("nowhere").exists()
