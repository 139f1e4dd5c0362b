"""All figures of a preset's report; each PNG has its data beside it as a CSV of the same name."""

from pipeline import paths
from pipeline.reporting.figures.dst import draw_loss_share, draw_loss_share_histogram
from pipeline.reporting.figures.results import draw_ap_by_size, draw_scales
from pipeline.reporting.figures.training import draw_collage, draw_loss, draw_valid_objects
from pipeline.verdicts.results import Results

FIGURES = {
    "loss": draw_loss,
    "scales": draw_scales,
    "collage": draw_collage,
    "loss_share": draw_loss_share,
    "loss_share_histogram": draw_loss_share_histogram,
    "valid_objects": draw_valid_objects,
    "ap_by_size": draw_ap_by_size,
}


def draw_figures(preset: str) -> None:
    """Write every figure of a preset; what was not run is said in its place."""
    results = Results(preset)
    for name, draw in FIGURES.items():
        draw(results, paths.figure(preset, name))
