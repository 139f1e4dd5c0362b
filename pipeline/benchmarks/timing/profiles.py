"""Where the time of a call goes: the shares of operators on a CPU, and of kernels on a GPU."""

import re
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

CALLS, TOP = 5, 5
CONVOLUTION = re.compile(r"conv|gemm|xmma|fprop|dgrad|wgrad", re.IGNORECASE)
LONGEST_NAME = 60
LEAST_SHARE = 0.005


def operator_shares(call: Callable[[], Any], device: str, top: int = TOP, calls: int = CALLS) -> dict[str, Any]:
    """Return the ms of a call, its ms in convolutions, and the operators with the longest self times."""
    cuda = device == "cuda"
    call()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities, acc_events=True) as recorded:
        for _ in range(calls):
            call()
        if cuda:
            torch.cuda.synchronize()
    averages = recorded.key_averages()
    if cuda:
        times = [(e.key, e.count, e.self_device_time_total) for e in averages if e.device_type == DeviceType.CUDA]
    else:
        times = [(e.key, e.count, e.self_cpu_time_total) for e in averages]
    return summarise([(name, count / calls, micros / calls / 1000) for name, count, micros in times], top)


def summarise(times: list[tuple[str, float, float]], top: int) -> dict[str, Any]:
    """Return the summary of (operator, calls, ms) triples."""
    total = sum(ms for _, _, ms in times)
    kept = sorted((entry for entry in times if entry[2] > LEAST_SHARE * total), key=lambda entry: -entry[2])[:top]
    return {
        "ms": round(total, 4),
        "convolution_ms": round(sum(ms for name, _, ms in times if CONVOLUTION.search(name)), 4),
        "operators": [
            {
                "name": name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…",
                "calls": round(count, 1),
                "ms": round(ms, 4),
                "share": round(ms / total, 4),
            }
            for name, count, ms in kept
        ],
    }
