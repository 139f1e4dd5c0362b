"""Claims by hand: parts from the tables' checks, readings of results, and which verdict a claim takes of its parts."""

import pytest
from fake_results import read_csv

from pipeline import paths
from pipeline.files import write_json
from pipeline.published.bounds import Bound
from pipeline.published.tables import load_published
from pipeline.reporting.claims_page import Entry, by_size, entries_of, write_claims
from pipeline.reporting.tables import write_table
from pipeline.verdicts.claim_checks import claimed_gain
from pipeline.verdicts.claim_numbers import NUMBERS, number, rank_correlation
from pipeline.verdicts.claims import LABELS, Part, judge_claims, readings
from pipeline.verdicts.networks import one_here
from pipeline.verdicts.results import Results, load_experiment
from pipeline.verdicts.rule import CLAIM_WORDS, Verdict, Word, judge_bound, worst

GSL = "pod_frcnn_r50_fpn_1x_gsl"


def claim(paper: str, name: str) -> list[Part]:
    return judge_claims(Results("mini"), paper)[name]


def test_every_claim_has_a_check_or_a_reading_and_readings_name_claims_rows_and_tests_that_exist():
    claims = {c.id: c for paper in paths.PAPERS for c in load_published(paper).claims}
    assert len(claims) == 123
    unchecked = {name for name, found in claims.items() if not found.check}
    assert unchecked <= set(readings()) <= set(claims)
    every = [(name, reading) for name, found in readings().items() for reading in found]
    assert {reading.number for _, reading in every if reading.number} == set(NUMBERS)
    for name, reading in every:
        cells = [*reading.gains, *(f"{row}/{best.metric}" for best in reading.best for row in best.rows)]
        pairs = [*reading.pairs, *(pair for margin in reading.margins for pair in (margin.larger, margin.smaller))]
        for evaluation in (one for pair in pairs for one in (pair.of, pair.over)):
            assert paths.experiment_file(paths.split_evaluation(evaluation)[0]).is_file(), (name, evaluation)
        published = load_published(name.split("_")[0])
        for cell in cells:
            table, row, column = cell.split("/")
            assert column in published.table(table).columns
            assert published.table(table).row(row) is not None, cell
        for word in reading.reason.replace(",", " ").split():
            if word.startswith("tests/"):
                assert (paths.ROOT / word).is_file(), (name, word)


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        ("holds, contradicted, undecided", "contradicted"),
        ("holds, undecided, not run", "undecided"),
        ("holds, not run", "not run"),
        ("holds, cannot be checked here", "holds"),
        ("cannot be checked here", "cannot be checked here"),
    ],
)
def test_a_claim_takes_the_worst_of_its_parts(words, verdict):
    assert worst(map(Word, words.split(", "))) == verdict


def test_a_gain_decided_as_printed_holds_and_the_other_way_contradicts(fake):
    name, base = "dst_frcnn_r50_fpn_1x_dst", "dst_frcnn_r50_fpn_1x_ms_train_600_1000"
    fake.dst(gain=0.05)  # above the 2 that are claimed, by an interval of 2 to either side
    fake.evaluation(base, 0.21)
    fake.noise()
    write_table("dst_t2", "mini")
    found = claim("dst", "dst_c27_beats_ms_m")
    small = next(p for p in found if p.what == "AP small, frcnn_r50_fpn_1x__dst")
    assert (small.published, small.ours, small.verdict) == ("+2.4", "+4.0 [+2.0, +6.0]", "holds")
    assert small.sources == ("tables/dst_t2.md",)
    assert claim("dst", "dst_c1_abstract")[0].verdict == "holds"
    fake.evaluation(name, 0.10)
    write_table("dst_t2", "mini")
    found = claim("dst", "dst_c27_beats_ms_m")
    assert worst(part.verdict for part in found) == "contradicted"
    assert claim("dst", "dst_c1_abstract")[0].verdict == "contradicted"


def test_without_noise_nothing_holds_and_without_results_nothing_was_run(fake):
    write_table("dst_t2", "mini")
    assert claim("dst", "dst_c1_abstract")[0].verdict == "not run"
    fake.dst(gain=0.05)
    write_table("dst_t2", "mini")
    assert claim("dst", "dst_c1_abstract")[0].verdict == "undecided"
    write_table("psconv_t6", "mini")  # quoted numbers cannot be checked
    found = claim("psconv", "psconv_c10_cifar_official")[0]
    assert found.verdict == "cannot be checked here"
    assert "quoted" in found.why


def test_gains_over_stand_ins_check_what_the_paper_quotes(fake):
    fake.evaluation("pod_retinanet_r101_fpn_2_5x_scale_jitter", 0.20)
    fake.evaluation("pod_retinanet_r101_fpn_1_5x_fd_wt_scale_jitter", 0.25)
    fake.scales("pod_retinanet_r101_fpn_1x_gsl", 0.25)
    fake.noise()
    write_table("pod_t1", "mini")
    quoted, found = claim("pod", "pod_c1_onestage_gain")
    assert quoted.verdict == "cannot be checked here"
    assert (found.published, found.ours, found.verdict) == ("+2.4", "+5.0 [+3.0, +7.0]", "holds")
    assert claim("pod", "pod_c2_twostage_gain_abstract")[0].verdict == "not run"


@pytest.mark.parametrize(
    (
        "gain",
        "verdict",
    ),  # at most 0.8 points; t(0.975, 4) sqrt(2) 0.1 is an interval of 0.39 to either side
    [(0.002, "holds"), (0.008, "undecided"), (0.02, "contradicted")],
)
def test_a_gain_of_runs_in_no_table_is_judged_by_its_bound(fake, gain, verdict):
    fake.evaluation("pod_frcnn_r50_c4_2x", 0.30)
    fake.evaluation("pod_frcnn_r50_c4_3x", 0.30 + gain)
    fake.noise(sd=0.001)
    (found,) = claim("pod", "pod_c25_saturation")
    assert (found.published, found.verdict) == ("at most 0.8", verdict)
    assert found.sources == ("metrics/pod_frcnn_r50_c4_3x.json", "metrics/pod_frcnn_r50_c4_2x.json")
    fake.noise(None)
    assert claim("pod", "pod_c25_saturation")[0].verdict == "undecided"


@pytest.mark.parametrize(("gain", "verdict", "told"), [(0.01, "contradicted", True), (-0.01, "contradicted", False)])
def test_a_bound_may_contradict_where_the_sign_agrees(fake, gain, verdict, told):
    fake.dst(gain=gain)  # at least 2 points, printed +1.9
    fake.noise(sd=0.001)
    (found,) = claim("dst", "dst_c1_abstract")
    assert (found.published, found.verdict, by_size(found)) == ("at least 2", verdict, told)
    entry = Entry("dst", "dst_c1_abstract", "", found.verdict, [found])
    assert ("the sign agrees" in entry.verdict) == told


def test_the_larger_of_two_gains(fake):
    sizes = {"ap_small": 0.11, "ap_medium": 0.12, "ap_large": 0.2}
    fake.evaluation("psconv_mask_rcnn_r50_fpn_1x", 0.1)
    fake.evaluation("psconv_mask_rcnn_r50_fpn_1x_psconv", 0.15, **sizes)
    fake.noise(sd=0.01)
    frcnn, _, small, medium = claim("psconv", "psconv_c20_ap_large")[4:]  # behind the printed cells
    assert frcnn.verdict == "not run"
    # gains of 10, 1 and 2 points; the interval of a difference is 2.7764 * sqrt(4) * 0.01 = 5.6 to either side
    assert (small.ours, small.verdict) == ("+9.0 [+3.4, +14.6]", "holds")
    assert (medium.ours[:5], medium.verdict) == ("+8.0 ", "holds")
    fake.evaluation("psconv_mask_rcnn_r50_fpn_1x_psconv", 0.15, **(sizes | {"ap_small": 0.28, "ap_medium": 0.18}))
    _, _, small, medium = claim("psconv", "psconv_c20_ap_large")[4:]
    assert (small.verdict, medium.verdict) == ("contradicted", "undecided")


def test_fd_costs_no_more_than_its_baseline(fake):
    for name in ("pod_frcnn_r50_c4_1x", "pod_frcnn_r50_fpn_1x"):
        fake.size(name, 1000, 2000)
    fake.size("pod_frcnn_r50_c4_1x_fd", 990, 2000)
    assert number(Results("mini"), "fd_extra_cost").value == 0
    assert claim("pod", "pod_c9_fd_no_overhead")[-1].verdict == "holds"
    fake.size("pod_frcnn_r50_fpn_1x_fd", 1000, 2020)
    assert number(Results("mini"), "fd_extra_cost").value == pytest.approx(1)


def test_learnt_scales_against_their_bounds(fake):
    # Every scale has mean 1.25 (height) or 1 (width) and deviations of 0.02 and 0.01: 1.6 % of the mean at most.
    fake.scales(GSL, 0.25)
    spread, images = (claim("pod", name)[0] for name in ("pod_c11_scale_std", "pod_c13_samples"))
    assert (spread.ours, spread.verdict) == ("1.6", "holds")
    assert spread.why == "1 learners with 12 scales, 0 of them near 0"
    assert claim("pod", "pod_c14_conv2")[0].verdict == "not run"
    assert (images.ours, images.verdict) == ("500", "holds")
    assert spread.sources == (f"metrics/{GSL}_scales.json",)
    stride2, stride1 = (claim("pod", name)[0] for name in ("pod_c21_stride2_fpn", "pod_c23_stride1_large"))
    assert (stride2.ours, stride2.verdict) == ("1.25", "contradicted")  # the claim: below 1
    assert (stride1.ours, stride1.verdict) == ("50", "contradicted")  # heights above 1, widths at 1: half is not most
    assert claim("pod", "pod_c22_fpn_smaller")[0].verdict == "not run"
    # scales of two sets of images
    name = "pod_frcnn_r50_c4_1x_gsl"
    layers = {"layer3.1": {"mean_h": 2.0, "mean_w": 2.0, "std_h": 0.01, "std_w": 0.01}}
    val = {"layer3.1": {"mean_h": 2.04, "mean_w": 2.5, "std_h": 0.01, "std_w": 0.01}}
    scales = {"experiment": name, "images": 9, "layers": layers, "val": {"layers": val}, "largest_shift": 1.0}
    write_json(paths.scales("mini", name), scales)
    write_table("pod_t3", "mini")
    height, width = claim("pod", "pod_c19_split_stability")
    assert (height.ours, height.verdict) == ("-0.040", "holds")
    assert (width.ours, width.verdict) == ("-0.500", "contradicted")


def test_the_best_of_rows_needs_a_lead_beyond_noise(fake):
    for group, ap in (("g4", 0.30), ("g1", 0.25), ("g8", 0.24)):
        fake.evaluation(f"msfm_frcnn_r50_fpn_1x_msfm_pos2_s3s_r16_32_64_{group}_c1_add", ap)
    fake.noise(sd=0.005)
    write_table("msfm_t2_norm_group", "mini")
    found = claim("msfm", "msfm_c10_best_groups")
    assert [p.verdict for p in found] == [*["not run"] * 3, "holds", "holds", *["not run"] * 2]
    assert found[3].what == "AP, ng4__pos2 over ng1__pos2"
    assert (found[3].published, found[3].ours) == ("above 0", "+5.0 [+3.0, +7.0]")
    fake.noise(sd=0.05)
    assert {p.verdict for p in claim("msfm", "msfm_c10_best_groups")[3:5]} == {"undecided"}
    fake.evaluation("msfm_frcnn_r50_fpn_1x_msfm_pos2_s3s_r16_32_64_g8_c1_add", 0.60)
    assert [p.verdict for p in claim("msfm", "msfm_c10_best_groups")[3:5]] == ["undecided", "contradicted"]


def test_claims_of_cocos_labels_hold_where_one_definition_agrees(fake):
    ours = {"boxes": 31.5, "masks": 40.4}
    rows = [
        {"claim": "dst_c2_small_share", "what": "small, %", "published": 41, "rule": "within", "ours": ours},
        {"claim": "snip_c1_median_scale", "what": "of ImageNet", "published": 0.554, "rule": "within", "ours": {}},
        {"claim": "snip_c14_anchor_match", "what": "IoU 0.5", "published": 58, "rule": "above", "ours": {"a": 50.0}},
    ]
    for row, fits in zip(rows, (["masks"], [], []), strict=True):
        row |= {"fits": fits, "by": ""}
    write_json(LABELS, {"rows": rows})
    small, median, anchors = (claim(row["claim"].split("_")[0], row["claim"])[0] for row in rows)
    assert (small.published, small.ours, small.verdict) == ("41", "40.4 (masks)", "holds")
    rows[0] |= {"rule": "above", "by": "boxes", "fits": []}  # "above 41 %", by box area
    write_json(LABELS, {"rows": rows})
    (boxes,) = claim("dst", "dst_c2_small_share")
    assert (boxes.published, boxes.ours, boxes.verdict) == ("above 41", "31.5 (boxes)", "contradicted")
    assert small.sources == ("../benchmarks/annotation_statistics.md",)
    assert (median.ours, median.verdict) == ("", "cannot be checked here")
    assert (anchors.published, anchors.ours, anchors.verdict) == ("above 58", "50 (a)", "contradicted")
    assert claim("snip", "snip_c8_chips")[0].verdict == "not run"


def test_orders_of_classifiers_and_weights_of_large_dilations(fake):
    def write(name: str, **sides: float) -> None:
        found = {side[1:]: {"top1_error": error} for side, error in sides.items()}
        write_json(paths.training_summary("mini", name), {"experiment": name, "resolutions": found})

    write("snip_cls_r101_cnn_b", _48=0.6, _96=0.4, _224=0.2)
    assert number(Results("mini"), "cnn_b_drops").value == 100
    assert number(Results("mini"), "cnn_order").value is None
    write("snip_cls_r101_cnn_s_48px_stride1_3x3", _48=0.5)
    write("snip_cls_r101_cnn_s_96px_stride2_5x5", _96=0.5)  # worse than CNN-B: one order of four fails
    write("snip_cls_r101_cnn_b_ft_48px_up", _48=0.3)
    write("snip_cls_r101_cnn_b_ft_96px_up", _96=0.3)
    assert number(Results("mini"), "cnn_order").value == 75
    # weights of large dilations
    shares = {"layer2.0": (2, 0.1), "layer2.1": (1, 0.3), "layer3.0": (2, 0.2), "layer3.1": (1, 0.3)}
    layers = {
        name: {"stride": stride, "rates": {"1": {"share": 1 - share}, "4": {"share": share}}}
        for name, (stride, share) in shares.items()
    }
    write_json(paths.weight_share("mini", "psconv_cls_r50_120ep_cos_psconv"), {"layers": layers})
    assert number(Results("mini"), "stride2_plain_largest").value == 100
    assert number(Results("mini"), "cifar_stride2_large_rates").value is None
    assert number(Results("mini"), "stride2_large_rates").value == pytest.approx(50)
    # ranks of 0.1, 0.3, 0.2, 0.3 are 0, 2.5, 1, 2.5 against 0, 1, 2, 3
    wanted = (1.5 * 1.5 - 1 * 0.5 - 0.5 * 0.5 + 1 * 1.5) / (4.5 * 5) ** 0.5
    assert number(Results("mini"), "large_rates_by_depth").value == pytest.approx(wanted)


def test_rank_correlation_of_orders_and_of_a_constant():
    found = [rank_correlation(ranked, [2, 3, 4]) for ranked in ((1, 5, 9), (9, 5, 1), (1, 1, 1))]
    assert found == pytest.approx([1, -1, 0])


@pytest.mark.parametrize(
    ("bound", "held", "text"),
    [
        (Bound(least=2), [False, True, True], "at least 2"),
        (Bound(most=2), [True, True, False], "at most 2"),
        (Bound(above=2), [False, False, True], "above 2"),
        (Bound(below=2), [True, False, False], "below 2"),
        (Bound(about=2, within=1), [True, True, False], "2 ± 1"),
        (Bound(about=2), [False, True, False], "2 ± 0.5"),
        (Bound(least=1.0, most=2), [True, True, False], "1 to 2"),
        (Bound(almost=2), [False, True, False], "almost 2"),
        (Bound(least="printed").of(2.0), [False, True, True], "at least 2"),
    ],
)
def test_bounds_of_numbers(bound, held, text):
    assert [bound.holds(value) for value in (1, 2, 3.1)] == held
    assert (bound.text(), bool(bound), bool(Bound())) == (text, True, False)


def test_almost_is_short_of_a_number_by_a_fifth_at_most_and_words_are_known():
    assert [Bound(almost=20).holds(value) for value in (15.9, 16, 17.6, 20, 20.1)] == [False, True, True, True, False]
    with pytest.raises(ValueError, match="least must be a number or the word printed, got 'print'"):
        Bound(least="print")


@pytest.mark.parametrize(
    ("low", "high", "bound", "word"),
    [
        (0.003, 0.030, Bound(least=2), "undecided"),  # +1.6 of "2 or more"
        (0.021, 0.040, Bound(least=2), "agrees"),
        (0.020, 0.040, Bound(least=2), "agrees"),
        (-0.010, 0.018, Bound(least=2), "contradicts"),  # although its sign is not decided
        (0.011, 0.014, Bound(least=1.0, most=1.5), "agrees"),
        (0.011, 0.016, Bound(least=1.0, most=1.5), "undecided"),
        (0.016, 0.030, Bound(least=1.0, most=1.5), "contradicts"),
        (-0.004, 0.004, Bound(about=0), "agrees"),
        (-0.030, 0.010, Bound(about=0), "undecided"),
        (0.006, 0.020, Bound(about=0), "contradicts"),
        (0.0, 0.020, Bound(above=0), "undecided"),
        (0.001, 0.020, Bound(above=0), "agrees"),
        (-0.020, -0.001, Bound(above=0), "contradicts"),
    ],
)
def test_a_gain_is_judged_by_its_whole_interval(low, high, bound, word):
    gain = (low + high) / 2
    assert judge_bound(gain, Verdict(Word.UNDECIDED, low, high), bound).word == word
    assert judge_bound(gain, Verdict(Word.UNDECIDED, low, high, firm=False), bound).word == "undecided"
    for first in (Word.INACTIVE, Word.UNDERTRAINED, Word.NOT_JUDGED):
        assert judge_bound(gain, Verdict(first, low, high), bound).word == first
    assert judge_bound(gain, Verdict(Word.UNDECIDED), bound).word == "undecided"  # no interval, nothing held


def test_two_or_more_at_one_and_a_half_is_undecided(fake):
    fake.dst(gain=0.016)  # [+0.2, +3.0]: its sign is decided, "2 AP or more" is not
    fake.noise(sd=0.0035)
    (found,) = claim("dst", "dst_c1_abstract")
    assert (found.published, found.ours, found.verdict) == ("at least 2", "+1.6 [+0.2, +3.0]", "undecided")
    fake.evaluation("dst_frcnn_r50_fpn_1x_dst", 0.20)
    assert claim("dst", "dst_c1_abstract")[0].verdict == "contradicted"


def test_a_printed_difference_of_zero_is_no_sign_and_a_bound_says_what_is_meant(fake):
    fake.dst(gain=0.05)
    fake.noise()
    one, other = "dst_frcnn_r50_fpn_1x_dst", "dst_frcnn_r50_fpn_1x"
    found = claimed_gain(Results("mini"), one, other, "ap", 0.0)
    assert (found.judged.gain, found.verdict.word) == (pytest.approx(5.0), "cannot be checked here")
    assert "no sign" in found.verdict.sentence
    assert claimed_gain(Results("mini"), one, other, "ap", 0.0, Bound(least=0)).verdict.word == "agrees"
    assert claimed_gain(Results("mini"), one, other, "ap", 0.0, Bound(about=0)).verdict.word == "contradicts"


GROUPS = "msfm_frcnn_r50_fpn_1x_msfm_pos3_s3s_r16_32_64_g{}_c1_add"


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ("msfm_frcnn_r101_fpn_1x", "msfm_frcnn_r50_fpn_1x", ""),
        (GROUPS.format(32), GROUPS.format(8), "one network and one recipe"),  # of modules of 8 channels
        (GROUPS.format(8), GROUPS.format(4), ""),
        ("dst_frcnn_r50_fpn_1x_dst", "dst_frcnn_r50_fpn_1x", ""),
        ("dst_frcnn_r50_fpn_2x", "dst_frcnn_r50_fpn_1x", ""),
        ("pod_frcnn_r50_fpn_1x_fd_wt", "pod_frcnn_r50_fpn_1x_fd", ""),  # they start from different weights
    ],
)
def test_rows_that_are_one_network_here_have_no_gain_that_tells_anything(fake, one, other, words):
    for name, ap in ((one, 0.30), (other, 0.20)):
        fake.evaluation(name, ap)
        fake.training(name, collage=0.4)
    fake.scales("pod_frcnn_r50_fpn_1x_gsl", 0.5)
    fake.noise()
    found = claimed_gain(Results("mini"), one, other, "ap", 1.9).verdict
    assert found.word == ("cannot be checked here" if words else "agrees")
    assert words in found.sentence
    full = claimed_gain(Results("full"), one, other, "ap", 1.9).verdict
    assert full.word == "not run"


@pytest.mark.parametrize(("preset", "here"), [("tour", " (resnet50 here)"), ("mini", ""), ("full", "")])
def test_a_row_whose_backbone_is_cut_says_what_it_is(preset, here):
    results = Results(preset)
    whats = [part.what for part in judge_claims(results, "dst")["dst_c8_t2_gain"]]
    assert whats == [f"{name}, frcnn_r101_fpn_1x__dst{here}" for name in ("AP", "AP small")]
    one, other = map(load_experiment, ("msfm_frcnn_r50_fpn_1x_msfm", "msfm_frcnn_r101_fpn_1x"))
    assert bool(one_here(results.preset, one, other)) == bool(here)


def test_a_claim_holds_where_all_parts_that_can_be_checked_do_and_names_the_others():
    def entry(*verdicts: str) -> Entry:
        parts = [Part(f"part {number}", verdict=Word(word)) for number, word in enumerate(verdicts)]
        return entries_of("dst", {"dst_c1_abstract": parts})[0]

    assert entry("holds", "cannot be checked here").verdict == ("holds, but for part 1, which cannot be checked here")
    assert entry("cannot be checked here", "holds", "cannot be checked here").verdict == (
        "holds, but for part 0 and part 2, which cannot be checked here"
    )
    assert entry("holds", "holds").verdict == "holds"
    assert entry("cannot be checked here").verdict == "cannot be checked here"
    assert entry("holds", "contradicted", "cannot be checked here").word == "contradicted"


def test_the_claim_of_thresholds_has_a_part_a_fall_and_one_for_the_baselines_steps(fake):
    dst = "dst_frcnn_r50_fpn_1x_dst"
    assert [part.verdict for part in claim("dst", "dst_c7_tau")] == ["not run"] * 3
    fake.noise()
    fake.dst(gain=0.06)
    for name, ap in ((f"{dst}_tau_sweep_050", 0.20), (f"{dst}_tau_sweep_020", 0.26), (f"{dst}_tau_sweep", 0.255)):
        fake.evaluation(name, ap)
        fake.training(name, collage=0.6)
    summary = {"experiment": "dst_frcnn_r50_fpn_1x", "steps": 300, "low_share_steps": 0.726}
    write_json(paths.training_summary("mini", "dst_frcnn_r50_fpn_1x"), summary)
    found = claim("dst", "dst_c7_tau")
    assert [part.published for part in found] == ["below 0", "above 0", "50 ± 10"]
    assert [part.ours for part in found] == ["-6.0 [-8.0, -4.0]", "+0.5 [-1.5, +2.5]", "72.6"]
    assert [part.verdict for part in found] == ["holds", "undecided", "contradicted"]


def test_the_pages_count_every_claim_once(fake):
    fake.scales(GSL, 0.25)
    write_claims("mini")
    page = paths.claims("mini").read_text()
    assert "123 claims of five papers" in page
    assert "[pod_c13_samples](claims/pod.md)" in page
    rows = read_csv(paths.claims("mini").with_suffix(".csv"))
    assert len({row["claim"] for row in rows}) == 123
    assert {row["verdict"] for row in rows} <= set(CLAIM_WORDS)
    assert all(row["why"] for row in rows if row["part_verdict"] == "cannot be checked here")
    own = paths.claims("mini", "pod").read_text()
    assert "[pod_frcnn_r50_fpn_1x_gsl_scales](../metrics/pod_frcnn_r50_fpn_1x_gsl_scales.json)" in own
