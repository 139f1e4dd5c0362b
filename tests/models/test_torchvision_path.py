"""The parts that replace torchvision's, to spare waits for a GPU, against torchvision's own, for equal samples.

On the pretended GPU (tests/pretend_gpu) they take the paths of a GPU.
"""

import itertools

import pytest
import torch
from batches import model, target
from torch import Tensor
from torchvision.models.detection import _utils, roi_heads, rpn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from pipeline.models.heads.anchors import BACKGROUND, IGNORED, match_anchors
from pipeline.models.heads.point_sets import match_positions
from pipeline.models.heads.roi_heads import RoIHeads
from pipeline.models.heads.roi_pool import MultiLevelRoIAlign
from pipeline.models.heads.rows import Rows, offset_rows, rows_where
from pipeline.models.heads.sampling import BoxCoder, Matcher

pytestmark = pytest.mark.gpu
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SIZES = [(90, 128), (96, 120), (64, 100)]
TARGETS = [target([8.0, 8, 60, 50], [30, 20, 70, 60]), target(), target([0.0, 0, 30, 20], [20, 4, 90, 60], label=2)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def boxes(count: int, side: float = 90.0, seed: int = 0) -> Tensor:
    """Return boxes of up to half a side, on the device."""
    corners = torch.rand(count, 2, generator=generator(seed)) * side / 2
    sides = 1 + torch.rand(count, 2, generator=generator(seed + 1)) * side / 2
    return torch.cat([corners, corners + sides], dim=1).to(DEVICE)


def on_device(targets: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    return [{name: value.to(DEVICE) for name, value in one.items()} for one in targets]


def theirs_like(ours: rpn.RegionProposalNetwork) -> rpn.RegionProposalNetwork:
    """Return torchvision's RPN with the same parts and limits."""
    sampler, matcher = ours.fg_bg_sampler, ours.proposal_matcher
    return rpn.RegionProposalNetwork(
        ours.anchor_generator, ours.head, matcher.high_threshold, matcher.low_threshold, sampler.batch_size_per_image,
        sampler.positive_fraction, ours._pre_nms_top_n, ours._post_nms_top_n, ours.nms_thresh,
    ).train(ours.training)  # fmt: skip


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("family", ["faster_rcnn", "c4"])
def test_the_rpn(family, training):
    detector = model(family).to(DEVICE).train(training)
    detector.rpn.box_loss = "smooth_l1"
    images = ImageList(torch.rand(3, 3, 96, 128, generator=generator()).to(DEVICE), SIZES)
    features = detector.backbone(images.tensors)
    found = []
    for part in (theirs_like(detector.rpn), detector.rpn):
        torch.manual_seed(3)
        found.append(part(images, features, on_device(TARGETS) if training else None))
    (wanted, losses), (proposals, own) = found
    for one, other in zip(proposals, wanted, strict=True):
        assert 0 < len(other) <= len(one)
        torch.testing.assert_close(one[: len(other)], other)
        assert bool((one[len(other) :] == -1).all())
    assert list(own) == list(losses)
    for name, loss in losses.items():
        torch.testing.assert_close(own[name], loss, rtol=1e-6, atol=1e-7)


def test_suppression_in_parts(monkeypatch):
    detector = model("faster_rcnn").to(DEVICE).train()
    images = ImageList(torch.rand(3, 3, 96, 128, generator=generator()).to(DEVICE), SIZES)
    features = detector.backbone(images.tensors)
    whole, _ = detector.rpn(images, features, on_device(TARGETS))
    monkeypatch.setattr("pipeline.models.heads.suppression.AT_ONCE", 1)
    parts, _ = detector.rpn(images, features, on_device(TARGETS))
    assert all(torch.equal(one, other) for one, other in zip(whole, parts, strict=True))


def test_sampled_rois():
    names = ("fg_iou_thresh", "bg_iou_thresh", "batch_size_per_image", "positive_fraction", "bbox_reg_weights")
    arguments = dict(zip(names, (0.5, 0.5, 16, 0.25, (20.0, 20.0, 10.0, 10.0)), strict=True))
    arguments |= {"score_thresh": 0.05, "nms_thresh": 0.5, "detections_per_img": 10}
    proposals, targets = [boxes(50, seed=seed) for seed in range(3)], on_device(TARGETS)
    torch.manual_seed(0)
    wanted = roi_heads.RoIHeads(None, None, None, **arguments).select_training_samples(list(proposals), targets)
    torch.manual_seed(0)
    found = RoIHeads(None, None, None, **arguments).sample(list(proposals), targets)
    for one, other in zip(itertools.chain(*found[:4]), itertools.chain(*wanted), strict=True):
        torch.testing.assert_close(one, other, equal_nan=True)
    for labels, positive in zip(found.labels, found.positive, strict=True):
        assert positive.tolist() == torch.where(labels > 0)[0].tolist()


def test_roi_losses():
    heads, labels = RoIHeads(None, None, None, 0.5, 0.5, 8, 0.25, None, 0.05, 0.5, 3), torch.tensor([0, 2, 0, 1, 3])
    heads.box_loss = "smooth_l1"
    logits, deltas = torch.randn(5, 4, generator=generator()), torch.randn(5, 12, generator=generator(1)) / 20
    wanted = torch.randn(5, 4, generator=generator(2)) / 20
    loss, _ = roi_heads.fastrcnn_loss(logits, torch.cat([deltas[:, :4], deltas], dim=1), [labels], [wanted])
    own = heads.losses(logits, deltas.unflatten(1, (3, 4)), labels, wanted, torch.ones(5), torch.tensor([1, 3, 4]))
    torch.testing.assert_close(own["loss_classifier"], loss, rtol=1e-6, atol=1e-7)
    box = 0.5 * (deltas.unflatten(1, (3, 4))[[1, 3, 4], [1, 0, 2]] - wanted[[1, 3, 4]]) ** 2
    torch.testing.assert_close(own["loss_box_reg"], box.sum() / 5, rtol=1e-6, atol=1e-7)


def test_matcher_and_box_coder():
    quality = box_iou(boxes(7), boxes(200, seed=5))
    quality[3] = 0.0  # an object without an anchor, for which all anchors tie
    for low in (True, False):
        found, wanted = (kind(0.7, 0.3, low)(quality) for kind in (Matcher, _utils.Matcher))
        assert torch.equal(found, wanted)
    first, second, weights = boxes(50), boxes(50, seed=5), (1 / 0.033, 1 / 0.033, 1 / 0.067, 1 / 0.067)
    ours, theirs = BoxCoder(weights), _utils.BoxCoder(weights)
    deltas = theirs.encode_single(first, second)
    assert torch.equal(ours.encode_single(first, second), deltas)
    many = torch.cat([deltas, deltas * 30], dim=1)
    assert torch.equal(ours.decode_single(many, second), theirs.decode_single(many, second))


def test_rows_of_masks():
    masks = [torch.rand(40, generator=generator(seed)).to(DEVICE) > 0.5 for seed in range(3)] + [boxes(5)[:, 0] < 0]
    wanted = [torch.where(mask)[0] for mask in masks]
    for found in (rows_where(masks), Rows(masks).found()):
        assert [rows.tolist() for rows in found] == [rows.tolist() for rows in wanted]
    joined = torch.where(torch.cat(masks))[0]
    assert offset_rows(wanted, [len(mask) for mask in masks]).tolist() == joined.tolist()
    assert rows_where([]) == []


@pytest.mark.parametrize("samples", [0, 2])
def test_roi_align_over_levels(samples):
    """Every RoI against torchvision's RoIAlign on its own level, alone."""
    pool = MultiLevelRoIAlign((4, 8, 16), 7, samples, canonical_scale=28)
    maps = [torch.randn(2, 5, 96 // s, 96 // s, generator=generator(s)).to(DEVICE) for s in pool.strides]
    features = {str(row): level.requires_grad_() for row, level in enumerate(maps)}
    rois = [boxes(30), boxes(20, seed=4)]
    found = pool(features, rois, [])
    levels = pool.levels(torch.cat(rois)).tolist()
    assert set(levels) == {0, 1, 2}
    for row, (image, box) in enumerate((image, box) for image, part in enumerate(rois) for box in part):
        level = levels[row]
        one = torch.cat([box.new_full((1,), image), box])[None]
        (alone,) = pool.pool(maps[level], one, pool.strides[level])
        torch.testing.assert_close(found[row], alone, rtol=1e-4, atol=1e-5)
    gradients = torch.autograd.grad(found.square().sum(), maps)
    assert all(bool((gradient != 0).any()) for gradient in gradients)


def nearest(shapes: list[tuple[int, int]], strides: list[int], objects: Tensor, base: float) -> Tensor:
    """Return what `match_positions` should, by a search over all positions."""
    grid = [(x * s, y * s, s) for s, (h, w) in zip(strides, shapes, strict=True) for y in range(h) for x in range(w)]
    places, stride = torch.tensor(grid).float().split((2, 1), dim=1)
    sizes, centres = objects[:, 2:] - objects[:, :2], (objects[:, :2] + objects[:, 2:]) / 2
    level = (sizes / base).log2().mean(dim=1).trunc().clamp(2, 4)
    away = ((places - centres[:, None]) / sizes[:, None]).norm(dim=2)
    away = away.masked_fill(level[:, None] != stride.log2().T, torch.inf)
    distance, place = away.min(dim=1)
    found = torch.full((len(grid),), -1)
    for row in distance.argsort(stable=True).tolist():
        if found[place[row]] < 0:
            found[place[row]] = row
    return found


@pytest.mark.parametrize("seed", range(5))
def test_nearest_positions(seed):
    shapes, strides = [(24, 32), (12, 16), (6, 8)], [4, 8, 16]
    objects = (boxes(40, side=120.0, seed=10 * seed) * 2).round() / 2  # many lie half way between two positions
    found = match_positions(shapes, strides, objects, 1.0).tolist()
    assert found == nearest(shapes, strides, objects.cpu(), 1.0).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_matching_the_valid_objects_alone(seed):
    anchors, objects = boxes(300, seed=seed), boxes(12, seed=seed + 50)
    valid = torch.rand(12, generator=generator(seed)).to(DEVICE) > 0.5
    found = match_anchors(anchors, objects, valid=valid, ignore_iou=0.3)
    numbers = torch.cat([torch.where(valid)[0], torch.tensor([IGNORED, BACKGROUND], device=DEVICE)])
    wanted = numbers[match_anchors(anchors, objects[valid])]
    avoided = (box_iou(objects[~valid], anchors) > 0.3).any(dim=0)
    assert torch.equal(found, wanted.masked_fill(avoided, IGNORED))
