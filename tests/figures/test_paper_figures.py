"""Figures of the papers beyond the quickstart: their data by hand, and what is said where there is none."""

from fake_results import read_csv

from pipeline import paths
from pipeline.files import write_json, write_text
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
    # pictures of other stages lead to their data, and wait until they are drawn
    for name in ("statistics", "dst_threshold"):
        write_text(paths.figure("mini", name), "a picture")
    write_figures_page("mini")
    page = (FOLDER_OF / "README.md").read_text()
    assert "PS-ResNet-50\n\nWaits for psconv_cls_r50_120ep_cos_psconv: not run under this preset.\n" in page
    assert "![SNIP, figure 1: object sizes](../figures/statistics.png)\n\n[Data](../figures/statistics.csv)." in page
    assert "[Data](../figures/dst_threshold.csv)." in page


def test_the_printed_example_of_a_decomposition(fake):
    write_figures_page("mini")
    found = [tuple(row.values())[1:] for row in data("pod_f3")]
    assert found == [("1.7", "2.9", "100"), ("1", "2", "20"), ("2", "3", "80")]  # alpha is (0.7 + 0.9) / 2


def test_speed_and_accuracy_of_pod(fake):
    fake.evaluation("pod_frcnn_r50_c4_2x", 0.30)
    fake.evaluation("pod_frcnn_r50_c4_1x_fd_wt", 0.35)
    fake.size("pod_frcnn_r50_c4_1x_fd_wt", 9, 2_500_000_000)
    write_table("pod_t5", "mini")
    write_figures_page("mini")
    rows = {row["experiment"]: row for row in data("pod_f1")}
    base, tuned = rows["pod_frcnn_r50_c4_2x"], rows["pod_frcnn_r50_c4_1x_fd_wt"]
    assert (base["published_ms"], base["published_ap"], base["ap"], base["macs_g"]) == ("158.0", "37.0", "30.0", "")
    assert (tuned["published_ms"], tuned["published_ap"], tuned["ap"]) == ("159.0", "40.0", "35.0")
    assert float(tuned["macs_g"]) == 2.5
    assert (FOLDER_OF / "pod_f1.png").read_bytes().startswith(b"\x89PNG")
    # one network of a detector makes no figure
    paths.metrics("mini", "pod_frcnn_r50_c4_2x").unlink()
    fake.evaluation("pod_frcnn_r50_fpn_1x_fd_wt", 0.35)
    write_table("pod_t5", "mini")
    write_figures_page("mini")
    assert not (FOLDER_OF / "pod_f1.png").exists()
    assert "Waits for two networks of a detector in pod_t5" in (FOLDER_OF / "README.md").read_text()


def test_learnt_scales_of_all_detectors(fake):
    fake.scales("pod_frcnn_r50_fpn_1x_gsl", 0.25)
    fake.scales("pod_retinanet_r50_fpn_1x_gsl", -0.5)
    write_figures_page("mini")
    rows = data("pod_f6")
    means = {(row["experiment"], row["direction"]): row["mean"] for row in rows}
    assert means["pod_retinanet_r50_fpn_1x_gsl", "h"] == "0.5"
    assert means["pod_frcnn_r50_fpn_1x_gsl", "h"] == "1.25"
    assert len(rows) == 2 * 6 * 2


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
    assert {row["sd"] for row in data("snip_recall")} == {""}  # one training
    blocks = [{key: value + shift for key, value in recalls.items()} for shift in (-0.12, 0.0, 0.12)]
    write_json(paths.metrics("mini", name), {"experiment": name, "images": 9, "ar": 0.5, **recalls, "blocks": blocks})
    write_table("snip_t3", "mini")
    write_figures_page("mini")
    assert {row["sd"] for row in data("snip_recall")} == {"", "12.00"}


def test_accuracy_by_resolution(fake):
    name = "snip_cls_r101_cnn_b"
    found = {"48": {"top1_error": 0.6}, "224": {"top1_error": 0.25}}
    write_json(paths.training_summary("mini", name), {"experiment": name, "resolutions": found})
    write_figures_page("mini")
    assert [(row["side"], row["top1_accuracy"]) for row in data("snip_f4")] == [("48", "40.0"), ("224", "75.0")]
    assert "![SNIP, figure 4: resolutions](snip_f4.png)" in (FOLDER_OF / "README.md").read_text()
