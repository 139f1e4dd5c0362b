"""How fast GPUs train detectors, from published throughputs.

A rate is that of a V100 times a ratio of throughputs. The V100's is what Detectron2's published training of Faster
R-CNN R50-FPN (0.21 s a step of 16 images on 8 V100) comes to, counted as here. The ratio is between images a second in
one detector's training with one software: NVIDIA's SSD300 with a ResNet-50 in mixed precision on one GPU, published by
Lambda (github.com/lambdal/deeplearning-benchmark, pytorch/pytorch-train-throughput-fp16.csv, column `ssd`).
"""

from dataclasses import dataclass

V100_TFLOPS = 9.5


@dataclass(frozen=True)
class Gpu:
    """A GPU that a plan can be made for."""

    name: str
    memory: float  # GiB
    ssd: float  # images a second in Lambda's training of SSD300

    @property
    def tflops(self) -> float:
        """Return the rate at which it trains, in 10^12 operations a second."""
        return V100_TFLOPS * self.ssd / GPUS["v100"].ssd


GPUS = {
    "v100": Gpu("V100", 16, 229),
    "rtx4090": Gpu("RTX 4090", 24, 379),
    "a100": Gpu("A100 SXM", 80, 458),
    "h100": Gpu("H100 SXM", 80, 782),
}
