"""Training history: means over windows of steps, small enough for git however long a training is."""

import csv
import io
import math
from typing import Any

COLUMNS = (
    "step",
    "loss",
    "lr",
    "loss_classifier",
    "loss_box_reg",
    "loss_objectness",
    "loss_rpn_box_reg",
    "small_share",
    "medium_share",
    "large_share",
    "collage",
    "valid_1400",
    "valid_800",
    "valid_480",
)


SHARES = ("small_share",)  # also counted in a histogram over steps: a window's mean hides their distribution
SHARE_BINS = 100


class History:
    """Means over windows as rows, and sums over the whole training for its summary."""

    def __init__(self, steps: int, rows: int, columns: tuple[str, ...] = COLUMNS) -> None:
        self.columns = columns
        self.window = max(1, -(-steps // rows))
        self.rows: list[dict[str, float]] = []
        self._pending: list[dict[str, float]] = []
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.share_steps: dict[str, list[int]] = {}

    def add(self, values: dict[str, float | None]) -> None:
        """Add one step; a quantity that is None or NaN does not exist in it."""
        present = {name: float(v) for name, v in values.items() if v is not None and not math.isnan(v)}
        self._pending.append(present)
        for name, value in present.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1
            if name in SHARES:
                # Without the small addend, a share of 0.29 would fall into the bin below by rounding.
                place = min(int(value * SHARE_BINS + 1e-9), SHARE_BINS - 1)
                self.share_steps.setdefault(name, [0] * SHARE_BINS)[place] += 1
        if len(self._pending) == self.window:
            self.flush()

    def flush(self) -> None:
        """Close the current window."""
        if not self._pending:
            return
        row = {}
        for name in self.all_columns():
            values = [step[name] for step in self._pending if name in step]
            if values:
                row[name] = values[-1] if name in ("step", "lr") else sum(values) / len(values)
        self.rows.append(row)
        self._pending = []

    def all_columns(self) -> tuple[str, ...]:
        """Return the columns followed by the detector's further losses."""
        return (*self.columns, *sorted(n for n in self.sums if n.startswith("loss_") and n not in self.columns))

    def mean(self, name: str) -> float | None:
        """Return the mean of a quantity over the steps in which it existed."""
        count = self.counts.get(name, 0)
        return round(self.sums[name] / count, 6) if count else None

    def histogram(self, name: str) -> list[int] | None:
        """Return how many steps had a share in each hundredth, from [0, 0.01), without the empty ones at the end.

        The last hundredth includes 1. None where the share existed in no step.
        """
        counts = self.share_steps.get(name)
        if counts is None:
            return None
        return counts[: max(place for place, count in enumerate(counts) if count) + 1]

    def csv(self) -> str:
        """Return the rows as CSV, with empty cells where a quantity did not exist."""
        stream = io.StringIO()
        writer = csv.DictWriter(stream, self.all_columns(), lineterminator="\n", restval="")
        writer.writeheader()
        for row in self.rows:
            writer.writerow({n: int(v) if n == "step" else f"{v:.6g}" for n, v in row.items()})
        return stream.getvalue()

    def state_dict(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "pending": self._pending,
            "sums": self.sums,
            "counts": self.counts,
            "share_steps": self.share_steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows, self._pending = list(state["rows"]), list(state["pending"])
        self.sums, self.counts = dict(state["sums"]), dict(state["counts"])
        self.share_steps = {name: list(counts) for name, counts in state["share_steps"].items()}
