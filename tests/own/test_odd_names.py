"""Pages on data whose classes and files have Markdown or HTML in their names: a browser shows the names."""

import html
import re

import pytest
from markdown_it import MarkdownIt
from test_compare_page import MANY, scored

from pipeline import config, paths
from pipeline.data.exclusions import Exclusions
from pipeline.data.odd_boxes import odd_section
from pipeline.data.verification_page import write_verification_page
from pipeline.own.detectors import PLAIN
from pipeline.own.page import write_comparison
from pipeline.reporting.context import data_of
from pipeline.verdicts.results import Results

NAMES = ("a|b", "*x*", "<b>", "`c`", "[x](y)", "<script>alert(1)</script>")


def rows(page: str, heading: str) -> list[list[str]]:
    """Return what the cells of the first table below a heading say, its head first."""
    found = re.search(rf">{heading}<.*?<table>(.*?)</table>", page, re.S)[1]
    lines = re.findall(r"<tr>(.*?)</tr>", found, re.S)
    tags = r"</?(?:button|code|strong)[^>]*>"
    return [
        [html.unescape(re.sub(tags, "", one)) for one in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line)]
        for line in lines
    ]


def rendered(text: str) -> str:
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(text)


@pytest.fixture
def compared(fake, monkeypatch):
    """Write the comparison of one detector whose classes have odd names."""
    monkeypatch.setattr("test_compare_page.CLASSES", NAMES)
    few = {"all": 40, "small": 8, "medium": 2, "large": 30}
    scored(PLAIN, 0.5, objects=(few, *[MANY] * (len(NAMES) - 1)))
    write_comparison("mini")
    return paths.compared("mini")


def test_classes_of_a_comparison(compared):
    for page in (rendered(compared.read_text()), compared.with_suffix(".html").read_text()):
        assert [row[0] for row in rows(page, "Objects and classes")[1:]] == list(NAMES)
        head, *lines = rows(page, "Confusions")
        assert head == ["Annotated", *(f"shown as {name}" for name in NAMES), "missed"]
        assert [row[0] for row in lines] == [*NAMES, "nothing (false alarm)"]
        assert {len(row) for row in lines} == {len(head)}
        assert lines[0][1] == "130"
        assert "(small: a|b (8); medium: a|b (2))" in html.unescape(page)
        assert page.count("<script>") == ("Content-Security-Policy" in page)  # the page's own


def test_classes_and_files_of_verified_data(project):
    exclusions = Exclusions()
    exclusions.add("deep_colour", "'*x*|<b>.png'")
    entry = dict.fromkeys(("images", "images_without_objects", "objects", "crowd", "difficult", "masks"), 1)
    entry |= dict.fromkeys(("small", "medium", "large"), 1) | {"objects_per_category": range(len(NAMES))}
    entry |= {"excluded": dict(exclusions.counts), "excluded_examples": exclusions.examples}
    known = [{"id": key, "original_id": key, "name": name} for key, name in enumerate(NAMES)]
    manifest = {"preset": "own", "kind": "coco", "factor": 1.0, "categories": known, "splits": {"train": entry}}
    page = rendered(write_verification_page(manifest))
    assert [row[2] for row in rows(page, "Categories")[1:]] == list(NAMES)
    assert rows(page, "Kept, with a change or a remark")[1][3] == "'*x*|<b>.png'"


def test_files_of_odd_boxes():
    split = {
        "images": [{"id": 1, "file_name": "_a_|*x*\n<b>.png"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 1, 9], "iscrowd": 0}],
        "categories": [{"id": 1, "name": "*x*"}],
    }
    page = rendered(odd_section({"train": split}))
    assert rows(page, "Boxes to look at")[1][2] == "_a_|*x* <b>.png: 1, 2, 1, 9"


def test_a_title_and_categories_of_a_preset(project):
    path = paths.preset_file("own")
    path.write_text(
        "name: own\ntitle: own (*mine*, <b>)\nfactor: 1.0\ndata: {kind: coco, categories: ['a|b', '*x*']}\n"
    )
    config.load_preset("own")
    said = rendered(data_of(Results("own")))
    assert html.unescape(said) == "<p>*mine*, <b>, of its categories only a|b and *x*</p>\n"
