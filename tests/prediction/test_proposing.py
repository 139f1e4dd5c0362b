"""From one network's proposals to another's detections: files, resolutions, augmentation, recall, the whole chain."""

import pytest
import tiny
import torch
from msgspec.structs import replace

from pipeline import paths
from pipeline.data.proposals import Proposals, join_resolutions, read_proposals, scaled_proposals, write_proposals
from pipeline.errors import InputError
from pipeline.evaluation.proposals import count_recall, recall_of, scaled_size_ranges
from pipeline.evaluation.scoring import score
from pipeline.files import read_json, write_json
from pipeline.models import build_detector
from pipeline.options import PyramidLevel, RegionClassifier
from pipeline.options import Test as TestOptions
from pipeline.prediction.detector import detect_levels, merge, predict
from pipeline.prediction.proposing import propose
from pipeline.spec import Spec
from pipeline.training.checkpoint import load_init, load_weights, save_weights
from pipeline.training.detection import train_detector
from pipeline.training.feeding import REGULAR, RegularBatches
from pipeline.training.inputs import give_proposals, read_inits
from pipeline.training.pyramid import PyramidBatches
from pipeline.training.pyramid_units import Unit, valid_flags
from pipeline.training.snip import wire_snip

RPN = "snip_rpn_r101_6ep_single_scale_800"
CPU = torch.device("cpu")


def rpn_spec(*sides: int, **training: int) -> Spec:
    """Return the proposal network, small, tested at these short sides."""
    found = tiny.spec(RPN, **training)
    longs = {1400: 2000, 800: 1200, 480: 800}
    test = TestOptions(short_sides=sides, long_sides=tuple(longs[side] for side in sides))
    return tiny.changed(found, experiment={"backbone": "resnet50", "init": "resnet50", "tests": {"single": test}})


def rcn_spec(name: str = "snip_drfcn_r50_7ep_single_scale", flip: float = 0.5, **training: int) -> Spec:
    """Return a SNIP experiment as a classifier of the proposals."""
    found = tiny.spec(name, **training)
    region = {"detector": "d_rfcn_rcn", "neck": "none", "region": RegionClassifier(nms=0.3), "proposals": RPN}
    return tiny.changed(found, experiment=region, recipe={"flip": flip})


def level(*rows: tuple[list[float], float]) -> dict[str, torch.Tensor]:
    """Return proposals of (box, score) rows."""
    return {
        "boxes": torch.tensor([row[0] for row in rows], dtype=torch.float32).reshape(-1, 4),
        "scores": torch.tensor([row[1] for row in rows], dtype=torch.float32),
        "labels": torch.ones(len(rows), dtype=torch.int64),
    }


A, B, C, D = [0.0, 0, 8, 8], [4.0, 4, 20, 12], [0.0, 0, 60, 40], [30.0, 10, 50, 40]


def proposals_of(boxes: list[list[float]], image_ids: tuple[int, ...] = (1,)) -> Proposals:
    """Return proposals of one resolution, the same boxes for every image."""
    count = len(boxes)
    scores = torch.linspace(1, 0.5, count).repeat(len(image_ids))
    offsets = torch.arange(0, count * len(image_ids) + 1, count)
    return Proposals(torch.tensor(boxes).repeat(len(image_ids), 1), scores, offsets, image_ids, (800,))


# Files


def test_a_file_gives_back_every_image_and_resolution(tmp_path):
    fine = [level((A, 0.9), (B, 0.2)), level(), level((D, 0.5))]
    coarse = [level((C, 0.7)), level((C, 0.4)), level()]
    assert [proposals_of([A, B]).of(1, side).tolist() for side in (1400, 800)] == [[A, B]] * 2  # one serves all
    path = tmp_path / "rpn" / "proposals_val.safetensors"
    write_proposals(path, [7, 3, 9], [fine, coarse], (1400, 480))
    found = read_proposals(path, [9, 7])
    assert found.short_sides == (1400, 480)
    assert found.of(7, 1400).tolist() == [A, B]
    assert found.of(7, 480).tolist() == [C]
    assert found.of(7, 800).tolist() == [A, C, B]  # a resolution that was not looked at takes all, best first
    assert found.of(3, 1400).tolist() == []
    assert found.of(9, 480).shape == (0, 4)
    assert found.of(9, 800).tolist() == [D]
    bytes_before = path.read_bytes()
    write_proposals(path, [7, 3, 9], [fine, coarse], (1400, 480))
    assert path.read_bytes() == bytes_before


def test_proposals_of_resolutions_join_best_first():
    joined = join_resolutions([level((A, 0.9), (B, 0.2)), level((C, 0.7), (D, 0.2))])
    assert joined["boxes"].tolist() == [A, C, B, D]  # equal scores keep their order
    assert joined["scores"].tolist() == pytest.approx([0.9, 0.7, 0.2, 0.2])
    assert join_resolutions([level(), level()])["boxes"].shape == (0, 4)


def test_bad_files_end_in_one_sentence(tmp_path):
    path = tmp_path / RPN / "proposals_val.safetensors"
    with pytest.raises(InputError, match=f"do not exist; run the propose stage of {RPN}"):
        read_proposals(path, [1])
    write_proposals(path, [1, 2], [[level(), level()]], (800,))
    with pytest.raises(InputError, match="lack image 5, one of 2: they are of other data; run the propose stage"):
        read_proposals(path, [1, 5, 6])
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=r"cannot be read .*; run the propose stage"):
        read_proposals(path, [1])


# Feeding


def test_proposals_are_resized_and_flipped_like_boxes():
    data = tiny.FakeSet([(40, 60)] * 2, [[B]] * 2)
    assert scaled_proposals(data, 0, 800, (80, 120)) == {}
    data.proposals = proposals_of([B, C], (1, 2))
    assert scaled_proposals(data, 0, 800, (80, 120))["proposals"].tolist() == [[8, 8, 40, 24], [0, 0, 120, 80]]
    straight = RegularBatches(rcn_spec(flip=0.0), data, 2, REGULAR)[0][1][0]
    assert straight["proposals"].tolist() == [[8, 8, 40, 24], [0, 0, 120, 80]]
    mirrored = RegularBatches(rcn_spec(flip=1.0), data, 2, REGULAR)[0][1][0]
    assert mirrored["proposals"].tolist() == [[80, 8, 112, 24], [0, 0, 120, 80]]
    assert torch.equal(mirrored["proposals"][:1], mirrored["boxes"])  # the first one is the object


def test_a_pyramid_takes_each_resolutions_proposals_and_chips_only_whole_ones():
    data = tiny.FakeSet([(480, 640)], [[[10, 10, 30, 30], [330, 10, 350, 30]]])
    boxes = torch.tensor([[10.0, 10, 30, 30], [330, 10, 350, 30], [400, 10, 420, 30], [0, 0, 640, 480]])
    data.proposals = Proposals(boxes, torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([0, 3, 4]), (1,), (1400, 480))
    spec = rcn_spec("snip_drfcn_r50_7ep_snip", flip=0.0, batch=1)
    source = PyramidBatches(spec, data, 0)
    fine, middle, coarse = spec.experiment.pyramid
    whole = source.sample(Unit(0, None), coarse, True, flipped=False)[1]
    assert whole["proposals"].tolist() == [[0, 0, 64, 48]]
    assert len(source.sample(Unit(0, None), middle, True, flipped=False)[1]["proposals"]) == 4
    image, target = source.sample(Unit(0, (0, 0, 100, 100)), fine, True, flipped=False)
    assert image.shape == (3, 100, 100)
    assert len(target["boxes"]) == 2
    scale = torch.tensor([187 / 640, 140 / 480]).repeat(2)
    torch.testing.assert_close(target["proposals"], boxes[:1] * scale)  # the second is cut, the third not in it
    image, target = source.sample(Unit(0, (87, 0, 187, 100)), fine, True, flipped=False)
    torch.testing.assert_close(target["proposals"], boxes[1:3] * scale - torch.tensor([87.0, 0, 87, 0]))


@pytest.mark.parametrize(
    ("detector", "head", "proposal"),
    [
        ("faster_rcnn", [False, True], [True, True]),
        ("d_rfcn_rcn", [False, True], [False, True]),
        ("d_rfcn_rpn", [True, True], [True, True]),
    ],
)
def test_a_part_trained_alone_has_one_range(detector, head, proposal):
    found = tiny.spec("snip_drfcn_r50_7ep_snip")
    resolution = PyramidLevel(800, 1200, head_range=(40.0, 160.0), proposal_range=(0.0, 160.0))
    alone = {"detector": detector, "pyramid": (resolution,)}
    data = tiny.FakeSet([(480, 640)], [[[0, 0, 20, 20], [0, 0, 100, 100]]])
    spec = tiny.changed(found, experiment=alone, preset={"original_factor": 1.0})
    valid = valid_flags(spec, data, 0, resolution, True)
    assert [flags.tolist() for flags in valid] == [head, proposal]


def test_valid_ranges_reach_the_part_that_is_there():
    class Part(torch.nn.Module):
        label_anchors = filter_rois = None

    proposing, classifying = Part(), Part()
    proposing.rpn, classifying.roi_heads = Part(), Part()
    for model in (proposing, classifying):
        wire_snip(model, 0.3)
    assert proposing.rpn.label_anchors is not None
    assert classifying.roi_heads.filter_rois is not None


# Detecting


class Reads(torch.nn.Module):
    """Gives back the proposals that it is fed as detections of falling score."""

    def forward(self, images, proposals=None):
        if proposals is None:
            proposals = [torch.tensor([[0.0, 0, i.shape[2], i.shape[1]], [0, 0, 8, 8]]) for i in images]
        return [
            {"boxes": p, "scores": torch.linspace(0.9, 0.1, len(p)), "labels": torch.ones(len(p), dtype=torch.int64)}
            for p in proposals
        ]


def test_a_classifier_is_fed_each_images_proposals_in_network_pixels():
    data = tiny.FakeSet([(40, 60), (60, 40), (40, 60)], [[]] * 3)
    boxes = torch.tensor([A, B, [0.0, 0, 40, 60], D, C])
    data.proposals = Proposals(boxes, torch.linspace(1, 0.6, 5), torch.tensor([0, 2, 3, 5]), (1, 2, 3), (800,))
    options = TestOptions(short_sides=(800, 480), long_sides=(1200, 800))
    by_level = detect_levels(Reads(), data, rcn_spec(), options, CPU)
    for found in by_level:  # back in file pixels they are what they were, at every resolution
        torch.testing.assert_close(torch.cat([image["boxes"] for image in found]), boxes)


def test_proposals_of_valid_size_are_kept_and_the_best_of_them():
    data = tiny.FakeSet([(48, 64)], [[]])
    spec = rpn_spec(800)
    options = TestOptions(short_sides=(800,), long_sides=(1200,), valid_ranges=((0, 100),))  # 10 pixels here
    assert len(detect_levels(Reads(), data, spec, TestOptions(), CPU)[0][0]["scores"]) == 2
    (found,) = detect_levels(Reads(), data, spec, options, CPU)[0]
    assert found["scores"].tolist() == pytest.approx([0.1])
    few = tiny.changed(spec, experiment={"rpn": replace(spec.experiment.rpn, top=1)})
    (found,) = detect_levels(Reads(), data, few, TestOptions(), CPU)[0]
    assert found["scores"].tolist() == pytest.approx([0.9])


def test_resolutions_are_merged_at_the_classifiers_own_overlap():
    options = TestOptions(short_sides=(800, 480), long_sides=(1200, 800))
    levels = [level(([0, 0, 10, 10], 0.9)), level(([0, 0, 10, 4], 0.8))]  # IoU 0.4
    assert len(merge(levels, options, tiny.PRESET)["scores"]) == 2
    assert merge(levels, options, tiny.PRESET, 0.3)["scores"].tolist() == pytest.approx([0.9])


def test_a_classifier_without_proposals_is_refused():
    spec = tiny.changed(rcn_spec(), experiment={"proposals": None})
    with pytest.raises(InputError, match="classifies regions and names none; write `proposals: EXPERIMENT`"):
        give_proposals(tiny.FakeSet([], []), spec, "train")
    assert give_proposals(tiny.FakeSet([], []), tiny.spec("dst_frcnn_r50_fpn_1x"), "train") == []


def test_only_a_proposal_network_proposes():
    with pytest.raises(InputError, match="is a faster_rcnn; proposals come from a d_rfcn_rpn"):
        propose(tiny.spec("dst_frcnn_r50_fpn_1x"))
    renamed = tiny.changed(rpn_spec(800), experiment={"tests": {"other": TestOptions()}})
    with pytest.raises(InputError, match=r"test 'single' says and has only \['other'\]; add it"):
        propose(renamed)


# Recall


def test_recall_of_proposals_by_hand(tiny_project):
    spec = rpn_spec(800)
    split = read_json(paths.manifest("tiny").parent / "val.json")
    objects = [a for a in split["annotations"] if not a["iscrowd"]]
    found = [
        {"image_id": a["image_id"], "category_id": 1, "bbox": a["bbox"], "score": 0.1 + 0.001 * n}
        for n, a in enumerate(objects)
    ]
    write_json(paths.detections("tiny", RPN), found[1:])  # all objects but one
    score(spec, "single")
    metrics = read_json(paths.metrics("tiny", RPN))
    assert metrics["ar"] == metrics["ar50"] == metrics["ar75"] == pytest.approx(1 - 1 / len(objects), abs=1e-6)
    assert (metrics["experiment"], metrics["test"], metrics["images"]) == (RPN, "single", 4)
    assert metrics["detections"] == len(objects) - 1
    sides = [(a["bbox"][2] * a["bbox"][3]) ** 0.5 for a in objects]
    for name, (low, high) in scaled_size_ranges(0.1).items():  # 25, 50 and 100 pixels of COCO are a tenth here
        hits = [low <= side < (high or 1e9) for side in sides]
        expected = pytest.approx((sum(hits) - hits[0]) / sum(hits), abs=1e-6) if any(hits) else None
        assert metrics[f"recall50_{name}"] == expected
    assert "ap" not in metrics
    replicates = read_json(paths.bootstrap("tiny", RPN))
    assert (replicates["draws"], len(replicates["ar"]), len(replicates["recall50_0_25"])) == (5, 5, 5)


@pytest.mark.slow
@pytest.mark.parametrize("sides", [(800,), (1400, 800, 480)])
@pytest.mark.parametrize("classifier", ["single_scale", "snip"])
def test_the_chain_from_proposals_to_detections(tiny_project, sides, classifier):
    proposing = rpn_spec(*sides, steps=40)
    train_detector(proposing)
    propose(proposing)
    sizes = {"train": 10, "val": 4}
    made = {}
    for split, count in sizes.items():
        entries = read_json(paths.manifest("tiny").parent / f"{split}.json")["images"]
        made[split] = read_proposals(paths.proposals("tiny", RPN, split), [entry["id"] for entry in entries])
        assert len(made[split].rows) == count
        assert made[split].short_sides == sides
        assert len(made[split].scores) > 0
        width, height = made[split].boxes[:, 2].max(), made[split].boxes[:, 3].max()
        assert (float(width), float(height)) <= (64.001, 48.001)
    again = [paths.proposals("tiny", RPN, split).read_bytes() for split in sizes]
    propose(proposing)
    assert [paths.proposals("tiny", RPN, split).read_bytes() for split in sizes] == again

    predict(proposing, "single")
    score(proposing, "single")
    metrics = read_json(paths.metrics("tiny", RPN))
    split = read_json(paths.manifest("tiny").parent / "val.json")
    objects = {image["id"]: [] for image in split["images"]}
    for a in split["annotations"]:
        x, y, w, h = a["bbox"]
        objects[a["image_id"]] += [] if a["iscrowd"] else [[x, y, x + w, y + h]]
    # The file of proposals and the evaluated detections are the same boxes.
    boxes = [made["val"].of(number, 0) for number in objects]
    expected = recall_of(count_recall(list(objects.values()), boxes, (900,), scaled_size_ranges(0.1)), 900)
    assert metrics["ar50"] == pytest.approx(expected["ar50"], abs=0.02)  # thousandths of a pixel in the JSON
    assert metrics["detections"] == len(made["val"].scores)

    name = f"snip_drfcn_r50_7ep_{classifier}"
    classifying = rcn_spec(name, steps=40)
    train_detector(classifying)
    summary = read_json(paths.training_summary("tiny", name))
    assert (summary["valid_objects"] is None) == (classifier == "single_scale")
    assert classifier == "snip" or summary["loss_last"] < summary["loss_first"]  # ranges change what the loss is of
    test = "single" if classifier == "single_scale" else "ms_test"
    predict(classifying, test)
    score(classifying, test)
    evaluation = paths.evaluation_name(name, test)
    assert read_json(paths.metrics("tiny", evaluation))["ap"] is not None
    assert read_json(paths.detections("tiny", evaluation))


# A joint network's inits


def test_both_bodies_of_a_joint_network_start_from_their_inits(tiny_project):
    found = rcn_spec()
    region = RegionClassifier(nms=0.3, second_backbone="resnet50", second_init="other")
    spec = tiny.changed(found, experiment={"region": region})
    first, _ = load_weights(paths.init("tiny", "resnet50"))
    other = {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in first.items()}
    save_weights(paths.init("tiny", "other"), other | {"fc.weight": torch.zeros(2)})
    files, tensors, _ = read_inits(spec)
    assert files == [paths.init("tiny", "resnet50"), paths.init("tiny", "other")]
    model = build_detector(spec, 3)
    matched, unmatched = load_init(model, tensors)
    assert matched > len(first)
    assert not [name for name in unmatched if name.startswith("backbone.") and "offset_predictor" not in name]
    state = model.state_dict()
    for name in ("conv1.weight", "layer3.0.conv2.weight"):
        assert torch.equal(state[f"backbone.body.{name}"], first[f"backbone.body.{name}"])
        assert torch.equal(state[f"backbone.second.{name}"], other[f"backbone.body.{name}"])
