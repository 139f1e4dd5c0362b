"""The log of every step as JSON lines with timing and, on request, TensorBoard's event files; neither is a result."""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from pipeline.errors import InputError
from pipeline.files import replacing, write_text
from pipeline.training.history import History

if TYPE_CHECKING:
    from pipeline.training.tracking import Tracker

SMOOTHING = 0.1  # weight of the last step in the progress bar's images per second


class StepLog:
    """Lines of one training, in its scratch folder until it is done.

    Args:
        folder: of the checkpoints; lines of steps after the one that a training continues from are removed.
        published: final file of the lines; event files go to the folder of this name without its suffix.
        start: number of finished steps.
        history: TensorBoard and the tracker show its windows.
        tensorboard: whether event files are written.
        tracker: shows the windows as well.

    Raises:
        InputError: event files are asked for, and the package `tensorboard` is missing.
    """

    def __init__(
        self,
        folder: Path,
        published: Path,
        start: int,
        history: History,
        tensorboard: bool = False,
        tracker: Tracker | None = None,
    ) -> None:
        self.tracker = tracker
        self.path, self.published, self.history = folder / "log.jsonl", published, history
        self.shown = len(history.rows)
        self.pace: float | None = None  # smoothed seconds of an image
        self.stream = None
        try:
            write_text(self.path, "".join(kept_lines(self.path, start)))
            self.stream = open(self.path, "ab", buffering=0)  # noqa: SIM115 (closed by `close`)
        except (OSError, InputError) as error:
            self.give_up(error)
        self.events = event_writer(published.with_suffix(""), start) if tensorboard else None
        self.before = time.perf_counter()

    def add(self, values: dict[str, float | None], waited: float | None = None) -> float:
        """Write a step's line and return the smoothed number of images per second.

        Args:
            values: the step's entry of the history; `images` is its number of images.
            waited: seconds that the step waited for data.
        """
        now = time.perf_counter()
        seconds, self.before = now - self.before, now
        images = values.get("images") or 1.0
        pace = seconds / images
        self.pace = pace if self.pace is None else SMOOTHING * pace + (1 - SMOOTHING) * self.pace
        if self.stream is not None:
            timing = {"seconds": seconds, "waited": waited, "images_per_second": 1 / pace}
            present = {n: v for n, v in {**values, **timing}.items() if v is not None and math.isfinite(v)}
            line = {n: int(v) if n == "step" else float(f"{v:.6g}") for n, v in present.items()}
            try:
                self.stream.write(json.dumps(line).encode() + b"\n")
            except OSError as error:
                self.give_up(error)
        self.show_windows()
        return 1 / self.pace

    def show_windows(self) -> None:
        """Show the history's new windows to TensorBoard and the tracker."""
        new = self.history.rows[self.shown :]
        self.shown = len(self.history.rows)
        if self.events is not None:
            for row in new:
                for name, value in row.items():
                    if name != "step":
                        self.events.add_scalar(name, value, int(row["step"]))
        if self.tracker is not None:
            self.tracker.show(new)

    def give_up(self, error: Exception) -> None:
        """Continue without a log, which is no result."""
        tqdm.write(f"{self.path} cannot be written ({error}); the training goes on without it.", file=sys.stderr)
        self.close()

    def close(self) -> None:
        """Close the files."""
        if self.stream is not None:
            self.stream.close()
            self.stream = None

    def publish(self) -> None:
        """Copy the lines of a finished training to their final file."""
        self.show_windows()
        if self.events is not None:
            self.events.close()
        if self.tracker is not None:
            self.tracker.close()
        if self.stream is None:
            return
        self.close()
        try:
            with replacing(self.published) as temporary:
                shutil.copyfile(self.path, temporary)
        except (OSError, InputError) as error:
            self.give_up(error)


def kept_lines(path: Path, start: int) -> list[str]:
    """Return the complete lines of steps up to `start`; a killed process may have left a part of a line."""
    if start == 0 or not path.is_file():
        return []
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        try:
            whole = line.endswith("\n") and json.loads(line)["step"] <= start
        except (ValueError, KeyError, TypeError):
            break
        if not whole:
            break
        kept.append(line)
    return kept


def event_writer(folder: Path, start: int) -> Any:
    """Remove event files of an earlier training of this name, and return TensorBoard's writer of new ones."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            "The machine's `tensorboard` (params.yaml) asks for event files, and the package is missing; pip install "
            "tensorboard, or set it to false."
        ) from error
    if start == 0:
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
    return SummaryWriter(str(folder), purge_step=start + 1 if start else None)
