"""SNIP's table 3: recall of proposals in the place of AP, by hand."""

from fake_results import read_csv

from pipeline import paths
from pipeline.files import write_json
from pipeline.reporting.catalogue import catalogue_page
from pipeline.reporting.tables import write_table
from pipeline.verdicts.comparison import RECALLS
from pipeline.verdicts.results import Results

BASE, BETTER, SNIP = (
    f"snip_rpn_r50_6ep_{name}" for name in ("ms_train_conv4_5anchor", "ms_train_conv45_7anchor", "snip_conv45_7anchor")
)


def fill(fake):
    """Write recalls of 50, 52 and 55 percent at every threshold and size, and what little noise there is."""
    for name, recall in ((BASE, 0.50), (BETTER, 0.52), (SNIP, 0.55)):
        values = dict.fromkeys(RECALLS, recall)
        write_json(paths.metrics("mini", name), {"experiment": name, "images": 300, **values})
        write_json(paths.bootstrap("mini", name), {"draws": 2, **{metric: [v, v] for metric, v in values.items()}})
        fake.training(name, valid={"1400": 0.5, "800": 0.75})
    fake.noise(sd=0.005)  # an interval of 1.96 points


def test_columns_are_recalls_and_gains_are_judged_and_the_catalogue_counts_them(fake):
    fill(fake)
    write_table("snip_t3", "mini")
    lines = read_csv(paths.table("mini", "snip_t3", "csv"))
    assert {line["metric"] for line in lines if line["kind"] == "row"} == set(RECALLS)
    by_cell = {(line["row"], line["metric"]): line for line in lines if line["kind"] == "row"}
    small = by_cell["rpn_r50__snip", "recall50_0_25"]
    assert (small["published"], small["ours"], small["published_gain"]) == ("74.4", "55.0", "6.3")
    assert (small["our_gain"], small["low"], small["high"], small["verdict"]) == ("3.0", "1.0", "5.0", "agrees")
    assert by_cell["rpn_r50__baseline", "ar"]["verdict"] == "baseline"
    claims = {(line["row"], line["metric"]): line for line in lines if line["kind"] == "claim"}
    assert claims["snip_c15_rpn_recall50", "ar50"]["published_gain"] == "2.9"
    assert claims["snip_c16_rpn_small", "recall50_0_25"]["our_gain"] == "3.0"
    page = paths.table("mini", "snip_t3").read_text()
    assert "| Row | AR | AR50 | AR75 | Recall50, 0-25 px | Recall50, 25-50 px | Recall50, 50-100 px |" in page
    assert f"+ SNIP<br>`{SNIP}` | 64.0 → 55.0 | 92.1 → 55.0 | 74.7 → 55.0 | 74.4 → 55.0 |" in page
    assert "compared rows decided** (by AR)" in page
    assert "Printed but not compared" not in page
    (row,) = [line for line in catalogue_page(Results("mini")).splitlines() if "[snip_t3]" in line]
    assert [cell.strip() for cell in row.split("|")[3:7]] == ["4", "3", "2", "2"]  # DPN-92 has none here


def test_parameters_alone_are_no_result_in_the_catalogue(fake):
    fake.size("msfm_frcnn_r50_fpn_1x_msfm_pos3_s4_r16_32_64_g16_c1_add", 9, 2_500_000_000)
    write_table("msfm_t2_scales", "mini")
    (row,) = [line for line in catalogue_page(Results("mini")).splitlines() if "[msfm_t2_scales]" in line]
    assert [cell.strip() for cell in row.split("|")[3:7]] == ["5", "0", "0", "0"]
