"""The GPUs of this machine as PyTorch sees them, and one sentence where it cannot use one that is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError

if TYPE_CHECKING:
    import torch


NODES = Path("/dev")  # has nvidia0, nvidia1, ... where NVIDIA's driver is at work


def visible() -> list[str]:
    """Return the names by which CUDA's programs see this machine's GPUs, without loading PyTorch."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in map(str.strip, given.split(",")) if name not in ("", "-1")]
    return [str(number) for number in range(len(list(NODES.glob("nvidia[0-9]*"))))]


def gpus() -> int:
    """Return how many GPUs this process can use.

    Raises:
        InputError: there are some, but their driver is too old or this PyTorch has no code for them.
    """
    import torch

    if not torch.cuda.is_available():
        reason = why_none()
        if "too old" in reason:
            raise InputError(
                f"There is a GPU that PyTorch {torch.__version__} cannot use: {reason} (docs/full.md names the driver "
                "that it needs and the variable for an older CUDA), or set CUDA_VISIBLE_DEVICES= to train on the CPU."
            )
        return 0
    for number in range(torch.cuda.device_count()):
        capability = torch.cuda.get_device_capability(number)
        if not has_code(capability, torch.cuda.get_arch_list()):
            raise InputError(
                f"{torch.cuda.get_device_name(number)} has compute capability {capability[0]}.{capability[1]}, and "
                f"PyTorch {torch.__version__} has code for {' '.join(torch.cuda.get_arch_list())} only; install the "
                "build for an older CUDA (docs/full.md), or leave the GPU out with CUDA_VISIBLE_DEVICES."
            )
    return torch.cuda.device_count()


def why_none() -> str:
    """Return, in PyTorch's words, why it sees no GPU; no full stop at the end."""
    import torch

    if torch.version.cuda is None:
        return "this PyTorch is built without CUDA"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return str(error).partition(". ")[0].strip().rstrip(".")
    return "it finds no device"


def has_code(capability: tuple[int, int], architectures: list[str]) -> bool:
    """Whether a build with these architectures runs on a GPU.

    Args:
        capability: the GPU's, major and minor.
        architectures: `sm_86` runs on 8.6 and 8.9, `compute_120` (PTX) on 12.0 and all that is newer. Without any,
            nothing is known and nothing refused.
    """
    found = [(kind, divmod(int(text.rstrip("af")), 10)) for kind, _, text in (a.partition("_") for a in architectures)]
    return not found or any(
        built <= capability and (kind == "compute" or built[0] == capability[0]) for kind, built in found
    )


def described(device: torch.device) -> str:
    """Return a device's name and memory for a log: `NVIDIA A100-SXM4-80GB (79 GiB)`."""
    import torch

    if device.type != "cuda":
        count = torch.get_num_threads()
        return f"the CPU ({count} thread{'s' * (count > 1)})"
    found = torch.cuda.get_device_properties(device)
    return f"{found.name} ({found.total_memory / 2**30:.0f} GiB)"
