"""Pages: the answer by verdict, published pictures, links that lead somewhere, same bytes, no torch."""

from dataclasses import replace

import pytest

from pipeline import config, paths
from pipeline.errors import InputError
from pipeline.files import write_json
from pipeline.reporting.by_size import by_size
from pipeline.reporting.catalogue import write_catalogue
from pipeline.reporting.context import comparability, recipe_of, shared_trainings
from pipeline.reporting.figures.headline import draw_figures
from pipeline.reporting.how_measured import how_measured, write_how_measured
from pipeline.reporting.index_page import answer, reproduced, write_index
from pipeline.reporting.pages import gallery_section, write_page
from pipeline.reporting.tables import write_table
from pipeline.verdicts.baselines import headline_tables
from pipeline.verdicts.results import Results
from pipeline.verdicts.rule import CLAIM_RULE, RULES, Judged, Word, gain_rule
from pipeline.verdicts.table_lines import FIELDS, Method, line_of, methods_of


def report(fake) -> None:
    for name in headline_tables():
        write_table(name, "mini")
        write_table(name, "mini", headline=True)
    draw_figures("mini")
    for paper in paths.PAPERS:
        write_page(paper, "mini")
    write_index("mini")
    write_catalogue("mini")


def method(name: str, gain: float | None, half: float | None, verdict: str) -> Method:
    low, high = (None, None) if half is None else (gain - half, gain + half)
    gains = dict.fromkeys(("ap", "ap_small"), Judged(gain, low, high, Word(verdict)))
    return Method(name, "dst_t2", name, "base", 20.0, gains, {})


def test_what_helps_and_hurts_stands_by_size_and_an_untold_gain_in_neither_column():
    methods = [
        method("A", 4.0, 3.0, "agrees"),
        method("B", -4.0, 2.0, "contradicts"),
        method("C", 1.0, 4.0, "undecided"),
        replace(method("D", 5.0, 1.0, "decided up"), stand_in=True),
    ]
    lines = by_size(methods, {}).splitlines()
    assert (
        lines[2] == "| small | D +5.0 [+4.0, +6.0] (over another baseline); A +4.0 [+1.0, +7.0] | B -4.0 [-6.0, -2.0] |"
    )
    assert by_size([method("C", 1.0, None, "undecided")], {}) == ""
    # what is decided alone and not among all comparisons is marked: 0.04 is above 0.05 * 2 / 3
    words = {"A": (Word.AGREES, 0.001), "B": (Word.CONTRADICTS, 0.04), "C": (Word.UNDECIDED, 0.5)}
    cells = dict.fromkeys(FIELDS, "") | {"kind": "row", "baseline": "base", "metric": "ap_small", "our_gain": "1.0"}
    told = [cells | {"evaluation": name, "verdict": word, "p": f"{p}"} for name, (word, p) in words.items()]
    text = by_size(methods, {"x_t1": list(map(line_of, told))})
    assert "A +4.0 [+1.0, +7.0] | B -4.0 [-6.0, -2.0]† |" in text.splitlines()[2]
    assert text.count("†") == 2


def test_exact_counts_are_those_of_the_page_of_identities(fake):
    assert reproduced(Results("mini")) == []
    write_json(paths.metrics("mini", "identities"), {"counted": 5, "equal": 4, "rows": []})
    (line,) = reproduced(Results("mini"))
    assert line.startswith("**Exact:** 4 of 5 networks")


def test_the_answer_says_what_helps_hurts_and_cannot_be_told(fake):
    methods = [
        method("A", 4.0, 3.0, "agrees"),
        method("B", -4.0, 2.0, "contradicts"),
        method("C", 1.0, 4.0, "undecided"),
        method("D", 0.5, 4.0, "inactive"),
        method("E", None, None, "not run"),
    ]
    lines = answer(Results("mini"), methods)
    assert lines[0] == "**Helps:** A +4.0 [+1.0, +7.0] points of AP small."
    assert lines[1] == "**Hurts:** B -4.0 [-6.0, -2.0] points."
    assert lines[2] == "**One cannot tell:** undecided: C; not run: E; inactive: D."
    assert lines[3].startswith("A gain in AP small must exceed about 3.5 points")
    assert len(lines) == 4
    # it is no where nothing is decided
    assert answer(Results("mini"), [method("C", 1.0, 4.0, "undecided")])[0].startswith("**No:**")
    assert any("from one training each" in x for x in answer(Results("mini"), [method("C", 1.0, None, "undecided")]))
    assert answer(Results("mini"), [method("E", None, None, "not run")])[0].startswith("**Nothing was run yet**")
    # a gain over another baseline than the paper's is no help
    longer = replace(method("A (over a stand-in baseline)", 4.0, 3.0, "decided up"), stand_in=True)
    lines = answer(Results("mini"), [longer])
    assert lines[0].startswith("**No:**")
    told = lines[1].removeprefix("**Decided, but not over the paper's baseline:** ")
    assert told.startswith("A (over a stand-in baseline) +4.0 [+1.0, +7.0], where `base` may have trained less. ")
    assert "tables/dvc.yaml:dst_t2`" in told


def test_a_report_of_dst_alone_which_is_the_same_every_time(fake):
    fake.dst(gain=0.03)
    fake.noise()
    report(fake)
    index = paths.index("mini").read_text()
    assert "**Helps:** DST +3.0 [+1.0, +5.0] points of AP small." in index
    assert "Decided by AP: **1 of 1** compared rows that were run; 9 not run." in index
    assert "| [DST](headline/dst_t2.md) | 23.0 | +3.0 [+1.0, +5.0] | agrees |" in index
    page = paths.page("mini", "dst").read_text()
    assert "| DST | +3.0 [+1.0, +5.0] | agrees |" in page
    assert "### dst_t2: Faster R-CNN" in page
    methods = methods_of("mini", headline_tables(), headline=True)
    assert {"SNIP (over multi-scale test)", "POD FD-WT"} <= {item.name for item in methods}
    assert not any(item.stand_in for item in methods)
    catalogue = paths.index("mini").with_name("catalogue.md").read_text()
    assert "1 agrees, 7 not run" in catalogue
    # DST alone was run, which several tables show
    assert "**1 of 1 distinct comparison decided**" in catalogue
    # of pod_t2's twelve rows none was run, its baselines neither
    assert "| [pod_t2](headline/pod_t2.md) | 0 | 0 | 2 not run | 12 |" in index
    assert "**1 of 1 compared row decided** (by AP); 1 not run." in paths.headline("mini", "dst_t2").read_text()
    other = paths.page("mini", "pod").read_text()
    assert other.count("Nothing of this paper was run here yet.") == 1
    assert "No method of this paper is compared here yet." in other
    assert "figures/scales.png" not in other
    assert "- [`dst_frcnn_r50_fpn_1x_ms_train_600_1000`]" not in page
    assert "- [`dst_frcnn_r50_fpn_1x_dst`]" in page


def test_a_preset_that_decides_nothing_shows_numbers_alone(fake, monkeypatch):
    monkeypatch.setattr(Results, "judges", False)
    fake.dst(gain=0.03)
    fake.noise()
    report(fake)
    pages = [paths.index("mini"), paths.page("mini", "dst"), paths.headline("mini", "dst_t2")]
    for text in (page.read_text() for page in pages):
        assert "mini" in text.splitlines()[0]
        assert "One training each shows that it runs" in text
        assert [word for word in ("95 %", "Verdict", "undecided", "agrees", "Claims", "Helps") if word in text] == []
        assert "+3.0" in text
    first = {path: path.read_bytes() for path in paths.index("mini").parent.rglob("*.md")}
    report(fake)
    assert first == {path: path.read_bytes() for path in first}
    assert not any(str(paths.ROOT).encode() in data for data in first.values())


def test_pages_of_the_tour_name_the_experiments_that_another_training_stands_for():
    results = Results("tour")
    (said,) = shared_trainings(results)
    named = {name for name in config.experiments() if f"`{name}`" in said}
    assert named == {*results.preset.shares, *results.preset.shares.values()} != set()
    assert said in recipe_of(results)[0]
    assert comparability(results) != comparability(Results("mini"))
    assert said in how_measured(results)


def test_rules_stand_on_one_page_and_nowhere_else(fake):
    fake.dst()
    fake.noise()
    report(fake)
    write_how_measured("mini")
    rules = [*gain_rule(20), *CLAIM_RULE, *RULES.values(), *recipe_of(Results("mini"))]
    pages = {page.name: page.read_text() for page in paths.index("mini").parent.rglob("*.md")}
    own = pages.pop("how_measured.md")
    assert [rule for rule in rules if rule not in own] == []
    assert [(name, rule) for name, text in pages.items() for rule in rules if rule in text] == []


def test_pictures_of_photographs_are_not_linked_and_an_unknown_paper_is_one_sentence(fake):
    results = Results("mini")
    assert gallery_section(results, "dst").startswith(
        "Not drawn: it takes the detections of `dst_frcnn_r50_fpn_1x` and"
    )
    paths.gallery("mini").mkdir(parents=True)
    (paths.gallery("mini") / "dst.png").touch()
    assert "![" in gallery_section(results, "dst")
    results.published_images = lambda: False
    text = gallery_section(results, "dst")
    assert "![" not in text
    assert "`reports/mini/gallery/dst.png`" in text
    with pytest.raises(InputError, match="did you mean 'dst'"):
        write_page("dts", "mini")
