"""Mirrored images and ensembles: boxes come back to where they were, and regions are averaged one by one."""

import pytest
import torch
from batches import model, roi_options
from torch import Tensor, nn
from torchvision.ops import batched_nms

from pipeline.models.heads.focal import FocalHead
from pipeline.models.heads.roi_heads import RoIHeads
from pipeline.models.test_time import average_regions, keep_candidates, mirror, with_flip

BOX = torch.tensor([[2.0, 1.0, 6.0, 5.0]])


def bright_box(images: list[Tensor]) -> list[dict[str, Tensor]]:
    """Detect the bright pixels of each image, with a mask that is set on its left half."""
    found = []
    for image in images:
        rows, columns = torch.where(image[0] > 0.5)
        box = torch.tensor([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]).float()
        mask = torch.zeros(1, 1, 28, 28)
        mask[..., :14] = 1
        found.append({"boxes": box, "scores": torch.tensor([0.9]), "labels": torch.tensor([1]), "mask_probs": mask})
    return found


def test_a_flip_finds_the_same_box_and_mirrors_the_mask():
    image = torch.zeros(3, 8, 20)
    image[:, 1:5, 2:6] = 1
    (found,) = with_flip(bright_box)([image])
    assert found["boxes"].tolist() == [BOX[0].tolist()] * 2
    assert found["mask_probs"][0, 0, 0, :14].min() == 1
    assert found["mask_probs"][1, 0, 0, 14:].min() == 1
    assert found["mask_probs"][1, 0, 0, :14].max() == 0
    assert mirror(BOX, 20).tolist() == [[14.0, 1.0, 18.0, 5.0]]


class Regions(nn.Module):
    """Stands for a classifier of regions: fixed scores, and proposals moved to the right by some pixels."""

    def __init__(self, scores: list[list[float]], shift: float) -> None:
        super().__init__()
        self.scores, self.shift = torch.tensor(scores), torch.tensor([shift, 0, shift, 0])
        self.roi_heads = RoIHeads(**roi_options(score_thresh=0.1, detections_per_img=10))

    def region_scores(self, images: list[Tensor], proposals: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        return [(self.scores, boxes + self.shift) for boxes in proposals]


def test_scores_and_boxes_are_averaged_region_by_region():
    first, second = Regions([[0.2, 0.8, 0.0]], 0.0), Regions([[0.4, 0.2, 0.4]], 2.0)
    (found,) = average_regions([first, second])([torch.zeros(3, 8, 20)], [BOX])
    assert found["labels"].tolist() == [1, 2]
    assert found["scores"].tolist() == pytest.approx([0.5, 0.2])
    assert found["boxes"][0].tolist() == pytest.approx([3.0, 1.0, 7.0, 5.0])


def test_a_mirrored_look_undoes_a_shift():
    shifting = Regions([[0.1, 0.9]], 3.0)  # to the right in both looks: in the plain image the second is to the left
    (found,) = average_regions([shifting], flip=True)([torch.zeros(3, 8, 20)], [BOX])
    assert found["boxes"][0].tolist() == pytest.approx(BOX[0].tolist())
    assert found["scores"].tolist() == pytest.approx([0.9])


def test_an_ensemble_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one network"):
        average_regions([])


@pytest.mark.parametrize("family", ["faster_rcnn", "cascade_rcnn", "dynamic_rcnn", "retinanet", "fcos", "reppoints"])
def test_candidates_are_what_suppression_chooses_from(family):
    """Suppressing the candidates afterwards gives what the detector gives itself."""
    detector = model(family).eval()
    for part in detector.modules():  # scores above the threshold from random weights
        if isinstance(part, RoIHeads):
            part.score_thresh, part.detections_per_img = 0.1, 5
        elif isinstance(part, FocalHead):
            nn.init.normal_(part.logits.weight, std=0.2)
            nn.init.constant_(part.logits.bias, -2.0)
            part.detections = 5
    image = torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(1))
    iou = {"fcos": 0.6}.get(family, 0.5)
    with torch.inference_mode():
        (own,) = detector([image])
        keep_candidates(detector)
        (found,) = detector([image])
    assert len(found["scores"]) > 20
    assert (found["scores"][:-1] >= found["scores"][1:]).all()
    kept = batched_nms(found["boxes"], found["scores"], found["labels"], iou)[:5]
    assert torch.equal(own["scores"], found["scores"][kept])
    torch.testing.assert_close(own["boxes"], found["boxes"][kept])


@pytest.mark.parametrize("family", ["mask_rcnn", "cascade_mask_rcnn", "grid_rcnn"])
def test_detectors_that_compute_more_for_what_is_left_keep_their_suppression(family):
    detector = model(family)
    keep_candidates(detector)
    limits = {part.detections_per_img for part in detector.modules() if isinstance(part, RoIHeads)}
    assert limits == {10}
