"""The parts of a machine that determine a benchmark's numbers, without anything that identifies it."""

import os
import platform
from typing import Any

import torch

from pipeline.processor import cpu_model


def describe(device: str) -> dict[str, Any]:
    """Return the processor, cores, threads, torch's version and, on CUDA, the GPU."""
    affinity = getattr(os, "sched_getaffinity", None)
    found = {
        "cpu": cpu_model(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "onednn_limit": os.environ.get("ONEDNN_MAX_CPU_ISA"),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.system(),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }
    if device == "cuda":
        found |= {
            "gpu": torch.cuda.get_device_name(),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "tf32": torch.backends.cudnn.allow_tf32,
        }
    return found
