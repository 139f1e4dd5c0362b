"""Figures: the data beside them is what was drawn, and the bytes are the same every time."""

from types import SimpleNamespace

import pytest
from fake_results import figure_rows as rows

from pipeline import config, paths
from pipeline.files import write_text
from pipeline.markdown import statistic_name
from pipeline.reporting.figures.comparisons import named
from pipeline.reporting.figures.dst import draw_dst_figures
from pipeline.reporting.figures.headline import FIGURES, draw_figures
from pipeline.reporting.figures.statistics import plot_statistics
from pipeline.reporting.figures.training import short_name, valid_shares
from pipeline.reporting.figures_page import write_figures_page
from pipeline.reporting.tables import write_table
from pipeline.verdicts.comparison import headline_evaluations
from pipeline.verdicts.results import Results

DST, BASE = "dst_frcnn_r50_fpn_1x_dst", "dst_frcnn_r50_fpn_1x"


def fill(fake) -> None:
    fake.dst(gain=0.03)
    fake.noise()
    fake.history(BASE, ["5,1.5,0.2,", "10,1.25,,"])
    fake.history(DST, ["5,1.4,0.05,1.0", "10,1.2,0.15,0.5"])
    fake.scales("pod_frcnn_r50_fpn_1x_gsl", 0.25)
    fake.training("snip_drfcn_r50_7ep_snip", valid={"1400": 0.5, "800": 0.75, "480": 0.25})
    write_table("dst_t2", "mini", headline=True)


def test_lines_are_named_by_their_method_and_longer_baselines_by_their_length():
    names = (BASE, DST, "pod_frcnn_r50_fpn_2x", "snip_drfcn_r50_7ep_single_scale")
    assert [short_name(name) for name in names] == ["baseline", "DST", "baseline 2x", "single scale"]


def test_comparisons_are_named_as_on_the_index_and_others_by_method_and_printed_label():
    names = (DST, "DST", "Ours (R50)"), ("other", "DST", "Ours (R101)"), ("other", "SNIP", "IPN, With SNIP")
    lines = [SimpleNamespace(evaluation=name, method=method, label=label) for name, method, label in names]
    assert DST in headline_evaluations()
    assert [named(line, {DST}) for line in lines] == ["DST", "DST: Ours (R101)", "IPN, With SNIP"]


def test_data_of_every_figure(fake):
    fill(fake)
    draw_figures("mini")
    assert [(r["experiment"], r["step"], r["loss"]) for r in rows("loss")][1] == (BASE, "10", "1.25")
    collage = [(r["small_share"], r["collage"]) for r in rows("collage")]
    assert collage == [("0.2", ""), ("", ""), ("0.05", "1.0"), ("0.15", "0.5")]
    assert [r["share"] for r in rows("valid_objects")] == ["0.5", "0.75", "0.25"]
    assert [(r["resolution"], r["short_side_px"]) for r in rows("valid_objects")][:1] == [
        ("1400", str(round(1400 * config.load_preset("mini").factor)))
    ]
    scale = next(r for r in rows("scales") if (r["layer"], r["direction"]) == ("layer4.1", "h"))
    assert (scale["mean"], scale["std"]) == ("1.25", "0.02")
    sizes = [r for r in rows("ap_by_size") if r["evaluation"] == DST]
    assert [(r["metric"], r["our_gain"], r["published_gain"]) for r in sizes] == [
        ("ap", "3.0", "1.9"),
        ("ap_small", "3.0", "3.3"),
        ("ap_medium", "3.0", "2.0"),
        ("ap_large", "3.0", "1.2"),
    ]
    # valid shares leave out the part without ranges
    name = "snip_drfcn_r50_7ep_snip"  # ranges start after 3/7 of 300 steps = 128.6
    fake.training(name, valid={"800": 0.8})
    lines = ["step,loss,valid_1400,valid_800,valid_480", "120,1,1,1,1", "140,1,0.9,0.9,0.9", "200,1,0.5,0.4,"]
    write_text(paths.history("mini", name), "\n".join([*lines, "300,1,0.7,,"]) + "\n")
    assert valid_shares(Results("mini"), name) == {"1400": pytest.approx(0.6), "800": 0.4}


def test_bytes_are_the_same_every_time_and_hold_no_date(fake):
    draw_figures("mini")  # of nothing
    assert rows("loss") == []
    fill(fake)
    pictures = []
    for _ in range(2):
        for draw in (draw_figures, draw_dst_figures, write_figures_page):
            draw("mini")
        pictures.append({path: path.read_bytes() for path in paths.index("mini").parent.rglob("*.png")})
    assert len(pictures[0]) > len(FIGURES) + 2
    assert pictures[0] == pictures[1]
    assert all(b"tIME" not in data and b"Software" not in data for data in pictures[0].values())


def test_statistics_figure(fake, tmp_path):
    split = {"objects": 3, "images": 2, "histogram_log2_relative_scale": {"edges": [-2.0, -1.0, 0.0], "counts": [2, 1]}}
    comparison = [
        {"name": "object_share_small", "wanted": 0.41, "tolerance": 0.03, "achieved": 0.4, "within": True},
        {"name": "relative_scale_q50", "wanted": 0.106, "tolerance": 0.016, "achieved": None, "within": False},
    ]
    path = tmp_path / "statistics.png"
    plot_statistics({"splits": {"train": split, "val": split}, "comparison": comparison}, path)
    assert path.with_suffix(".csv").read_text().splitlines() == [
        "kind,split,name,from,to,achieved,wanted,tolerance",
        "comparison,train,object_share_small,,,0.4,0.41,0.03",
        "comparison,train,relative_scale_q50,,,,0.106,0.016",
        *(
            f"histogram,{name},,{scales},{share}"
            for name in ("train", "val")
            for scales, share in (("0.25000,0.50000", "0.666667,,"), ("0.50000,1.00000", "0.333333,,"))
        ),
        # 90.97 % of COCO's boxes are below half their image's side; the first bin also counts what is smaller
        "histogram,COCO train2017,,0.25000,0.50000,0.9097,,",
        "histogram,COCO train2017,,0.50000,1.00000,0.0903,,",
    ]
    assert statistic_name("object_share_small") == "objects that are small"
    assert statistic_name("relative_scale_q90") == "relative scale, 90 % quantile"
