"""The marks that PSConv and POD's fast-deployment networks must reach, and the verdict on each, without torch."""

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

MET, MISSED, NOT_RUN = "met", "missed", "not run"


class Mark(NamedTuple):
    """At most `limit` times the plain counterpart in every selected case."""

    text: str
    limit: float
    device: str
    group: str
    name: str
    dtype: str
    mode: str
    least_channels: int = 0
    most_channels: int = 10**6
    height: int | None = None  # of a network's images

    def selects(self, row: dict[str, Any]) -> bool:
        """Return whether a row of the benchmark is one of this mark's cases."""
        keys = ("group", "name", "dtype", "mode")
        alike = all(row[key] == getattr(self, key) for key in keys) and self.height in (None, row["case"].get("height"))
        return alike and self.least_channels <= row["case"].get("channels", 0) <= self.most_channels


_LAYER, _NETWORK = ("layer", "psconv"), ("network", "psconv")
_KERNEL = "PSConv's C++ kernel"
MARKS = (
    Mark(f"{_KERNEL}, fp32, forward, 128 channels and more", 1.08, "cpu", "layer", "kernel", "fp32", "forward", 128),
    Mark(f"{_KERNEL}, fp32, forward, 64 channels", 1.15, "cpu", "layer", "kernel", "fp32", "forward", 64, 64),
    Mark(
        f"{_KERNEL}, fp32, with backward, 128 channels and more", 1.15, "cpu", "layer", "kernel", "fp32", "train", 128
    ),
    Mark(
        "PSConv folded into its neighbours, fp32, forward, 128 channels and more",
        *(1.15, "cpu", "layer", "folded", "fp32", "forward", 128),
    ),
    Mark("PSConv layer, fp32, forward, 128 channels and more", 1.2, "cpu", *_LAYER, "fp32", "forward", 128),
    Mark("PSConv layer, fp32, with backward, 128 channels and more", 1.2, "cpu", *_LAYER, "fp32", "train", 128),
    Mark("PSConv layer, bf16, forward, 256 channels and more", 1.25, "cuda", *_LAYER, "bf16", "forward", 256),
    Mark("PSConv layer, bf16, with backward, 256 channels and more", 1.4, "cuda", *_LAYER, "bf16", "train", 256),
    Mark(
        "PS-ResNet-50 with the kernel, 224 px, forward", 1.0, "cpu", "network", "kernel", "fp32", "forward", height=224
    ),
    Mark(
        "PS-ResNet-50 with the kernel, 224 px, training", 1.08, "cpu", "network", "kernel", "fp32", "train", height=224
    ),
    Mark("PS-ResNet-50, 224 px, forward", 1.06, "cpu", *_NETWORK, "fp32", "forward", height=224),
    Mark("PS-ResNet-50, fp32, forward", 1.1, "cpu", *_NETWORK, "fp32", "forward"),
    Mark("PS-ResNet-50, fp32, forward", 1.1, "cuda", *_NETWORK, "fp32", "forward"),
    Mark("Fast-deployment network, fp32, eager", 1.05, "cpu", "network", "fd", "fp32", "forward"),
    Mark("Fast-deployment network, fp32, eager", 1.05, "cuda", "network", "fd", "fp32", "forward"),
    Mark("PS-ResNet-50, fp32, ONNX Runtime", 1.15, "cpu", "onnx", "psconv", "fp32", "forward"),
    Mark("Fast-deployment network, fp32, ONNX Runtime", 1.05, "cpu", "onnx", "fd", "fp32", "forward"),
)


def judge(rows: Sequence[dict[str, Any]], device: str) -> list[dict[str, Any]]:
    """Return every mark of a device with its cases, the worst of them and the verdict.

    A mark is met if the median ratio of each of its cases meets it; the spread is shown, but not subtracted.
    """
    return [_judge(mark, [row for row in rows if mark.selects(row)]) for mark in MARKS if mark.device == device]


def _judge(mark: Mark, rows: list[dict[str, Any]]) -> dict[str, Any]:
    met = [row for row in rows if row["ratio"]["median"] <= mark.limit]
    worst = max(rows, key=lambda row: row["ratio"]["median"], default=None)
    return {
        "mark": mark.text,
        "limit": mark.limit,
        "cases": len(rows),
        "cases_met": len(met),
        "typical": round(statistics.median(row["ratio"]["median"] for row in rows), 4) if rows else None,
        "worst": worst and {"case": worst["case"], "ratio": worst["ratio"]},
        "verdict": NOT_RUN if not rows else MET if len(met) == len(rows) else MISSED,
        "selects": {"group": mark.group, "name": mark.name, "dtype": mark.dtype, "mode": mark.mode},
    }
