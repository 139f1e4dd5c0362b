"""Time calls side by side in interleaved rounds, so that a slow moment of the machine affects all of them equally."""

import gc
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

Call = Callable[[], Any]

SAMPLE_SECONDS = 0.005  # shorter calls are repeated in one sample, because the clock and the launch take time
WARM_UPS, WARM_UP_SECONDS = 3, 1.0
MOST_REPEATS = 1000


class Spread(NamedTuple):
    """Median and quartiles of repeated measurements."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Return the median and the quartiles; one value is all three. Raise ValueError where there is none."""
    if not values:
        raise ValueError("A spread needs at least one value, got none.")
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


def ratios(times: Sequence[float], base: Sequence[float]) -> list[float]:
    """Return times / base round by round, in which a drift of the machine cancels, unlike in a ratio of medians."""
    return [value / reference for value, reference in zip(times, base, strict=True)]


def interleave(
    calls: Mapping[str, Call],
    seconds: float,
    device: str = "cpu",
    least: int = 5,
    most: int = 50,
    clock: Callable[[Call, int], float] | None = None,
) -> dict[str, list[float]]:
    """Return the seconds of one call by name, with one value per round.

    A round takes one sample of every call, in random order, so that no call always follows the same other one.

    Args:
        calls: to time; each is warmed up first.
        seconds: wanted duration of all rounds; at least `least` and at most `most` rounds are made.
        device: "cpu", or "cuda" for events on the current stream.
        least: number of rounds that are made even if they take longer than `seconds`.
        most: number of rounds after which the spread is narrow enough.
        clock: maps a call and a number of repeats to seconds per call; for tests.
    """
    clock = clock or {"cpu": wall_clock, "cuda": cuda_clock}[device]
    repeats = {name: choose_repeats(call, clock) for name, call in calls.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    order, shuffle = list(calls), random.Random(0).shuffle
    collecting = gc.isenabled()
    gc.disable()
    try:
        spent = 0.0
        for done in range(most):
            if done >= least and spent * (done + 1) / done > seconds:
                break
            shuffle(order)
            for name in order:
                times[name].append(clock(calls[name], repeats[name]))
                spent += times[name][-1] * repeats[name]
    finally:
        if collecting:
            gc.enable()
    return times


def choose_repeats(call: Call, clock: Callable[[Call, int], float]) -> int:
    """Warm up a call, and return how often it fits in one sample."""
    taken: list[float] = []
    while len(taken) < WARM_UPS and sum(taken) < WARM_UP_SECONDS:
        taken.append(clock(call, 1))
    fastest = min(taken)
    return min(MOST_REPEATS, max(1, round(SAMPLE_SECONDS / fastest))) if fastest > 0 else MOST_REPEATS


def wall_clock(call: Call, repeats: int) -> float:
    """Return the seconds per call by the wall clock."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def cuda_clock(call: Call, repeats: int) -> float:
    """Return the seconds per call between two events on the GPU's stream; the host's launches may run ahead."""
    import torch

    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()  # what was queued before belongs to another sample
    start.record()
    for _ in range(repeats):
        call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000 / repeats
