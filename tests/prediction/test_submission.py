"""Archives for COCO's server: COCO's own category ids, one image after the other, the same bytes every time."""

import json
import zipfile
from pathlib import Path

import pytest
import tiny
import torch
from msgspec.structs import replace

from pipeline import paths
from pipeline.data.sources import synthesize, verify_preset
from pipeline.errors import InputError
from pipeline.files import read_json, write_json
from pipeline.models import build_detector
from pipeline.prediction.detector import predict
from pipeline.prediction.submission import submit
from pipeline.training.checkpoint import save_weights


@pytest.fixture
def trained(empty_folder: Path):
    """Return an experiment with random weights that detects everything, on categories with other ids than 1 to K."""
    spec = tiny.spec("dst_frcnn_r50_fpn_1x")
    spec = tiny.changed(spec, preset={"model": replace(spec.preset.model, score_threshold=0.0)})
    synthesize(spec.preset)
    for split in ("train", "val"):
        path = paths.raw("tiny") / f"annotations/instances_{split}.json"
        content = read_json(path)
        for entry in content["categories"]:
            entry["id"] += 50
        for entry in content["annotations"]:
            entry["category_id"] += 50
        write_json(path, content)
    verify_preset(spec.preset)
    torch.manual_seed(0)
    model = build_detector(spec, len(read_json(spec.manifest)["categories"]))
    save_weights(paths.weights("tiny", spec.name), model.state_dict())
    blind = read_json(paths.raw("tiny") / "annotations/instances_val.json") | {"annotations": []}
    write_json(empty_folder / "blind.json", blind)
    return spec


def results(path: Path) -> list[dict]:
    with zipfile.ZipFile(path) as archive:
        (name,) = archive.namelist()
        assert name == path.with_suffix(".json").name
        return json.loads(archive.read(name))


def test_the_archive_holds_what_predict_finds_with_the_sources_ids(trained):
    images = paths.raw("tiny") / "images/val"
    path = submit(trained, "single", Path("blind.json"), images, "test-dev2017")
    assert path.name == "detections_test-dev2017_dst_frcnn_r50_fpn_1x_results.zip"
    predict(trained, "single")
    found = read_json(paths.detections("tiny", trained.name))
    assert found
    assert results(path) == [entry | {"category_id": entry["category_id"] + 50} for entry in found]
    first = path.read_bytes()
    assert submit(trained, "single", Path("blind.json"), images, "test-dev2017").read_bytes() == first


def test_what_cannot_be_submitted_is_said(trained):
    images = paths.raw("tiny") / "images/val"
    with pytest.raises(InputError, match="has no test 'sngle'; did you mean 'single'"):
        submit(trained, "sngle", Path("blind.json"), images, "test-dev2017")
    regions = replace(tiny.spec("snip_drfcn_r50_7ep_snip"), preset=trained.preset)
    with pytest.raises(InputError, match="needs or makes proposals, and none exist for test-dev2017"):
        submit(regions, "ms_test", Path("blind.json"), images, "test-dev2017")
    other = read_json("blind.json")
    other["categories"].append({"id": 99, "name": "unicorn"})
    write_json("blind.json", other)
    with pytest.raises(InputError, match=r"blind\.json has the category 'unicorn', which was not trained"):
        submit(trained, "single", Path("blind.json"), images, "test-dev2017")
