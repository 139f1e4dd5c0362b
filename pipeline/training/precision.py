"""Number format and thread count of a run, decided once at its start."""

import time

import torch
from torch import nn

from pipeline.devices import gpus
from pipeline.preset import Preset

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def set_threads(preset: Preset) -> None:
    """Set the thread count, which belongs to the preset because sums over threads depend on it."""
    if preset.threads:
        torch.set_num_threads(preset.threads)


def choose_precision(preset: Preset, device: torch.device) -> str:
    """Return "fp32", "bf16" or "fp16": the preset's or, for "auto", bf16 where this device is fast at it.

    A CPU is measured, because only some have bf16 units and the others emulate them many times slower. The margin is
    wide, so that noise cannot change the choice between two runs on one machine.
    """
    wanted = preset.training.precision
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        # Turing only emulates bf16, and its convolutions have none at all: there, fp16 with a scaled loss is fast.
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    # Without any bf16 instruction that oneDNN may use, the emulation is always slower.
    if not torch.backends.mkldnn.is_available() or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return "fp32"
    return "bf16" if convolution_seconds(torch.bfloat16) < 0.8 * convolution_seconds(torch.float32) else "fp32"


def convolution_seconds(dtype: torch.dtype, rounds: int = 7) -> float:
    """Return the fastest time of a 3x3 convolution on this CPU, in seconds."""
    layer = nn.Conv2d(64, 64, 3, padding=1).to(dtype).to(memory_format=torch.channels_last)
    x = torch.ones(4, 64, 56, 56, dtype=dtype).contiguous(memory_format=torch.channels_last)
    times = []
    with torch.inference_mode():
        for _ in range(rounds):
            start = time.perf_counter()
            layer(x)
            times.append(time.perf_counter() - start)
    return min(times)


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return the autocast context of a precision."""
    return torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32")


def pick_device() -> torch.device:
    """Return this process's GPU, or the CPU; raise InputError where there is a GPU that PyTorch cannot use."""
    return torch.device("cuda" if gpus() else "cpu")
