"""Train all blocks of an experiment, one after the other; a killed stage goes on in the middle of one."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

from pipeline import blocks, paths
from pipeline.files import write_json, write_text
from pipeline.spec import Spec
from pipeline.training.checkpoint import Checkpoints, Trained, save_weights
from pipeline.training.distributed import World


def train_blocks(spec: Spec, world: World, file: Path, train_one: Callable[[Spec], Trained]) -> None:
    """Train every block and write the weights of all to `file`, and their mean history and summary.

    A finished block is kept in its scratch folder where there are several, or may be: more blocks, or a later start of
    the same stage, train only those that are new.

    Args:
        spec: the experiment; all blocks of it are trained.
        world: the processes that train together; the first one writes.
        file: of the weights.
        train_one: trains the block of a specification, or returns it where it is finished.
    """
    kept, done = spec.blocks > 1 or spec.preset.grows, []
    for one in spec.in_blocks():
        trained = train_one(one)
        if kept and world.main:
            trained.keep()
        done.append(trained)
    if world.main:
        preset, name = spec.preset.name, spec.name
        save_weights(file, blocks.joined([run.tensors for run in done]), blocks.joined([run.metadata for run in done]))
        write_text(paths.history(preset, name), mean_history([run.history for run in done]))
        write_json(paths.training_summary(preset, name), blocks.summary([run.summary for run in done]))
        if not kept:
            Checkpoints(done[0].scratch).remove()
    world.wait()


def mean_history(texts: list[str]) -> str:
    """Return the mean of histories as CSV: window by window, over the blocks that have a value there."""
    if len(texts) == 1:
        return texts[0]
    tables = [list(csv.DictReader(io.StringIO(text))) for text in texts]
    columns = dict.fromkeys(name for text in texts for name in next(csv.reader(io.StringIO(text))))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n", restval="")
    writer.writeheader()
    for rows in zip(*tables, strict=True):
        known = {name: [float(row[name]) for row in rows if row.get(name)] for name in columns}
        writer.writerow({name: f"{fmean(values):.6g}" for name, values in known.items() if values})
    return stream.getvalue()
