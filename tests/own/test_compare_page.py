"""The comparison on own data: detectors best first, sizes that exist, warnings; nothing below an interval is advice."""

import pytest

from pipeline import paths
from pipeline.files import write_json
from pipeline.own.detectors import DST, KINDS, PLAIN, ClassResults, kinds, trained
from pipeline.own.page import compare_page, offers_of, write_comparison
from pipeline.own.warnings import warnings

LONGER, SINGLE = "pod_frcnn_r50_fpn_2x", "snip_drfcn_r50_7ep_single_scale"
SNIP, FD = "snip_drfcn_r50_7ep_snip__ms_test", "pod_frcnn_r50_fpn_1x_fd"
MANY = {"all": 150, "small": 50, "medium": 50, "large": 50}
CLASSES = ("red", "white")


def scored(
    name: str, ap: float, blocks: int = 3, sd: float = 0.001, objects=(MANY, MANY), test=1.0, collage=0.4, **others
) -> None:
    """Write results by class of an evaluation, all metrics `ap`, in blocks that lie `sd` apart, and its costs."""
    metrics = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
    keys = [str(number) for number in range(1, len(objects) + 1)]
    numbers = dict.fromkeys((*metrics, *(f"ap_class_{key}" for key in keys)), ap) | {"ap50": 0.9} | others
    place = sum(map(ord, name))
    shifts = [sd * ((place * (k + 2)) % 5 - 2) for k in range(blocks)]
    middle = sum(shifts) / blocks
    each = [{k: None if v is None else v + s - middle for k, v in numbers.items()} for s in shifts]
    about = {
        "images": 72,
        "categories": [{"id": int(key), "name": CLASSES[int(key) - 1]} for key in keys],
        "objects": dict(zip(keys, objects, strict=True)),
        "thresholds": {key: {"threshold": 0.4, "f1": 0.8} for key in keys},
        "confusion": {"0": {"1": 7}, "1": {"0": 20, "1": 130}},
        "pixels": {"training": 60_000.0, "test": 60_000.0 * test},
    }
    own = paths.per_class_name(name)
    write_json(paths.metrics("mini", own), about | numbers | ({"blocks": each} if blocks > 1 else {}))
    draws = {k: [None if v is None else v + d for d in (-0.001, 0.001)] for k, v in numbers.items()}
    write_json(paths.bootstrap("mini", own), {"draws": 2, **draws})
    experiment = paths.split_evaluation(name)[0]
    write_json(paths.size("mini", experiment), {"macs": 6e9, "parameters_total": 1, "input": [200, 300]})
    steps = 1200 if experiment == LONGER else 600
    shares = {"collage_share": collage, "valid_objects": {"1400": 0.5, "800": 0.7, "480": 0.2}}
    write_json(paths.training_summary("mini", experiment), {"steps": steps, "images_seen": 4 * steps, **shares})


def page() -> str:
    return compare_page(ClassResults("mini"))


def test_the_baselines_are_detectors_and_no_method_is_plain():
    known = {kind.evaluation: kind for kind in KINDS}
    assert all(kind.baseline in known for kind in KINDS if kind.baseline)
    assert all(known[kind.baseline].plain for kind in KINDS if kind.baseline)
    assert {kind.evaluation for kind in KINDS} - {kind.evaluation for kind in kinds()} == {f"{DST}_dst_proposed"}


def test_absolute_numbers_decide(fake):
    """The case that the page was wrong about: +5.9 over a test of three resolutions, 8 below the plain detector."""
    for name, ap, test in ((PLAIN, 0.49, 1.0), (LONGER, 0.54, 1.0), (SINGLE, 0.40, 1.0), (SNIP, 0.41, 4.4)):
        scored(name, ap, test=test)
    write_comparison("mini")
    text = paths.compared("mini").read_text()
    assert "- In training, plain saw 2,400 pictures, repeats counted." in page()
    assert text == page()
    alone = paths.compared("mini").with_suffix(".html").read_text()
    assert "<a " not in alone
    assert "left out and why (data.md)" in alone
    said, table = text.partition("## Every detector")[::2]
    assert "**Best: plain, twice as long**, 54.0 AP" in said
    assert "**Not worth it**, beside the best plain detector of no more cost: SNIP" in said
    assert "SNIP -8.0 [" in said  # its training is as long as the plain one's here
    assert "| -13.0 [" in table
    assert "Use SNIP" not in text
    rows = [line.split(" | ")[0].strip("| ") for line in table.splitlines() if line.startswith("| ")]
    assert rows[1:6] == [":--", "plain, twice as long", "plain", "SNIP", "plain D-RFCN"]
    assert "| 4.4x | 1.0x | `snip_drfcn_r50_7ep_snip__ms_test` |" in table
    assert "| 1.0x | 2.0x | `pod_frcnn_r50_fpn_2x` |" in table
    assert "| SNIP | plain D-RFCN | +1.0 [" in text.partition("## Gains inside each recipe")[2]


def test_sizes_and_classes_that_hardly_exist_have_no_number(fake):
    few = ({"all": 100, "small": 3, "medium": 20, "large": 77}, {"all": 12, "small": 2, "medium": 10, "large": 0})
    for name in (PLAIN, LONGER):
        scored(name, 0.5, objects=few, ap_small=None, ap_medium=None)
    text = page()
    row = next(line for line in text.splitlines() if line.startswith("| plain |"))
    assert row.count("too few objects (5)") == 1
    assert "too few of any class (30)" in row
    assert "| white | 12 | 2 | 10 | 0 | too few objects (12) |" in text
    gains = text.partition("## Gains")[2]
    assert "| plain, twice as long | plain | 0.0 [" in gains
    assert "too few objects (5) | too few of any class (30) |" in gains
    assert "AP of a size leaves out" not in text  # large: the other class has none at all


def test_a_class_that_a_size_leaves_out_is_named(fake):
    scored(PLAIN, 0.5, objects=(MANY, {"all": 40, "small": 8, "medium": 2, "large": 30}))
    assert "leaves out classes with fewer than 30 of its objects (small: white (8); medium: white (2))." in page()


def test_one_class_and_one_detector(fake):
    scored(PLAIN, 0.5, objects=(MANY,))
    text = page()
    assert "**Trained so far: plain**, 50.0 AP; there is nothing beside it yet." in text
    assert "No method was trained beside its baseline yet." in text
    assert "| red | 150 | 50 | 50 | 50 | 50.0 [" in text
    assert "Unknown, as the noise is." in text


def test_nothing_and_one_training_of_each(fake):
    assert "- No detector was scored by class here yet" in page()
    scored(PLAIN, 0.4, blocks=1)
    scored(LONGER, 0.7, blocks=1)
    text = page()
    assert "- **Highest AP so far: plain, twice as long**, 70.0. Nothing can be told yet" in text
    assert "| 70.0 |" in text  # without an interval
    assert "+30.0 cannot tell" in text


def test_ties_are_no_advice_for_a_method(fake):
    for name in (PLAIN, FD):
        scored(name, 0.5, sd=0.01)
    said = page().partition("## Every")[0]
    assert "**Highest AP: plain**, 50.0; it cannot be told from POD FD." in said
    assert "**Not worth it**, beside the best plain detector of no more cost: POD FD 0.0 [" in said


def test_a_detector_that_learnt_too_little_is_no_advice(fake):
    scored(PLAIN, 0.05, ap50=0.1)
    scored(FD, 0.06, ap50=0.19)
    said = page().partition("## Every")[0]
    assert "Nothing is advised: no detector reaches an AP50 of 20. Train longer (STEPS=1160), or on more data." in said
    assert "POD FD" not in said


def test_a_method_that_learns_where_the_plain_detector_does_not_is_advised_with_a_word(fake):
    scored(PLAIN, 0.05, ap50=0.1)
    scored(FD, 0.6)
    said = page().partition("## Every")[0]
    assert "- No plain detector reaches an AP50 of 20: what lies above may only learn faster." in said
    assert "**Best: POD FD**" in said


def test_a_method_that_did_nothing_is_no_advice(fake):
    for name, ap in ((DST, 0.5), (LONGER, 0.52)):
        scored(name, ap)
    scored(f"{DST}_dst", 0.55, collage=0.0)
    said = page().partition("## Every")[0]
    assert "**Best: plain, twice as long**" in said
    assert "- **Did nothing here**, so it is in no comparison above: DST (" in said


def test_a_size_at_which_the_best_loses_is_named(fake):
    scored(PLAIN, 0.50)
    scored(FD, 0.55, ap_large=0.46)
    said = page().partition("## Every")[0]
    assert "**Best: POD FD**" in said
    line = next(line for line in said.splitlines() if "lies **below plain** on some sizes" in line)
    assert "large -4.0 [" in line
    assert "small" not in line


def test_what_was_not_trained_is_named(fake):
    for name in (PLAIN, LONGER, FD):
        scored(name, 0.5)
    said = next(line for line in page().splitlines() if line.startswith("- **Not trained**"))
    assert "DST, MSFM" in said
    assert "SNIP" in said
    assert "POD FD," not in said
    assert "plain" not in said


def test_a_method_that_a_plain_detector_of_no_more_cost_beats_needs_no_more_runs(fake):
    for name, ap, test in ((PLAIN, 0.49, 1.0), (SINGLE, 0.40, 1.0), (SNIP, 0.41, 4.4)):
        scored(name, ap, test=test, sd=0.01)
    said = page().partition("## Every")[0]
    assert "SNIP -8.0 [" in said
    assert "Cannot be told from none" not in said


def test_warns_of_trainings_that_were_too_short_and_of_classes_of_few_objects(fake, monkeypatch):
    few = ({**MANY}, {"all": 12, "small": 4, "medium": 4, "large": 4})
    for name, ap in ((PLAIN, 0.50), (LONGER, 0.54)):
        scored(name, ap, objects=few)
    said = page().partition("## Warnings")[2].partition("##")[0]
    assert (
        "mean over 2 classes, some with fewer than 30 objects to validate on, so that chance moves it: white (12)."
        in said
    )
    assert "- plain gains +4.0 [" in said
    assert "longer schedules would tell" in said  # `make compare` has another cure than a reproduction
    monkeypatch.setattr(ClassResults, "reproduces", lambda self: False)
    assert "STEPS=1160 with another NAME" in page()
    scored(LONGER, 0.5, objects=few)
    assert "from twice the training" not in page()


def test_costs_count_every_training_behind_a_method_and_the_network_that_proposes(fake):
    scored(PLAIN, 0.5)
    scored(FD, 0.5)
    by_name = {offer.name: offer for offer in offers_of(trained(ClassResults("mini")))}
    assert by_name["POD FD"].training == float("inf")  # its scales' training was not counted
    gsl = "pod_frcnn_r50_fpn_1x_gsl"
    write_json(paths.size("mini", gsl), {"macs": 9e9, "input": [200, 300]})
    write_json(paths.training_summary("mini", gsl), {"steps": 600, "images_seen": 2400})
    by_name = {offer.name: offer for offer in offers_of(trained(ClassResults("mini")))}
    assert by_name["plain"][2:4] == (1.0, 1.0)
    assert by_name["POD FD"][2:4] == (1.0, 2.5)


@pytest.mark.parametrize(("share", "warns"), [(0.98, True), (0.8, False), (None, False)])
def test_warns_of_collages_in_nearly_every_step(fake, share, warns):
    write_json(paths.loss_share("mini", DST), {"proposed_threshold": 0.05})
    write_json(paths.training_summary("mini", f"{DST}_dst"), {"steps": 600, "collage_share": share})
    said = warnings(ClassResults("mini"), kinds())
    assert len(said) == warns
    if warns:
        assert said[0].startswith("DST: 98 % of the steps were collages")
        assert said[0].endswith("its threshold is 0.1, and the plain detector's losses propose 0.05.")


def test_where_small_objects_carry_next_to_nothing_no_threshold_is_read(fake):
    """The loss is counted in hundredths: a median inside of the first says how wide that is, not what was lost."""
    write_json(paths.loss_share("mini", DST), {"proposed_threshold": 0.005})
    write_json(paths.training_summary("mini", f"{DST}_dst"), {"steps": 600, "collage_share": 0.98})
    (said,) = warnings(ClassResults("mini"), kinds())
    assert said.endswith("; small objects carry less than 1 % of the loss in half of the plain detector's steps.")
    scored(PLAIN, 0.5)
    scored(DST, 0.5)
    text = page()
    assert "here none can be read, for small objects carry less than 1 %" in text
    assert "0.005" not in text


def test_warns_of_a_range_without_objects_and_of_a_scale_at_its_bound(fake):
    experiment = paths.split_evaluation(SNIP)[0]
    write_json(paths.training_summary("mini", experiment), {"valid_objects": {"1400": 0.0, "800": 0.7, "480": 1.0}})
    fake.scales("pod_frcnn_r50_fpn_1x_gsl", -0.97)
    said = warnings(ClassResults("mini"), kinds())
    assert "SNIP: no object of this data is in the valid range of the resolution 1400 (0 to 80 px)." in said
    assert any(line.startswith("POD FD: the learnt scale of layer2.0") and "fell to 0" in line for line in said)
    fake.scales("pod_frcnn_r50_fpn_1x_gsl", 0.3)
    assert not any("scale" in line for line in warnings(ClassResults("mini"), kinds()))


def test_a_page_says_what_was_warned_of(fake):
    scored(PLAIN, 0.5)
    assert "## Warnings" not in page()
    write_json(paths.training_summary("mini", f"{DST}_dst"), {"steps": 600, "collage_share": 0.9})
    assert "## Warnings" not in page()  # the training may be of other data: only what is compared is warned of
    scored(f"{DST}_dst", 0.5, collage=0.9)
    assert "## Warnings\n\n- DST: 90 % of the steps were collages" in page()


def test_the_page_ends_with_the_commands_of_the_best_detector_that_stands_alone(fake):
    for name, ap in ((PLAIN, 0.40), (LONGER, 0.45), (SINGLE, 0.5)):
        scored(name, ap)
    end = page().partition("## Take the best detector home")[2]
    assert "plain D-RFCN classifies regions that another network proposes" in end
    assert f"python -m pipeline.stages.export {LONGER} --preset mini --folder detector\n" in end
    assert "python -m pipeline.stages.detect --from detector --images FOLDER_OR_FILE --out detected\n" in end


def test_no_command_where_no_detector_stands_alone(fake):
    scored(SINGLE, 0.5)
    end = page().partition("## Take the best detector home")[2]
    assert "None of these finds objects by itself" in end
    assert "```" not in end
