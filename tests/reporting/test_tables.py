"""Cells of tables computed by hand, and which verdict each situation wires to."""

import re
from functools import partial

import pytest
from fake_results import read_csv
from fake_results import table_line as line
from msgspec.structs import replace

from pipeline import config, paths
from pipeline.differences import of_recipe
from pipeline.errors import InputError
from pipeline.files import read_json, write_json
from pipeline.published import tables as published
from pipeline.published.rows import load_rows
from pipeline.published.tables import load_published
from pipeline.reporting.tables import write_table
from pipeline.verdicts.comparison import METRICS, metrics_of
from pipeline.verdicts.lengths import times_images
from pipeline.verdicts.results import Results
from pipeline.verdicts.table_lines import methods_of

DST, BASE = "dst_frcnn_r50_fpn_1x_dst", "dst_frcnn_r50_fpn_1x"


def lines(table: str, place=paths.table) -> list[dict[str, str]]:
    return read_csv(place("mini", table, "csv"))


def text(table: str, place=paths.table) -> str:
    return place("mini", table).read_text()


def test_gain_interval_and_verdict_by_hand(fake):
    # t(0.975, 4) = 2.7764; equal replicates leave the noise of trainings alone: 2.7764 * sqrt(2) * 0.005 = 1.96 points
    fake.dst(gain=0.03)
    fake.noise(sd=0.005, dof=4)
    write_table("dst_t2", "mini")
    row = line("dst_t2", "frcnn_r50_fpn_1x__dst")
    assert (row["published"], row["ours"], row["published_gain"], row["our_gain"]) == ("38.6", "23.0", "1.9", "3.0")
    assert (row["low"], row["high"], row["verdict"]) == ("1.0", "5.0", "agrees")
    cells = f"| Ours (R50)<br>`{DST}` | 38.6 → 23.0 | 24.4 → 23.0 | 41.9 → 23.0 | 49.3 → 23.0 "
    assert f"{cells}| +1.9 | +3.0 [+1.0, +5.0] | 5: ± 1.1 | agrees; compatible with the published size |\n" in text(
        "dst_t2"
    )
    # replicates are paired draw by draw:
    # differences 0.02, 0.04, 0.02, 0.04: variance 133.3e-6, of trainings 50e-6, together 183.3e-6; 4 * (183.3 / 50)^2
    # is 53 degrees of freedom, t = 2.0057: 2.72 points
    fake.evaluation(BASE, 0.20, (0.1, -0.1, 0.05, 0.0))
    fake.evaluation(DST, 0.23, (0.09, -0.09, 0.04, 0.01))
    write_table("dst_t2", "mini")
    row = line("dst_t2", "frcnn_r50_fpn_1x__dst")
    assert (row["low"], row["high"], row["verdict"]) == ("0.3", "5.7", "agrees")


def dst_with(fake, gain: float = 0.10, **options) -> None:
    fake.dst(gain, **options)
    fake.noise()


def unmeasured(fake) -> None:
    fake.dst(gain=0.10)


def weak(fake) -> None:
    dst_with(fake)
    fake.evaluation(BASE, 0.05, ap50=0.19)


def decomposed(fake, shift: float) -> None:
    fake.evaluation("pod_frcnn_r50_fpn_1x", 0.20)
    fake.evaluation("pod_frcnn_r50_fpn_1x_fd", 0.25)
    fake.scales("pod_frcnn_r50_fpn_1x_gsl", shift)
    fake.noise()


def snip(fake, share: float) -> None:
    fake.evaluation("snip_drfcn_r50_7ep_single_scale__ms_test", 0.20)
    fake.evaluation("snip_drfcn_r50_7ep_snip__ms_test", 0.25)
    fake.training("snip_drfcn_r50_7ep_snip", valid=dict.fromkeys(("1400", "800", "480"), share))
    fake.noise()


ROWS = {"dst": "frcnn_r50_fpn_1x__dst", "pod": "frcnn_r50_fpn_1x__fd", "snip": "r50__snip"}


@pytest.mark.parametrize(
    ("prepare", "table", "verdict"),
    [
        (partial(dst_with, gain=-0.05), "dst_t2", "contradicts"),
        (unmeasured, "dst_t2", "undecided"),
        (lambda fake: None, "dst_t2", "not run"),
        (weak, "dst_t2", "undertrained"),
        *((partial(dst_with, collage=share), "dst_t2", "inactive") for share in (None, 0.0, 1 / 300)),
        *((partial(decomposed, shift=s), "pod_t2", word) for s, word in ((0.04, "inactive"), (0.06, "agrees"))),
        *((partial(snip, share=s), "snip_t2", w) for s, w in ((0.0, "inactive"), (1.0, "inactive"), (0.5, "agrees"))),
    ],
)
def test_each_situation_has_its_verdict(fake, prepare, table, verdict):
    prepare(fake)
    write_table(table, "mini")
    assert line(table, ROWS[table.split("_")[0]])["verdict"] == verdict


def test_rows_without_a_result_read_not_run(fake):
    write_table("dst_t2", "mini")
    assert f"| Ours (R50)<br>`{DST}` | 38.6 → not run |" in text("dst_t2")
    assert "**No compared row was run** (of 8)." in text("dst_t2")
    unmeasured(fake)  # unknown noise leaves a gain without an interval
    write_table("dst_t2", "mini")
    row = line("dst_t2", "frcnn_r50_fpn_1x__dst")
    assert (row["our_gain"], row["low"], "one training of each" in row["why"]) == ("10.0", "", True)
    write_table("dst_t2", "mini", headline=True)
    headline = text("dst_t2", paths.headline)
    assert "7 further rows of this table are not in the headline" in headline
    assert "**0 of 1 compared row decided** (by AP); 1 not run." in headline
    assert len([x for x in lines("dst_t2", paths.headline) if x["kind"] == "not run"]) == 7


def test_what_is_missing_is_said(fake):
    dst_with(fake, ap_small=None)
    write_table("dst_t2", "mini")
    row = line("dst_t2", "frcnn_r50_fpn_1x__dst", "ap_small")
    assert (row["ours"], row["our_gain"], row["verdict"]) == ("", "", "n/a")
    assert "24.4 → n/a" in text("dst_t2")
    # without the training's summary nothing is decided
    paths.training_summary("mini", DST).unlink()
    write_table("dst_t2", "mini")
    row = line("dst_t2", "frcnn_r50_fpn_1x__dst")
    assert row["verdict"] == "undecided"
    assert "metrics/dst_frcnn_r50_fpn_1x_dst_training.json is missing" in row["why"]


@pytest.fixture
def without_longer(monkeypatch):
    """A headline of POD's table 5 without its printed baseline, the one at 2x."""
    rows = load_rows("pod")
    short = {"pod_t5": ("pod_frcnn_r50_fpn_1x", "pod_frcnn_r50_fpn_1x_fd_wt")}
    monkeypatch.setattr(published, "load_rows", lambda _: replace(rows, headline=short))


def fd_wt_over(fake, baseline: str, ap: float) -> dict[str, str]:
    """Write the headline of POD's table 5 with FD-WT at 25 AP, and return its line."""
    fake.evaluation(baseline, ap)
    fake.evaluation("pod_frcnn_r50_fpn_1x_fd_wt", 0.25)
    fake.scales("pod_frcnn_r50_fpn_1x_gsl", 0.3)
    fake.noise()
    write_table("pod_t5", "mini", headline=True)
    return line("pod_t5", "frcnn_r50_fpn_1x__fd_wt", place=paths.headline)


@pytest.mark.usefixtures("without_longer")
def test_a_stand_in_baseline_can_decide_but_not_agree(fake):
    row = fd_wt_over(fake, "pod_frcnn_r50_fpn_1x", 0.20)
    assert (row["baseline"], row["published_gain"], row["verdict"]) == ("pod_frcnn_r50_fpn_1x", "1.6", "decided up")
    assert "another baseline" in row["why"]
    page = text("pod_t5", paths.headline)
    assert "(pod_frcnn_r50_fpn_2x) is not run here; `pod_frcnn_r50_fpn_1x` stands in for it" in page
    assert "baseline (stand-in)<br>`pod_frcnn_r50_fpn_1x` | n/a → 20.0" in page
    (method,) = methods_of("mini", ["pod_t5"], headline=True)
    assert (method.name, method.stand_in) == ("POD FD-WT (over a stand-in baseline)", True)


def test_the_headlines_fd_wt_is_compared_with_a_baseline_trained_as_long(fake):
    row = fd_wt_over(fake, "pod_frcnn_r50_fpn_2x", 0.24)
    assert (row["baseline"], row["our_gain"], row["verdict"]) == ("pod_frcnn_r50_fpn_2x", "1.0", "undecided")


def test_a_table_says_that_method_and_baseline_saw_different_numbers_of_images(fake):
    fd_wt, gsl, base = "pod_frcnn_r50_fpn_1x_fd_wt", "pod_frcnn_r50_fpn_1x_gsl", "pod_frcnn_r50_fpn_2x"
    for name, images in ((fd_wt, 1200), (gsl, 1200), (base, 2400)):
        fake.training(name, images=images)
    fd_wt_over(fake, base, 0.24)
    assert "Unequal lengths" not in text("pod_t5", paths.headline)
    fake.training(base, images=1800)
    fd_wt_over(fake, base, 0.24)
    sentence = (
        f"- Unequal lengths: the trainings behind `{fd_wt}` saw 2,400 images (1,200 of them in `{gsl}`, which gives "
    )
    sentence += f"scales and weights), those behind its baseline `{base}` 1,800.\n"
    assert sentence in text("pod_t5", paths.headline)
    fd = "pod_frcnn_r50_fpn_1x_fd"
    for name in (fd, "pod_frcnn_r50_fpn_1x"):
        fake.training(name, images=1200)
        fake.evaluation(name, 0.2)
    write_table("pod_t2", "mini", headline=True)
    assert f"`{fd}` saw 2,400 images (1,200 of them in `{gsl}`, which gives only scales)" in text(
        "pod_t2", paths.headline
    )
    results = Results("mini")
    assert times_images(results, fd_wt, base) == 2400 / 1800  # its weights were GSL's
    assert times_images(results, fd, "pod_frcnn_r50_fpn_1x") == 1  # its scales alone were
    assert times_images(results, fd, "dst_frcnn_r50_fpn_1x") is None


def test_parameters_stand_beside_the_published_ones(fake):
    base, msfm = "msfm_frcnn_r50_fpn_1x", "msfm_frcnn_r50_fpn_1x_msfm"
    fake.evaluation(base, 0.20)
    fake.evaluation(msfm, 0.25)
    fake.size(base, 2_000_000, 1_000_000_000)
    fake.size(msfm, 2_200_000, 1_150_000_000)
    write_table("msfm_t4", "mini")
    assert f"| Faster R-CNN*<br>`{msfm}` | 43.9 | 2.200 | 1.10x | 1.150 | 1.15x |" in text("msfm_t4")
    assert line("msfm_t4", "frcnn_r50_fpn_1x__msfm", "macs_ratio", "cost")["ours"] == "1.15"
    # a test at three resolutions costs their pixels
    name = "snip_drfcn_r50_7ep_single_scale"
    fake.size(name, 2_000_000, 1_000_000_000)
    write_table("snip_t2", "mini")
    # (1400^2 + 800^2 + 480^2) / 800^2
    assert line("snip_t2", "r50__ms_test", "macs_ratio", "cost")["ours"] == "4.42"


def test_scales_table_takes_first_and_last_block_that_exist(fake):
    fake.scales("pod_frcnn_r50_fpn_1x_gsl", 0.25)
    write_table("pod_t3", "mini", headline=True)
    page = text("pod_t3", paths.headline)
    assert "2 further rows of this table are not in the headline" in page
    row = next(line for line in page.splitlines() if line.startswith("| R34 | layer2.1 |"))
    assert row.endswith("| 1.19 ± 0.01 → 1.25 ± 0.02 | 1.15 ± 0.01 → 1.00 ± 0.01 |")  # behind those on C4 features
    write_table("pod_t3", "mini")
    row = line("pod_t3", "frcnn_r50_fpn_train_h", "scale_r53", "scale")
    assert (row["published"], row["ours"], row["why"], row["verdict"]) == ("2.81", "1.25", "layer4.1", "moved")


def test_a_scale_near_0_is_named_on_the_page_of_scales(fake):
    name = "pod_frcnn_r50_fpn_1x_gsl"
    fake.scales(name, 0.25)
    scales = read_json(paths.scales("mini", name))
    write_json(paths.scales("mini", name), scales | {"near_zero": ["layer3.1 height", "layer4.0 width"]})
    write_table("pod_t3", "mini")
    near = "**Near 0**, so that its convolution sees one tap of three: layer3.1 height and layer4.0 width.\n"
    assert near in text("pod_t3")


def test_preset_sizes_and_differences_stand_beside_the_table(fake):
    fake.evaluation("snip_drfcn_r50_7ep_single_scale", 0.2)
    fake.training("snip_drfcn_r50_7ep_single_scale")
    write_table("snip_t2", "mini")
    assert "These are **mini numbers**" in text("snip_t2")
    preset = config.load_preset("mini")
    sides = [round(side * preset.factor) for side in (480, 800, 1400)]
    wanted = f"300 validation images; short side {sides[0]}, {sides[1]} and {sides[2]} px; 300 training steps of "
    assert f"{wanted}{preset.training.batch} images" in text("snip_t2")
    shared = re.search(
        r"Differs from the paper: recipe `snip`, in (\d+) points \(docs/differences.md\)", text("snip_t2")
    )
    assert int(shared[1]) > len(of_recipe("snip_drfcn_r50_7ep_single_scale", "snip")) > 2  # SNIP's own differences too
    with pytest.raises(InputError, match="did you mean 'dst_t2'"):
        write_table("dst_t22", "mini")


MASK_BASE, MASK_DST = "dst_mask_rcnn_r50_fpn_1x", "dst_mask_rcnn_r50_fpn_1x_dst"


def test_printed_mask_ap_stands_beside_our_mask_ap(fake):
    # Masks have 25.0 and 28.0, boxes 10.0 more.
    masks = {f"mask_{name}": 0.25 for name in METRICS}
    fake.evaluation(MASK_BASE, 0.35, **masks)
    fake.evaluation(MASK_DST, 0.38, **dict.fromkeys(masks, 0.28))
    fake.training(MASK_BASE)
    fake.training(MASK_DST, 0.4)
    write_table("dst_t9", "mini")
    row = line("dst_t9", "mask_rcnn_r50_fpn_1x__dst", "mask_ap")
    assert (row["published"], row["ours"], row["published_gain"], row["our_gain"]) == ("35.1", "28.0", "0.8", "3.0")
    assert row["verdict"] == "undecided"  # one training of each
    fake.noise()
    write_table("dst_t9", "mini")
    row = line("dst_t9", "mask_rcnn_r50_fpn_1x__dst", "mask_ap")
    assert (row["low"], row["high"], row["verdict"]) == ("1.0", "5.0", "agrees")
    assert {entry["metric"] for entry in lines("dst_t9") if entry["kind"] == "row"} == set(masks)
    claim = next(entry for entry in lines("dst_t9") if entry["kind"] == "claim")
    assert (claim["metric"], claim["our_gain"]) == ("mask_ap", "3.0")
    page = text("dst_t9")
    assert "| Row | mask AP | mask AP small | mask AP medium | mask AP large | Published gain" in page
    assert f"| Ours (R50)<br>`{MASK_DST}` | 35.1 → 28.0 | 17.0 → 28.0 |" in page
    assert "(by mask AP)" in page
    assert "Printed but not compared" not in page
    for name in (MASK_BASE, MASK_DST):  # a baseline of masks is undertrained by its masks
        fake.evaluation(name, 0.5, **dict.fromkeys(masks, 0.19))
    write_table("dst_t9", "mini")
    assert line("dst_t9", "mask_rcnn_r50_fpn_1x__dst", "mask_ap")["verdict"] == "undertrained"
    assert metrics_of(load_published("psconv").table("psconv_t7")) == (*METRICS, *masks)
    assert metrics_of(load_published("msfm").table("msfm_t5")) == tuple(masks)
    assert metrics_of(load_published("dst").table("dst_t2")) == METRICS
