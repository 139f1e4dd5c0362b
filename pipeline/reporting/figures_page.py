"""The list of all figures of the papers that data can draw: the picture and its data, or what it waits for."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline import paths
from pipeline.files import write_text
from pipeline.reporting.context import numbers_of
from pipeline.reporting.facts import figure_data
from pipeline.reporting.figures import msfm, pod, snip
from pipeline.verdicts.results import Results

FOLDER = "paper_figures"


class Points(NamedTuple):
    """Distinct values of a column of a figure's data in rows where another one is filled."""

    varies: str
    ours: str
    least: int


@dataclass(frozen=True)
class Figure:
    """One figure; `draw` makes it here, None where another stage has it in `figures/`."""

    name: str
    title: str
    waits: str
    draw: Callable[[Results, Path], bool] | None = None
    points: Points | None = None  # that a picture of another stage needs to show anything


FIGURES = (
    Figure("pod_f1", "POD, figure 1: speed and accuracy", "a detector of pod_t5 with its baseline", pod.draw_speeds),
    Figure("pod_f3", "POD, figure 3: decomposition of a scale", "nothing", pod.draw_decomposition),
    Figure("pod_f6", "POD, figure 6: learnt scales", "the global scale learners", pod.draw_learnt_scales),
    Figure("msfm_ablations", "MSFM, tables 2 and 3: ablations", "the tables msfm_t2_*", msfm.draw_ablations),
    Figure("snip_f4", "SNIP, figure 4: resolutions", "the classifiers snip_cls_*", snip.draw_resolutions),
    Figure("snip_recall", "SNIP, table 3: recall by object size", "table snip_t3", snip.draw_recall_by_size),
    Figure("statistics", "SNIP, figure 1: object sizes", "the data"),
    Figure(
        "dst_training_length",
        "DST, figure 1: AP over the length of training",
        "trainings of two lengths of tables dst_t2, dst_t3 and dst_t5",
        points=Points("length", "ours", 2),
    ),
    Figure(
        "dst_threshold",
        "DST, figure 4: thresholds",
        "trainings with three thresholds",
        points=Points("threshold", "ap", 3),
    ),
    Figure("loss_share", "DST, figure 5: shares of the loss", "the trainings of dst_t2"),
    Figure("loss_share_histogram", "DST, figure 6: small objects' share of the loss", "the trainings of dst_t2"),
    *(
        Figure(f"{name}_weight_share", f"PSConv, {which}: weight of each dilation in {network}", name)
        for name, which, network in (
            ("psconv_cls_r50_120ep_cos_psconv", "figure 6, left", "PS-ResNet-50"),
            ("psconv_cls_x29_16x64d_300ep_psconv", "figure 6, right", "PS-ResNeXt-29"),
            ("psconv_frcnn_r50_fpn_1x_psconv", "as figure 6", "the detector's PS-ResNet-50"),
        )
    ),
)


def write_figures_page(preset: str) -> None:
    """Draw the figures that have data into `paper_figures/`, with README.md that lists all."""
    results = Results(preset)
    folder = paths.index(preset).with_name(FOLDER)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    drawn = {figure.name for figure in FIGURES if figure.draw and figure.draw(results, folder / f"{figure.name}.png")}
    write_text(folder / "README.md", figures_page(results, drawn))


def shows(results: Results, figure: Figure) -> bool:
    """Return whether a picture of another stage shows results: its data hold any, or as many points as it needs."""
    rows = figure_data(results, figure.name)
    if figure.points is None:
        return bool(rows)
    varies, ours, least = figure.points
    return len({row[varies] for row in rows if row[ours]}) >= least


def figures_page(results: Results, drawn: set[str]) -> str:
    """Return the list; a figure without data says what it waits for."""
    text = f"# Figures of the papers, preset {results.name}\n\n{numbers_of(results, '../')} "
    text += "[Back](../index.md).\n"
    for figure in FIGURES:
        text += f"\n## {figure.title}\n\n"
        if figure.draw is None and shows(results, figure):
            text += f"![{figure.title}](../figures/{figure.name}.png)\n\n"
            text += f"[Data](../figures/{figure.name}.csv).\n"
        elif figure.name in drawn:
            text += f"![{figure.title}]({figure.name}.png)\n\n[Data]({figure.name}.csv).\n"
        else:
            text += f"Waits for {figure.waits}: not run under this preset.\n"
    return text + "\n`dvc repro paper_figures` draws them.\n"
