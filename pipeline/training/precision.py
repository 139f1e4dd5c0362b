"""Number format and thread count of a run, decided once at its start."""

import torch

from pipeline.devices import gpus
from pipeline.preset import Preset

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def set_threads(preset: Preset) -> None:
    """Set the thread count, which belongs to the preset because sums over threads depend on it."""
    if preset.threads:
        torch.set_num_threads(preset.threads)


def choose_precision(preset: Preset, device: torch.device) -> str:
    """Return "fp32", "bf16" or "fp16": the preset's or, for "auto", bf16 where this device is fast at it.

    It asks a CPU for its bf16 units and times nothing, so that equal machines choose the same beside any other work.
    """
    wanted = preset.training.precision
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        # Turing only emulates bf16, and its convolutions have none at all: there, fp16 with a scaled loss is fast.
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    # oneDNN computes bf16 on CPUs without such units too, many times slower, and it may be told not to use them.
    units = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    usable = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bf16" if units and usable else "fp32"


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return the autocast context of a precision."""
    return torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32")


def pick_device() -> torch.device:
    """Return this process's GPU, or the CPU; raise InputError where there is a GPU that PyTorch cannot use."""
    return torch.device("cuda" if gpus() else "cpu")
