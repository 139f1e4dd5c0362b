"""Losses and logged quantities of an optimiser step's batches, as numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

SUMMED = ("images", "inputs_", "snip_inputs_")  # quantities of these names are sums over a step's batches, others means


class Batch(NamedTuple):
    """The results of one batch of a step."""

    loss: Tensor
    losses: dict[str, Tensor]
    logged: dict[str, float | Tensor | None]
    info: dict[str, Any]


def read(batches: Sequence[Batch]) -> list[tuple[dict[str, float], dict[str, float | None]]]:
    """Return every batch's losses, with their sum as "loss", and its logged quantities, as numbers."""
    parts = [
        [("loss", batch.loss), *batch.losses.items(), *((n, v) for n, v in batch.logged.items() if torch.is_tensor(v))]
        for batch in batches
    ]
    numbers = iter(torch.stack([value.detach().float() for part in parts for _, value in part]).tolist())
    rows = []
    for batch in batches:
        losses = {"loss": next(numbers)} | {name: next(numbers) for name in batch.losses}
        rows.append((losses, {n: next(numbers) if torch.is_tensor(v) else v for n, v in batch.logged.items()}))
    return rows


def mean(rows: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """Return the mean, or for `SUMMED` the sum, of every quantity over the batches of a step that have it."""
    if len(rows) == 1:
        return rows[0]
    found: dict[str, float | None] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row[name] for row in rows if row.get(name) is not None and not math.isnan(row[name])]
        total = sum(values)
        found[name] = None if not values else total if name.startswith(SUMMED) else total / len(values)
    return found


def waited(batches: Sequence[Batch]) -> float | None:
    """Return the seconds that a step waited for data; None where they were not measured."""
    seconds = [batch.info["waited"] for batch in batches if "waited" in batch.info]
    return sum(seconds) if seconds else None
