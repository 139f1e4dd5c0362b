"""One comparison of a benchmark: counterparts with the same input, timed side by side."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pipeline.benchmarks.timing.memory import peak_bytes
from pipeline.benchmarks.timing.rounds import Call, interleave, ratios, spread

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
MIB = 2**20


class Case(NamedTuple):
    """Counterparts at one size; times of the others are divided by that of the first."""

    group: str  # "layer", "network" or "onnx"
    size: dict[str, int]
    dtype: str
    mode: str  # "forward" or "train": forward and backward
    calls: Callable[[], dict[str, Call]]  # builds the calls, because those of all cases would not fit in memory
    weight: float = 1.0  # share of the time for this case, relative to the others
    least: int = 5  # rounds


def forward_call(module: nn.Module, x: Tensor) -> Call:
    """Return a call of a module as deployed: evaluation mode, no gradients."""
    module.eval()

    def call() -> Any:
        with torch.inference_mode():
            return module(x)

    return call


def train_call(module: nn.Module, x: Tensor) -> Call:
    """Return a call in training mode that goes forward, and backward to the input and all weights."""
    module.train()
    x = x.detach().requires_grad_()
    wanted = [x, *(parameter for parameter in module.parameters() if parameter.requires_grad)]
    with torch.no_grad():
        grad = torch.ones_like(module(x))

    def call() -> Any:
        return torch.autograd.grad(module(x), wanted, grad)

    return call


def random_input(shape: tuple[int, ...], dtype: str, device: str, memory_format: torch.memory_format) -> Tensor:
    """Return normal noise that is the same for every counterpart and every run."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return x.to(device, DTYPES[dtype]).contiguous(memory_format=memory_format)


def measure(case: Case, seconds: float, device: str) -> list[dict[str, Any]]:
    """Time a case and return one row per counterpart: ms, ratio to the first, rounds, peak memory in MiB."""
    calls = case.calls()
    times = interleave(calls, seconds, device, least=case.least)
    base = next(iter(calls))
    rows = []
    for name, call in calls.items():
        # ONNX Runtime has its own allocator, which torch does not see.
        peak = None if case.group == "onnx" else round(peak_bytes(call, device) / MIB, 3)
        rows.append(
            {
                "group": case.group,
                "case": case.size,
                "dtype": case.dtype,
                "mode": case.mode,
                "name": name,
                "ms": numbers([1000 * value for value in times[name]]),
                "ratio": numbers(ratios(times[name], times[base])),
                "rounds": len(times[name]),
                "peak_mib": peak,
            }
        )
    return rows


def numbers(values: list[float]) -> dict[str, float]:
    """Return the median and quartiles for JSON."""
    found = spread(values)
    return {"median": round(found.median, 4), "low": round(found.low, 4), "high": round(found.high, 4)}
