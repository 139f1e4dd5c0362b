"""The figure of stable scales: its data by hand, what was not run, the same bytes every time."""

import pytest
from fake_results import read_csv

from pipeline import paths
from pipeline.files import write_json
from pipeline.reporting.figures.scales import DEFORMABLE, LEARNER, draw_scale_stability, offset_rows, scale_rows
from pipeline.verdicts.results import Results


def write_scales(with_val: bool = True) -> None:
    layers = {name: {"mean_h": 2.0, "mean_w": 0.0, "std_h": 0.05, "std_w": 0.0} for name in ("layer2.10", "layer2.2")}
    found = {"experiment": LEARNER, "images": 5, "largest_shift": 1.0, "layers": layers}
    if with_val:
        other = {name: {**values, "mean_h": 1.6} for name, values in layers.items()}
        found["val"] = {"images": 4, "layers": other}
    write_json(paths.scales("mini", LEARNER), found)


def write_offsets() -> None:
    groups = {name: {"mean": 4.0, "std": 3.0, "count": 7} for name in ("all", "h", "w")}
    found = {"layers": {"layer2.2": groups}, "val": {"layers": {"layer2.2": groups}}}
    write_json(paths.offsets("mini", DEFORMABLE), found)


def test_rows_by_hand(fake):
    write_scales()
    write_offsets()
    rows = scale_rows(Results("mini"))
    assert [row["layer"] for row in rows if row["split"] == "train"] == ["layer2.2"] * 2 + ["layer2.10"] * 2
    spreads = {(row["split"], row["direction"]): row["spread_percent"] for row in rows}
    assert spreads == {("train", "h"): 2.5, ("train", "w"): "", ("val", "h"): 3.125, ("val", "w"): ""}
    assert {row["spread_percent"] for row in offset_rows(Results("mini"))} == {75.0}


@pytest.mark.parametrize("deformable", [False, True])
@pytest.mark.parametrize("with_val", [False, True])
def test_figure_and_its_data(fake, tmp_path, deformable, with_val):
    path = paths.figure("mini", "scale_stability")
    draw_scale_stability("mini")
    assert read_csv(path.with_suffix(".csv")) == []  # nothing was run
    write_scales(with_val)
    if deformable:
        write_offsets()
    draw_scale_stability("mini")
    first = path.read_bytes()
    draw_scale_stability("mini")
    assert path.read_bytes() == first
    rows = read_csv(path.with_suffix(".csv"))
    assert len(rows) == 4 * (1 + with_val) + 4 * deformable
    assert {row["kind"] for row in rows} == {"global scale"} | ({"effective dilation"} if deformable else set())
