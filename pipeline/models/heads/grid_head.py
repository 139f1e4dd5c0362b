"""Grid head: heatmaps of a box's 3x3 points, each informed by its neighbours' features (Grid R-CNN, section 3)."""

import math

import torch
from torch import Tensor, nn

from pipeline.models.heads.grid_points import GRID, POINTS

CONVOLUTIONS = 8
NORM_GROUPS = 36
POINT_CHANNELS = 64  # of each point's features, on pyramids of 256 channels


class GridHead(nn.Module):
    """Convolutions to each point's features, two rounds of fusion among neighbours, two deconvolutions to heatmaps.

    Args:
        channels: of the RoI features; a point has a quarter as many, in steps of 4.

    Differs from the paper, as MMDetection does: the first convolution halves the RoI features and the others are not
    dilated. A point's heatmap [28, 28] is the part of the paper's 56x56 in which that point can lie.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.point_channels = 4 * max(1, round(channels * POINT_CHANNELS / 256 / 4))  # 36 groups divide 9 times that
        wide = POINTS * self.point_channels
        layers: list[nn.Module] = []
        for index in range(CONVOLUTIONS):
            stride, incoming = (1, wide) if index else (2, channels)
            layers += [nn.Conv2d(incoming, wide, 3, stride, padding=1), nn.GroupNorm(NORM_GROUPS, wide), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers)
        self.first_order, self.second_order = Fusion(self.point_channels), Fusion(self.point_channels)
        self.upsample = nn.Sequential(
            nn.ConvTranspose2d(wide, wide, 4, stride=2, padding=1, groups=POINTS),
            nn.GroupNorm(POINTS, wide),
            nn.ReLU(),
            nn.ConvTranspose2d(wide, POINTS, 4, stride=2, padding=1, groups=POINTS),
        )
        self.initialise()

    def initialise(self) -> None:
        """Let heatmaps start near a probability of 0.01, because most of their pixels are background."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.ConvTranspose2d):
                nn.init.normal_(module.weight, std=0.001)
                nn.init.zeros_(module.bias)
        nn.init.constant_(self.upsample[-1].bias, -math.log(0.99 / 0.01))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map RoI features [R, C, 14, 14] to fused and, in training, unfused heatmap logits [R, 9, 28, 28] in fp32."""
        x = self.convolutions(x)  # [R, 9 c, 7, 7]
        points = list(x.split(self.point_channels, dim=1))
        fused = self.second_order(points, self.first_order(points, points))
        heatmaps = self.upsample(torch.cat(fused, dim=1)).float()
        return heatmaps, self.upsample(x).float() if self.training else None


class Fusion(nn.Module):
    """Adds its 2 to 4 neighbours' features to each point's features, through one transition for each pair."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.neighbours = [neighbours(point) for point in range(POINTS)]
        self.transitions = nn.ModuleList(
            nn.ModuleList(transition(channels) for _ in found) for found in self.neighbours
        )

    def forward(self, points: list[Tensor], sources: list[Tensor]) -> list[Tensor]:
        """Return the features [R, c, 7, 7] of all points, each plus the transitions of its neighbours' `sources`."""
        return [
            sum((tell(sources[other]) for tell, other in zip(tells, others, strict=True)), start=own)
            for own, tells, others in zip(points, self.transitions, self.neighbours, strict=True)
        ]


def transition(channels: int) -> nn.Sequential:
    """Return a depthwise 5x5 convolution followed by a 1x1 convolution."""
    return nn.Sequential(nn.Conv2d(channels, channels, 5, padding=2, groups=channels), nn.Conv2d(channels, channels, 1))


def neighbours(point: int) -> list[int]:
    """Return the points left of, above, below and right of a point, as far as they exist."""
    column, row = divmod(point, GRID)
    around = [(column - 1, row), (column, row - 1), (column, row + 1), (column + 1, row)]
    return [GRID * x + y for x, y in around if 0 <= x < GRID and 0 <= y < GRID]
