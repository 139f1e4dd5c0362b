"""Peak memory of one call, above what its inputs and weights already hold."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile


def peak_bytes(call: Callable[[], Any], device: str) -> int:
    """Return the most bytes that tensors of a warm call hold at one time: outputs, gradients and scratch space.

    On CUDA the allocator counts; on a CPU torch's profiler records every allocation, which unlike the process's
    resident size is the same in every run.
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
    """Return the bytes of a trace's allocations (negative: freed) in the order of their time."""
    found = [event for event in events if event.get("name") == "[memory]"]
    found.sort(key=lambda event: (event["ts"], event["args"].get("Ev Idx", 0)))
    return [int(event["args"]["Bytes"]) for event in found]


def highest(changes: Iterable[int]) -> int:
    """Return the highest sum that changes reach from 0."""
    held = most = 0
    for change in changes:
        held += change
        most = max(most, held)
    return most
