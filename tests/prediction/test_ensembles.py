"""Ensembles from weights and proposals on disk to detections: three networks' looks at the same regions, averaged."""

import pytest
import tiny
import torch
from msgspec.structs import replace

from pipeline import paths
from pipeline.data.proposals import write_proposals
from pipeline.errors import InputError
from pipeline.files import read_json
from pipeline.models import build_detector
from pipeline.options import RegionClassifier
from pipeline.options import Test as TestOptions
from pipeline.prediction import detector as prediction
from pipeline.spec import Spec
from pipeline.training.checkpoint import save_weights

HOST, SECOND, THIRD = (f"snip_drfcn_r50_7ep_{name}" for name in ("single_scale", "ms_train", "snip"))
RPN, OTHER_RPN = "snip_rpn_r101_6ep_single_scale_800", "snip_rpn_r101_6ep_snip_conv45_7anchor"
CPU = torch.device("cpu")
REGIONS = torch.tensor([[2.0, 3, 30, 25], [10, 10, 50, 40], [0, 0, 63, 47]])


def spec(name: str, members: tuple[str, ...] = (), flip: bool = False, proposals: str | None = None) -> Spec:
    """Return a tiny classifier of regions whose test `ensemble` has these members."""
    found = tiny.spec(name)
    test = TestOptions(short_sides=(800, 480), long_sides=(1200, 800), merge="soft_nms")
    test = replace(test, members=members, flip=flip, proposals=proposals)
    region = {"detector": "d_rfcn_rcn", "neck": "none", "region": RegionClassifier(nms=0.3), "proposals": RPN}
    return tiny.changed(found, experiment=region | {"tests": {"ensemble": test}})


def validation() -> dict:
    return read_json(paths.manifest("tiny").parent / "val.json")


@pytest.fixture
def networks(tiny_project, monkeypatch) -> dict[str, torch.nn.Module]:
    """Save three untrained networks and proposals; return the networks."""
    monkeypatch.setattr(prediction, "resolve", lambda name, preset: spec(name))
    split = validation()
    numbers = [entry["id"] for entry in split["images"]]
    for name, boxes in ((RPN, REGIONS), (OTHER_RPN, REGIONS[:1])):
        level = [{"boxes": boxes, "scores": torch.linspace(1, 0.5, len(boxes))} for _ in numbers]
        write_proposals(paths.proposals("tiny", name, "val"), numbers, [level], (800,))
    found = {}
    for seed, name in enumerate((HOST, SECOND, THIRD)):
        torch.manual_seed(seed)
        model = build_detector(spec(name), len(split["categories"]))
        with torch.no_grad():  # untrained networks are unsure of everything: sharpen their scores
            for parameter in model.roi_heads.parameters():
                parameter.mul_(8)
        save_weights(paths.weights("tiny", name), model.state_dict())
        found[name] = model.eval()
    return found


def detections(found: Spec) -> list[dict]:
    prediction.predict(found, "ensemble")
    return read_json(paths.detections("tiny", f"{found.name}__ensemble"))


def test_copies_of_one_network_are_that_network(networks) -> None:
    for name in (SECOND, THIRD):
        save_weights(paths.weights("tiny", name), networks[HOST].state_dict())
    alone = detections(spec(HOST, (HOST,)))
    together = detections(spec(HOST, (SECOND, THIRD)))
    assert alone
    assert len(alone) == len(together)
    for one, other in zip(alone, together, strict=True):
        assert (one["image_id"], one["category_id"]) == (other["image_id"], other["category_id"])
        assert other["score"] == pytest.approx(one["score"], abs=2e-6)
        assert other["bbox"] == pytest.approx(one["bbox"], abs=2e-3)


def test_every_networks_look_counts_a_third(networks) -> None:
    host, classes = spec(HOST, (SECOND, THIRD)), len(validation()["categories"])
    detect = prediction.load_detect(host, host.experiment.tests["ensemble"], classes, CPU)
    torch.manual_seed(5)
    images = [torch.rand(3, 48, 64)]
    with torch.inference_mode():
        looks = [model.region_scores(images, [REGIONS])[0] for model in networks.values()]
        (found,) = detect(images, proposals=[REGIONS])
    scores = sum(look[0] for look in looks) / 3
    boxes = sum(look[1] for look in looks) / 3
    assert (looks[0][0] - looks[1][0]).abs().max() > 1e-3  # the networks disagree
    assert len(found["scores"]) > 0
    for box, score, label in zip(found["boxes"], found["scores"], found["labels"], strict=True):
        row = int((boxes - box).abs().sum(dim=1).argmin())
        torch.testing.assert_close(box, boxes[row], atol=1e-3, rtol=0)
        torch.testing.assert_close(score, scores[row, label])


def test_each_member_changes_the_detections_and_all_read_the_tests_proposals(networks) -> None:
    three, two = detections(spec(HOST, (SECOND, THIRD))), detections(spec(HOST, (SECOND,)))
    assert three != two
    mirrored = detections(spec(HOST, (SECOND, THIRD), flip=True))
    assert mirrored != three
    other = detections(spec(HOST, (SECOND, THIRD), proposals=OTHER_RPN))
    places = [{tuple(d["bbox"]) for d in found if d["image_id"] == three[0]["image_id"]} for found in (three, other)]
    assert len(places[0]) > 2 >= len(places[1]) > 0  # one region at two resolutions, where there were three
    assert three == detections(spec(HOST, (SECOND, THIRD)))


def test_a_member_without_weights_is_named(networks) -> None:
    paths.weights("tiny", THIRD).unlink()
    with pytest.raises(InputError, match=f"{THIRD}/weights.safetensors"):
        detections(spec(HOST, (SECOND, THIRD)))


def test_detectors_that_propose_for_themselves_are_refused(networks) -> None:
    own = {"detector": "faster_rcnn", "neck": "fpn", "region": None, "proposals": None}
    own = tiny.changed(spec(HOST, (SECOND,)), experiment=own)
    torch.manual_seed(0)
    save_weights(paths.weights("tiny", HOST), build_detector(own, 6).state_dict())
    with pytest.raises(InputError, match="Only d_rfcn_rcn experiments look at the same regions"):
        prediction.load_detect(own, own.experiment.tests["ensemble"], 6, CPU)
