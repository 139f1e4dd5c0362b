"""PSConv's kernels fit every GPU from Ampere to Blackwell: compiled ahead of time, for what is not there."""

import pytest
import torch

pytest.importorskip("triton")
from psconv_compiling import KERNELS, PTXAS, SHARED, compiled

pytestmark = [
    pytest.mark.skipif(not (PTXAS / "ptxas").exists(), reason="this Triton carries no assembler"),
    pytest.mark.slow,
]
NUMBERS = {"bf16": (torch.bfloat16, "tf32"), "tf32": (torch.float32, "tf32"), "ieee": (torch.float32, "ieee")}


@pytest.mark.parametrize("channels", [64, 128])
@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("architecture", SHARED)
def test_kernels_fit(architecture, numbers, channels, tmp_path):
    for kernel in KERNELS:
        found = compiled(architecture, kernel, *NUMBERS[numbers][:1], channels, NUMBERS[numbers][1], tmp_path)
        assert found.shared <= SHARED[architecture], kernel
        assert numbers != "bf16" or found.spilled == 0, kernel
