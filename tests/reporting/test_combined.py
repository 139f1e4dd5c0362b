"""MSFM with DST, which no paper prints: it stands beside the methods of tables, and no count holds it."""

from fake_results import figure_rows

from pipeline import paths
from pipeline.published.headline import COMBINED
from pipeline.reporting.combined import BESIDE, combined_lines, combined_methods, printed_gain
from pipeline.reporting.figures.comparisons import draw_comparisons
from pipeline.reporting.figures.results import draw_ap_by_size
from pipeline.reporting.index_page import index_page
from pipeline.verdicts.methods import BASE, METRICS
from pipeline.verdicts.results import Results


def fill(fake) -> Results:
    fake.evaluation(BASE, 0.20)
    fake.evaluation(COMBINED, 0.23)
    fake.training(BASE, images=1000)
    fake.training(COMBINED, 0.4, images=1500)
    fake.size(BASE, 1000, 2000)
    fake.size(COMBINED, 1070, 2100)
    fake.noise()
    return Results("mini")


def test_the_combination_is_a_method_with_its_gain_over_the_plain_detector(fake):
    method, unrun = combined_methods(fill(fake))
    assert (unrun.name, unrun.ap) == ("SNIP (over its multi-scale training)", None)
    assert (method.name, method.baseline, method.ap, method.cost) == ("MSFM + DST", BASE, 23.0, "1.07x, 1.05x, 1.50x")
    assert method.gains["ap_small"].text == "+3.0 [+1.0, +5.0]"
    assert method.gains["ap"].word == "decided up"
    assert not method.stand_in


def test_two_printed_rows_have_a_printed_gain_though_their_table_has_another_baseline():
    """SNIP's table 2: 37.8, 21.4, 40.4, 50.1 over 35.6, 19.5, 37.5, 47.3."""
    combination, snip = BESIDE
    assert [printed_gain(snip, metric) for metric in METRICS] == [2.2, 1.9, 2.9, 2.8]
    assert printed_gain(combination, "ap") is None


def test_pages_and_figures_show_it_and_no_count_holds_it(fake, monkeypatch):
    results = fill(fake)
    page = index_page(results)
    assert "**Helps:** MSFM + DST +3.0 [+1.0, +5.0]" in page
    assert "gains is longer training**, on more images than the baseline's: MSFM + DST 1.50x." in page
    assert f"| [MSFM + DST](../../workflow/combinations/experiments/{COMBINED}.yaml) | 23.0 |" in page
    assert "Decided by AP: **0 of 0** compared rows that were run; 0 not run." in page
    assert "Nothing was compared yet" in page
    path = paths.figure("mini", "ap_by_size")
    draw_ap_by_size(results, path)
    assert {(row["method"], row["our_gain"], row["published_gain"]) for row in figure_rows("ap_by_size")} == {
        ("MSFM + DST", "3.0", ""),
        *(("SNIP (over its multi-scale training)", "", gain) for gain in ("2.2", "1.9", "2.9", "2.8")),
    }
    draw_comparisons("mini", {}, combined_lines(results), path.with_name("comparisons.png"))
    assert [(row["table"], row["label"], row["low"]) for row in figure_rows("comparisons")] == [
        ("", "MSFM + DST", "1.0")
    ]
    monkeypatch.setattr(Results, "judges", False)
    assert combined_methods(results) == []
