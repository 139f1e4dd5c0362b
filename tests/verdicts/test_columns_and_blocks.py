"""Rules of columns that are no AP: errors, counts, times; how many trainings stand behind a number."""

import pytest
from fake_results import read_csv

from pipeline import paths
from pipeline.files import write_json
from pipeline.published.columns import kind_of, name_of, sign_of
from pipeline.published.tables import load_published
from pipeline.reporting.context import spread_cell
from pipeline.reporting.tables import write_table
from pipeline.training.classification.crops import HELD_OUT
from pipeline.verdicts.comparison import judge_gain
from pipeline.verdicts.estimates import Spread, independent_sd, spread
from pipeline.verdicts.networks import network
from pipeline.verdicts.results import Results, load_experiment
from pipeline.verdicts.rule import judge_count, judge_ratio
from pipeline.verdicts.times import Ratio

DST = "dst_frcnn_r50_fpn_1x_dst"
PLAIN, PS = "psconv_cls_x29_8x64d_300ep", "psconv_cls_x29_8x64d_300ep_psconv"


def errors(name: str, *values: float, images: int = 1000) -> None:
    """Write a classifier's summary with the errors of its blocks."""
    about = {"experiment": name, "steps": 9, "val_images": images, "top5_error": 0.1}
    parts = [about | {"top1_error": value} for value in values]
    blocks = {"blocks": parts} if len(values) > 1 else {}
    write_json(paths.training_summary("mini", name), about | {"top1_error": sum(values) / len(values)} | blocks)


def test_every_column_of_every_table_has_a_kind_and_a_name():
    columns = {c for paper in paths.PAPERS for table in load_published(paper).tables for c in table.columns}
    kinds = {kind: sorted(c for c in columns if kind_of(c) == kind) for kind in ("error", "count", "time", "other")}
    assert kinds["error"] == ["top1_err", "top5_err"]
    assert kinds["count"] == ["gflops", "params_m"]
    assert kinds["time"] == ["hours", "ms_per_image"]
    assert all(c == "value" or c.startswith("scale_") or c.endswith("_std") for c in kinds["other"])
    assert (name_of("ap50_bottle"), name_of("params_m")) == ("AP50 bottle", "parameters, M")
    assert (sign_of("top1_err"), sign_of("ap_small"), sign_of("hours")) == (-1, 1, -1)


def test_a_lower_error_is_a_gain_and_its_interval_holds_blocks_and_test_images(fake):
    # Means 20.0 and 18.0 %: a gain of 2.0 points. Differences 2, 1 and 3: a deviation of 1 with 2 degrees of freedom;
    # images: 0.2 * 0.8 / 1000 + 0.18 * 0.82 / 1000 of the means as independent.
    errors(PLAIN, 0.19, 0.20, 0.21)
    errors(PS, 0.17, 0.19, 0.18)
    gain = judge_gain(Results("mini"), PS, PLAIN, "top1_err", 1.0)
    assert gain.ours == pytest.approx(0.02)
    images, trained = (0.20 * 0.80 + 0.18 * 0.82) / 1000, 0.01**2 / 3
    dof = int(2 * ((images + trained) / trained) ** 2)
    assert dof == 209
    assert gain.verdict.low == pytest.approx(0.02 - 1.9714 * (images + trained) ** 0.5, abs=1e-5)
    assert gain.verdict.word == "undecided"
    errors(PS, 0.07, 0.09, 0.08)
    assert judge_gain(Results("mini"), PS, PLAIN, "top1_err", 1.0).verdict.word == "agrees"
    assert judge_gain(Results("mini"), PS, PLAIN, "top1_err", -1.0).verdict.word == "contradicts"


def test_a_classifier_has_the_mean_of_its_blocks_and_the_crops_held_out_as_test_images(fake):
    errors(PLAIN, 0.19, 0.20, 0.24)
    assert Results("mini").metrics(PLAIN) == {"images": 1000, "top1_err": pytest.approx(0.21), "top5_err": 0.1}
    errors(PLAIN, 0.19)
    assert Results("mini").metrics(PLAIN)["top1_err"] == 0.19
    for crops in (10, 1234, 10_000):  # which is how many the classifier was given
        images = crops - int(crops * HELD_OUT)
        write_json(paths.training_summary("mini", PLAIN), {"experiment": PLAIN, "images": images, "top1_error": 0.2})
        assert Results("mini").metrics(PLAIN)["images"] == pytest.approx(crops * HELD_OUT, abs=1)
    write_json(paths.training_summary("mini", PLAIN), {"experiment": PLAIN, "top1_error": 0.2})
    assert Results("mini").metrics(PLAIN)["images"] is None
    errors(PLAIN, 0.20)  # one training decides nothing
    errors(PS, 0.05)
    gain = judge_gain(Results("mini"), PS, PLAIN, "top1_err", 1.0)
    assert (gain.ours, gain.verdict.word) == (pytest.approx(0.15), "undecided")
    assert "one training of each" in gain.verdict.sentence
    # test images of two networks count as independent
    ours, base = {"images": 100, "top1_err": 0.5}, {"images": 400, "top1_err": 0.2}
    assert independent_sd(ours, base, "top1_err") == pytest.approx((0.25 / 100 + 0.16 / 400) ** 0.5)
    assert independent_sd(ours, {"top1_err": 0.2}, "top1_err") is None


def test_the_table_of_errors_prints_gains_as_reductions(fake):
    errors(PLAIN, 0.19, 0.20, 0.21)
    errors(PS, 0.07, 0.08, 0.09)
    write_table("psconv_t6", "mini")
    rows = read_csv(paths.table("mini", "psconv_t6", "csv"))
    row = next(r for r in rows if r["row"] == "resnext29_8x64d__psconv" and r["metric"] == "top1_err")
    assert (row["published_gain"], row["our_gain"], row["verdict"]) == ("0.936", "12.0", "agrees")
    assert (row["blocks"], row["sd"]) == ("3", "1.00")
    page = paths.table("mini", "psconv_t6").read_text()
    assert "| 3: ± 1.0 | agrees; published size excluded |" in page
    assert "| 17.138 → 8.0 |" in page  # the mean, which the gain is of
    assert "bootstrap" not in page
    claim = next(r for r in rows if r["kind"] == "claim" and r["row"] == "psconv_c11_cifar_own")
    assert (claim["published_gain"], claim["our_gain"], claim["verdict"]) == ("0.936", "12.0", "contradicts")  # about 1


def test_the_spread_of_a_detector_is_over_its_blocks(fake):
    fake.evaluation(DST, 0.21)
    results = Results("mini")
    assert (spread(results, DST, "ap"), spread_cell(spread(results, DST, "ap"))) == (Spread((0.21,)), "1")
    blocks = [{"ap": 0.20}, {"ap": 0.22}, {"ap": None}, {"ap": 0.21}]
    write_json(paths.metrics("mini", DST), {"experiment": DST, "ap": 0.21, "blocks": blocks})
    own = spread(results, DST, "ap")
    assert (own.count, own.mean, own.sd) == (3, pytest.approx(0.21), pytest.approx(0.01))
    assert spread_cell(own) == "3: ± 1.0"
    assert spread(results, "snip_drfcn_r50_7ep_snip__ms_test", "ap") == Spread(())


@pytest.mark.parametrize(
    ("printed", "ours", "decimals", "word"),
    [
        (41.5, 41.527712, 1, "equal"),
        (43.9, 43.84644, 1, "close"),  # rounds to 43.8
        (25.557, 25.557032, 3, "equal"),
        (40.0, 41.0, 1, "differs"),
        (None, 41.0, 1, "not printed"),
        (40.0, None, 1, "not counted"),
    ],
)
def test_counts_are_equal_when_they_round_to_the_print(printed, ours, decimals, word):
    assert judge_count(printed, ours, decimals).word == word


@pytest.mark.parametrize(
    ("printed", "ours", "word"),
    [
        (1.70, (1.3, 1.2, 1.4), "agrees"),
        (1.01, (0.97, 0.96, 1.04), "agrees"),  # all within 5 % of 1
        (1.01, (0.97, 0.94, 1.04), "undecided"),  # a quartile is more than 5 % below 1
        (1.01, (1.20, 1.10, 1.30), "contradicts"),
        (0.6, (1.2, 1.1, 1.3), "contradicts"),
        (1.0, (1.0, None, None), "agrees"),  # exact
        (1.7, None, "not timed"),
        (None, (1.0, None, None), "not printed"),
        (None, None, "no baseline"),
    ],
)
def test_times_are_compared_by_the_side_of_one_that_their_ratio_lies_on(printed, ours, word):
    assert judge_ratio(printed, ours and Ratio(*ours, "Timed.")).word == word


def test_counts_of_networks_stand_beside_the_printed_ones(fake):
    rows = [
        {"name": "a", "network": network(load_experiment("msfm_frcnn_r50_fpn_1x")), "parameters": 41_527_712},
        {"name": "b", "network": network(load_experiment("msfm_frcnn_r50_fpn_1x_msfm")), "parameters": 43_846_440},
    ]
    write_json(paths.metrics("mini", "identities"), {"rows": rows})
    write_table("msfm_t4", "mini")
    page = paths.table("mini", "msfm_t4").read_text()
    assert "| Faster R-CNN | parameters, M | 41.5 | 41.528 |  |  | equal |" in page
    assert "| Faster R-CNN* | parameters, M | 43.9 | 43.846 | 1.06x | 1.06x | close |" in page
    assert "| RetinaNet | parameters, M | 37.7 |  |  |  | not counted |" in page
    lines = read_csv(paths.table("mini", "msfm_t4", "csv"))
    claims = [r for r in lines if r["kind"] == "claim" and r["metric"] == "params_m"]
    assert (claims[0]["published_gain"], claims[0]["our_gain"], claims[0]["verdict"]) == ("2.4", "2.319", "agrees")
    assert claims[1]["verdict"] == "cannot be checked here"
    dynamic, cascade = (network(load_experiment(f"msfm_{name}_rcnn_r50_fpn_1x")) for name in ("dynamic", "cascade"))
    assert dynamic["detector"] == "faster_rcnn"  # the same network, trained dynamically
    assert cascade["detector"] == "cascade_rcnn"


def test_a_table_of_classifiers_says_what_they_saw(fake):
    summary = {"steps": 1300, "batch": 48, "images": 9000, "top1_error": 0.05, "top5_error": 0.01}
    write_json(paths.training_summary("mini", PLAIN), {"experiment": PLAIN, **summary})
    write_table("psconv_t6", "mini")
    page = paths.table("mini", "psconv_t6").read_text()
    sentence = "- Classifiers of 9,000 training images, judged on others held out; 1,300 steps of 48 images.\n"
    assert sentence in page
    assert "Nothing evaluated yet" not in page
    write_json(paths.training_summary("mini", PS), {"experiment": PS, **summary, "steps": 900, "val_images": 500})
    write_table("psconv_t6", "mini")
    page = paths.table("mini", "psconv_t6").read_text()
    assert "- Classifiers of 9,000 training images and 500 test images; 900 to 1,300 steps of 48 images.\n" in page
