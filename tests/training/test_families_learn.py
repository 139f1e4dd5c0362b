"""The families learn: from a few hundred ScaleWorld images, by the pipeline's own functions, to an AP."""

from __future__ import annotations

import pytest
import tiny
from msgspec.structs import replace

from pipeline import config, paths
from pipeline.data.sources import synthesize, verify_preset
from pipeline.evaluation.scoring import score
from pipeline.files import read_json
from pipeline.spec import Spec
from pipeline.training.classification.pretraining import pretrain
from pipeline.training.detection import train_detector
from pipeline.training.prediction import predict
from pipeline.training.proposing import propose

pytestmark = pytest.mark.slow

MINI = config.load_preset("mini")
DATA = replace(MINI.data, train_images=400, val_images=100)
TRAINING = replace(MINI.training, steps=300, pretrain_steps=500, pretrain_images=4000)
PRESET = replace(MINI, data=DATA, training=TRAINING)  # in a folder of its own, so that its name may stay
FAMILIES = {  # AP50 in per cent that each must pass, about half of what it reached when the test was written
    "msfm_frcnn_r50_fpn_1x": 9,
    "msfm_mask_rcnn_r50_fpn_1x": 10,
    "msfm_cascade_rcnn_r50_fpn_1x": 10,
    "psconv_cascade_mask_rcnn_r50_fpn_1x": 13,
    "msfm_grid_rcnn_r50_fpn_1x": 11,
    "msfm_dynamic_rcnn_r50_fpn_1x": 10,
    "msfm_retinanet_r50_fpn_1x": 4,
    "dst_fcos_r50_fpn_2x": 5,
    "msfm_reppoints_r50_fpn_1x": 2.5,
}
PROPOSING, REGIONS = "snip_rpn_r101_6ep_single_scale_800", "snip_drfcn_r50_7ep_single_scale"


def resolved(name: str) -> Spec:
    """Return an experiment under this module's preset, with 12 epochs' steps."""
    spec = replace(config.resolve(name, "mini"), preset=PRESET)
    return tiny.changed(spec, recipe={"epochs": 12.0, "iterations": None}, experiment={"length": 1.0})


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Enter a folder with images and pre-trained backbones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("learning"))
        synthesize(PRESET)
        verify_preset(PRESET)
        for init in ("resnet50", "resnet101"):
            pretrain(replace(config.resolve(init, "mini"), preset=PRESET))
        yield


def scores(spec: Spec) -> dict[str, float]:
    """Return the numbers of a trained experiment's test at one resolution."""
    predict(spec, "single")
    score(spec, "single")
    return read_json(paths.metrics(spec.preset.name, paths.evaluation_name(spec.name, "single")))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_reaches_a_sensible_ap_on_images_it_has_not_seen(project, name):
    spec = resolved(name)
    train_detector(spec)
    found = scores(spec)
    print(name, found["ap50"])
    assert 100 * found["ap50"] > FAMILIES[name]
    if spec.experiment.has_masks:
        assert found["mask_ap50"] > 0.5 * found["ap50"]


def test_proposals_recall_objects_and_their_classifier_finds_them(project):
    spec = resolved(PROPOSING)
    train_detector(spec)
    found = scores(spec)
    assert found["ar50"] > 0.4  # was 0.66
    propose(spec)
    spec = resolved(REGIONS)
    train_detector(spec)
    found = scores(spec)
    print(REGIONS, found["ap50"])
    assert 100 * found["ap50"] > 8
