"""How long jobs that wait for each other take on several GPUs."""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.analysis.plan import Job

EFFICIENCY = 0.9  # of several GPUs on one training


def wall_time(jobs: Iterable[Job], gpus: int, each: int = 1) -> float:
    """Return the seconds until all jobs are done on `gpus` GPUs with `each` GPUs per job.

    Whenever GPUs are free, the ready job with the longest remaining chain of jobs starts.
    """
    if gpus < 1 or not 1 <= each <= gpus:
        raise ValueError(f"a job takes 1 to {gpus} of {gpus} GPUs, got {each}")
    known = {job.address: job for job in jobs}
    speed = 1.0 if each == 1 else each * EFFICIENCY
    needs = {name: {need for need in job.needs if need in known} for name, job in known.items()}
    followers: dict[str, list[str]] = {name: [] for name in known}
    for name, before in needs.items():
        for need in before:
            followers[need].append(name)
    way: dict[str, float] = {}

    def longest(name: str) -> float:
        if name not in way:
            way[name] = known[name].seconds / speed + max(map(longest, followers[name]), default=0.0)
        return way[name]

    ready = [(-longest(name), name) for name, before in needs.items() if not before]
    heapq.heapify(ready)
    running: list[tuple[float, str]] = []
    now, free = 0.0, gpus // each
    while ready or running:
        while ready and free:
            _, name = heapq.heappop(ready)
            heapq.heappush(running, (now + known[name].seconds / speed, name))
            free -= 1
        now, name = heapq.heappop(running)
        free += 1
        for follower in followers[name]:
            needs[follower].discard(name)
            if not needs[follower]:
                heapq.heappush(ready, (-longest(follower), follower))
    return now


def best_wall_time(jobs: Collection[Job], gpus: int, memory: float = math.inf) -> tuple[float, int]:
    """Return the shortest wall time in seconds, and the number of GPUs on which each job then runs.

    A GPU has `memory` GiB. A batch that is known to need more is shared by as many GPUs as it needs, or by all.
    """
    most = max((job.memory for job in jobs if job.memory is not None), default=0.0)
    shares = [each for each in range(1, gpus + 1) if gpus % each == 0]
    fitting = [each for each in shares if most / each <= memory] or [gpus]
    return min((wall_time(jobs, gpus, each), each) for each in fitting)
