"""Peak memory of one call, beyond that of its inputs and weights."""

import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile


def peak_bytes(call: Callable[[], Any], device: str) -> int:
    """Return the peak bytes of the tensors of a warm call: outputs, gradients and scratch space.

    On CUDA, the allocator counts them. On a CPU, torch's profiler records every allocation, which is the same in every
    run, unlike the process's resident size.
    """
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as recorded:
        call()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        recorded.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    return highest(allocations(events))


def allocations(events: Iterable[dict[str, Any]]) -> list[int]:
    """Return the bytes of a trace's allocations in order of time, negative where freed."""
    found = [event for event in events if event.get("name") == "[memory]"]
    found.sort(key=lambda event: (event["ts"], event["args"].get("Ev Idx", 0)))
    return [int(event["args"]["Bytes"]) for event in found]


def highest(changes: Iterable[int]) -> int:
    """Return the highest running sum of changes, at least 0."""
    held = most = 0
    for change in changes:
        held += change
        most = max(most, held)
    return most
