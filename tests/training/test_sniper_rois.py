"""The RoIs of SNIPER's official operator from its inputs: anchors, decoding, the valid range before NMS, 300 places."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from official_numbers import load_case
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import clip_boxes_to_image, nms

from pipeline.training.scale_ranges import box_sizes, valid_objects

HALF_OPEN = torch.tensor([0.0, 0, 1, 1])  # official boxes count inclusive pixels
FILLER = torch.tensor([0.0, 0, 100, 100])


@pytest.mark.parametrize("case", ["pt_01", "pt_03"])
def test_rois_equal_the_official_ones(case: str) -> None:
    arrays, facts = load_case(f"sniper/proposal_target/{case}")
    count, rows, columns = arrays["fg_score"].shape
    stride, places = facts["feature_stride"], facts["post_nms"]
    y, x = np.meshgrid(np.arange(rows) * stride, np.arange(columns) * stride, indexing="ij")
    moves = np.stack([x, y, x, y], axis=-1)
    anchors = torch.from_numpy(arrays["base_anchors"][:, None, None] + moves).reshape(-1, 4).float() + HALF_OPEN
    deltas = torch.from_numpy(arrays["bbox_pred"].astype(np.float32)).view(count, 4, rows, columns)
    deltas = deltas.permute(0, 2, 3, 1).reshape(-1, 4)
    scores = torch.from_numpy(arrays["fg_score"].astype(np.float32)).flatten()

    height, width, _ = arrays["im_info"][0].tolist()
    low, high = arrays["valid_range"][0].tolist()
    boxes = clip_boxes_to_image(BoxCoder((1, 1, 1, 1)).decode(deltas, [anchors])[:, 0], (height, width))
    in_range = valid_objects(box_sizes(boxes), (low, high))
    boxes = boxes[in_range]
    found = boxes[nms(boxes, scores[in_range], facts["rpn_nms"])][:places] - HALF_OPEN
    assert places - len(found) in (0, facts["n_filler_rois"] + 3)  # three objects lie on filler in the second case

    official = torch.from_numpy(arrays["rois"][:, 1:])
    objects = torch.from_numpy(arrays["gt_boxes"][:, :4])
    valid = valid_objects(box_sizes(objects + HALF_OPEN), (low, high))
    assert int(valid.sum()) == facts["n_valid_gt"]
    expected = torch.cat([found, FILLER.repeat(places - len(found), 1)])
    expected[places - len(objects) :][valid] = objects[valid]  # each in the place that its number has from the end
    torch.testing.assert_close(expected, official, rtol=1e-5, atol=1e-5)
