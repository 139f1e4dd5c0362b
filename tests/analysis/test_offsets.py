"""Effective dilation of deformable convolutions: by hand, against grids that are dilated, by object size."""

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import DeformConv2d

from pipeline.analysis.offsets import (
    CLASSES,
    Grid,
    OffsetStatistics,
    Spread,
    effective_dilation,
    size_classes,
    watching,
)


def scaled_offsets(scale_h: float, scale_w: float, size=(2, 3)) -> Tensor:
    """Offsets that turn a 3x3 grid of dilation 1 into one of a fractional dilation."""
    taps = [(i * (scale_h - 1), j * (scale_w - 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    return torch.tensor(taps).flatten().view(1, -1, 1, 1).expand(1, -1, *size).clone()


@pytest.mark.parametrize("scales", [(1.0, 1.0), (2.0, 3.0), (0.5, 1.7)])
def test_a_dilated_grid_has_its_dilation(scales):
    found = effective_dilation(Grid("a", scaled_offsets(*scales), (3, 3), (1, 1)))
    assert found.all.shape == (1, 1, 2, 3)
    torch.testing.assert_close(found.h, torch.full((1, 1, 2, 3), scales[0], dtype=torch.double))
    torch.testing.assert_close(found.w, torch.full((1, 1, 2, 3), scales[1], dtype=torch.double))
    torch.testing.assert_close(found.all, torch.full((1, 1, 2, 3), sum(scales) / 2, dtype=torch.double))


def test_by_hand():
    # Two taps side by side, (0, 0) and (0, 2), moved to (3, 0) and (0, 6): sqrt(9 + 36).
    offsets = torch.tensor([3.0, 0.0, 0.0, 4.0]).view(1, 4, 1, 1)
    found = effective_dilation(Grid("a", offsets, (1, 2), (1, 2)))
    assert found.w.item() == found.all.item() == pytest.approx(45**0.5)
    assert found.h.isnan().all()  # one row has no vertical neighbours
    # Moving all taps together changes nothing.
    moved = scaled_offsets(1.5, 1.5) + 7
    assert effective_dilation(Grid("a", moved, (3, 3), (1, 1))).all.unique().item() == pytest.approx(1.5)


def test_offset_groups_are_filters_of_their_own():
    both = torch.cat([scaled_offsets(1.0, 1.0), scaled_offsets(3.0, 3.0)], dim=1)
    found = effective_dilation(Grid("a", both, (3, 3), (1, 1)))
    assert found.all.shape == (1, 2, 2, 3)
    assert found.all.mean((0, 2, 3)).tolist() == [1.0, 3.0]


class Deformed(nn.Module):
    """A deformable layer as torchvision has it, with a constant grid."""

    def __init__(self, scale: float, **options) -> None:
        super().__init__()
        self.scale, self.conv = scale, DeformConv2d(2, 2, 3, padding=1, **options)

    def forward(self, x: Tensor) -> Tensor:
        offsets = scaled_offsets(self.scale, self.scale, x.shape[2:]).expand(len(x), -1, -1, -1)
        return self.conv(x, offsets.contiguous())


def test_every_deformable_convolution_is_seen_under_its_name():
    model = nn.Sequential(nn.Conv2d(2, 2, 1), Deformed(2.0), nn.Sequential(Deformed(3.5))).eval()
    with torch.inference_mode(), watching(model) as seen:
        model(torch.randn(3, 2, 6, 5))
    assert [grid.layer for grid in seen] == ["1.conv", "2.0.conv"]
    assert [effective_dilation(grid).all.mean().item() for grid in seen] == pytest.approx([2.0, 3.5])
    assert seen[0].offsets.shape == (3, 18, 6, 5)
    with torch.inference_mode():
        model(torch.randn(1, 2, 6, 5))
    assert len(seen) == 2  # nothing is watched outside


def test_layers_dilation_counts():
    model = Deformed(1.0, dilation=2)
    model.conv.padding = (2, 2)
    with torch.inference_mode(), watching(model) as seen:
        model(torch.randn(1, 2, 6, 6))
    assert seen[0].dilation == (2, 2)
    assert effective_dilation(seen[0]).all.unique().tolist() == [2.0]


def test_the_projects_own_layer_is_seen():
    from pipeline.models.backbones.deformable import DeformableConv2d

    layer = DeformableConv2d(4, 4, offset_groups=2)
    nn.init.normal_(layer.offset_predictor.bias)
    x = torch.randn(2, 4, 5, 5)
    with torch.inference_mode(), watching(layer) as seen:
        y = layer(x)
    with torch.inference_mode():
        assert torch.allclose(y, layer(x), atol=2e-5)  # watching takes torchvision's operator
    assert [(grid.kernel, grid.dilation, tuple(grid.offsets.shape)) for grid in seen] == [
        ((3, 3), (1, 1), (2, 36, 5, 5))
    ]


def test_size_classes_by_the_filters_centre():
    # A 4x4 map of a 40x40 image: centres at 5, 15, 25, 35. The small box lies inside the large one and wins.
    boxes = torch.tensor([[0.0, 0, 40, 20], [12, 12, 18, 18], [22, 22, 36, 30.0]])
    found = size_classes(boxes, (40, 40), (4, 4), small=50, large=200)
    assert found.tolist() == [[3, 3, 3, 3], [3, 1, 3, 3], [0, 0, 2, 2], [0, 0, 0, 0]]
    assert size_classes(torch.zeros(0, 4), (40, 40), (2, 2), 50, 200).tolist() == [[0, 0], [0, 0]]


def test_statistics_over_batches():
    statistics = OffsetStatistics(small=50, large=200)
    box = torch.tensor([[0.0, 0, 6, 8]])  # 48: small, on the first of 2x3 positions of a 20x30 image
    for scale in (1.0, 3.0):
        grid = Grid("layer", scaled_offsets(scale, scale), (3, 3), (1, 1))
        statistics.add([grid], (20, 30), [box])
    found = statistics.summary()["layer"]
    assert found["all"] == {"mean": 2.0, "std": 1.0, "count": 12}
    assert found["small"] == {"mean": 2.0, "std": 1.0, "count": 2}
    assert found["background"] == {"mean": 2.0, "std": 1.0, "count": 10}
    assert found["large"] == {"mean": None, "std": None, "count": 0}
    assert list(found) == ["all", "h", "w", *CLASSES]
    # Regions are no images: they have no size classes.
    regions = Grid("head", scaled_offsets(1.0, 1.0).repeat(5, 1, 1, 1), (3, 3), (1, 1))
    statistics.add([regions], (20, 30), [box])
    assert statistics.summary()["head"]["all"]["count"] == 30
    assert statistics.summary()["head"]["small"]["count"] == 0


def test_spread_of_nothing_and_of_parts():
    spread = Spread()
    assert spread.summary() == {"mean": None, "std": None, "count": 0}
    values = torch.randn(1000, dtype=torch.double)
    for part in values.split(77):
        spread.add(part)
    assert spread.summary()["std"] == pytest.approx(values.std(correction=0).item(), abs=1e-6)
