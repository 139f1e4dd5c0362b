"""Figures of the papers beyond the quickstart: their data by hand, and what is said where there is none."""

from fake_results import read_csv

from pipeline import paths
from pipeline.files import write_json, write_text
from pipeline.reporting.figures.msfm import labelled
from pipeline.reporting.figures.pod import ours_of
from pipeline.reporting.figures_page import FIGURES, FOLDER, write_figures_page
from pipeline.reporting.tables import write_table

FOLDER_OF = paths.index("mini").with_name(FOLDER)


def data(name: str) -> list[dict[str, str]]:
    return read_csv(FOLDER_OF / f"{name}.csv")


def test_without_results_no_picture_of_them_is_drawn_and_the_page_says_what_it_waits_for(fake):
    write_figures_page("mini")
    assert sorted(path.name for path in FOLDER_OF.iterdir()) == ["README.md", "pod_f3.csv", "pod_f3.png"]
    page = (FOLDER_OF / "README.md").read_text()
    assert page.count("Waits for") == len(FIGURES) - 1
    assert "Waits for the classifiers snip_cls_*: not run under this preset." in page
    # pictures of other stages lead to their data, and wait until these hold enough: a third threshold
    write_text(paths.figure("mini", "statistics").with_suffix(".csv"), "kind,split\nhistogram,val\n")
    thresholds = "experiment,threshold,ap\na,0.0,20.0\nb,0.1,21.0\nc,0.2,{}\n"
    write_text(paths.figure("mini", "dst_threshold").with_suffix(".csv"), thresholds.format(""))
    write_figures_page("mini")
    assert "figures/dst_threshold" not in (FOLDER_OF / "README.md").read_text()
    write_text(paths.figure("mini", "dst_threshold").with_suffix(".csv"), thresholds.format("22.0"))
    write_figures_page("mini")
    page = (FOLDER_OF / "README.md").read_text()
    assert "PS-ResNet-50\n\nWaits for psconv_cls_r50_120ep_cos_psconv: not run under this preset.\n" in page
    assert "![SNIP, figure 1: object sizes](../figures/statistics.png)\n\n[Data](../figures/statistics.csv)." in page
    assert "[Data](../figures/dst_threshold.csv)." in page


def test_the_printed_example_of_a_decomposition(fake):
    write_figures_page("mini")
    found = [tuple(row.values())[1:] for row in data("pod_f3")]
    assert found == [("1.7", "2.9", "100"), ("1", "2", "20"), ("2", "3", "80")]  # alpha is (0.7 + 0.9) / 2


def test_gain_and_cost_of_pod(fake):
    fake.evaluation("pod_frcnn_r50_c4_2x", 0.30)
    fake.evaluation("pod_frcnn_r50_c4_1x_fd_wt", 0.35)
    fake.scales("pod_frcnn_r50_c4_1x_gsl", 0.25)
    fake.size("pod_frcnn_r50_c4_2x", 9, 2_500_000_000)
    fake.size("pod_frcnn_r50_c4_1x_fd_wt", 9, 2_000_000_000)
    fake.noise()
    write_table("pod_t5", "mini")
    write_figures_page("mini")
    rows = {row["evaluation"]: row for row in data("pod_f1")}
    assert len(rows) == 6  # FD and FD-WT of three detectors
    tuned = rows["pod_frcnn_r50_c4_1x_fd_wt"]
    assert (tuned["detector"], tuned["method"]) == ("Faster R-CNN C4", "FD-WT")
    assert (tuned["published_time_ratio"], tuned["macs_ratio"]) == ("1.0063", "0.8")  # 159 ms over 158, 2.0 G over 2.5
    assert (tuned["published_gain"], tuned["our_gain"], tuned["low"], tuned["high"]) == ("3.0", "5.0", "3.0", "7.0")
    untimed = rows["pod_frcnn_r50_fpn_2x_fd"]  # table 4 times none with a pyramid
    assert (untimed["published_time_ratio"], untimed["published_gain"], untimed["our_gain"]) == ("", "1.7", "")
    # a network without its baseline makes no figure
    paths.metrics("mini", "pod_frcnn_r50_c4_2x").unlink()
    write_table("pod_t5", "mini")
    write_figures_page("mini")
    assert not (FOLDER_OF / "pod_f1.png").exists()
    assert "Waits for a detector of pod_t5 with its baseline" in (FOLDER_OF / "README.md").read_text()


def test_learnt_scales_lie_beside_the_printed_ones(fake):
    fake.scales("pod_frcnn_r50_fpn_1x_gsl", 0.25)
    fake.scales("pod_retinanet_r50_fpn_1x_gsl", -0.5)
    write_figures_page("mini")
    rows = data("pod_f6")
    means = {(row["experiment"], row["direction"], row["whose"], row["place"]): row["mean"] for row in rows}
    assert means["pod_retinanet_r50_fpn_1x_gsl", "h", "ours", "0.0"] == "0.5"
    last = ("pod_frcnn_r50_fpn_1x_gsl", "h")  # of conv5_x: ours layer4.1, printed r53
    assert (means[*last, "ours", "5.0"], means[*last, "published", "5.0"]) == ("1.25", "2.81")
    assert len(rows) == 2 * 6 * (2 + 3)  # directions, blocks, ours of two detectors and the printed three


def test_blocks_of_a_stage_lie_evenly_between_its_first_and_its_last():
    layer = {"mean_h": 1.0, "std_h": 0.0}
    found = ours_of(dict.fromkeys(["layer3.10", "layer3.2", "layer3.0", "layer4.0"], layer), "h")
    assert [(cells["layer"], cells["place"]) for cells in found] == [
        ("layer3.0", 2.0),
        ("layer3.2", 2.5),
        ("layer3.10", 3.0),
        ("layer4.0", 4.0),
    ]


def test_ablations_and_recall(fake):
    fake.evaluation("msfm_frcnn_r50_fpn_1x", 0.20)
    fake.evaluation("msfm_frcnn_r50_fpn_1x_msfm_pos3_s4_r16_32_64_g16_c1_add", 0.23)
    fake.noise()
    name = "snip_rpn_r50_6ep_snip_conv45_7anchor"
    recalls = {f"recall50_{size}": value for size, value in (("0_25", 0.6), ("25_50", 0.7), ("50_100", 0.8))}
    write_json(paths.metrics("mini", name), {"experiment": name, "images": 9, "ar": 0.5, **recalls})
    for table in ("msfm_t2_scales", "snip_t3"):
        write_table(table, "mini")
    write_figures_page("mini")
    row = next(row for row in data("msfm_ablations") if row["row"] == "scales_4")
    assert (row["published_gain"], row["our_gain"], row["low"], row["high"]) == ("1.6", "3.0", "1.0", "5.0")
    found = {(row["row"], row["metric"]): row["ours"] for row in data("snip_recall")}
    assert found["rpn_r50__snip", "recall50_25_50"] == "70.0"
    assert {row["low"] for row in data("snip_recall")} == {""}  # one training
    shifts = (-0.1, -0.1, 0.0, 0.0, 0.1, 0.1)
    blocks = [{key: value + shift for key, value in recalls.items()} for shift in shifts]
    write_json(paths.metrics("mini", name), {"experiment": name, "images": 9, "ar": 0.5, **recalls, "blocks": blocks})
    write_json(paths.bootstrap("mini", name), {"draws": 2, **{key: [value] * 2 for key, value in recalls.items()}})
    write_table("snip_t3", "mini")
    write_figures_page("mini")
    row = next(row for row in data("snip_recall") if (row["row"], row["metric"]) == ("rpn_r50__snip", "recall50_25_50"))
    # deviation sqrt(0.04 / 5) = 0.0894 of six trainings, t of 5 degrees 2.571: 9.4 points to each side
    assert (row["published"], row["ours"], row["low"], row["high"]) == ("95.1", "70.0", "60.6", "79.4")


def test_rows_of_ablations_are_named_by_what_they_vary():
    factors = {"ratios": [8, 16, 32], "position": ["after_conv2", "after_conv3"], "conv_num": "2*"}
    assert labelled(factors, ("ratios", "position")) == "8, 16, 32; after conv2, conv3"
    assert labelled(factors, ("conv_num",)) == "2*"


def test_accuracy_by_resolution(fake):
    name = "snip_cls_r101_cnn_b"
    found = {"48": {"top1_error": 0.6}, "224": {"top1_error": 0.25}}
    write_json(paths.training_summary("mini", name), {"experiment": name, "resolutions": found})
    write_figures_page("mini")
    assert [(row["side"], row["top1_accuracy"]) for row in data("snip_f4")] == [("48", "40.0"), ("224", "75.0")]
    assert "![SNIP, figure 4: resolutions](snip_f4.png)" in (FOLDER_OF / "README.md").read_text()
