"""A user's words in pages: what a browser shows is the name, whatever marks it holds; names by hand."""

import html
import re

import pytest
from markdown_it import MarkdownIt

from pipeline import markdown as md
from pipeline.verbatim import LONGEST, short, verbatim

NAMES = [
    *("a|b", "*x*", "<b>bold</b>", "`code`", "[x](y)", "![x](y.png)", "_x_", "__init__", "traffic_light", "~~gone~~"),
    *("a\\b", "a\\|b", "\\", "&amp;", "R&D", "# head", "- item", "1. item", "12) item", "> quote", "+", "=", "***"),
    *(
        "<!-- x",
        "a\\*b",
        "||",
        "**",
        "<https://x.org>",
        "$a$",
        "100 %",
        'say "x"',
        "it's",
        "{x}",
        "[x]",
        "[x]: y",
        "[a][b]",
        "狗",
        "🐕",
    ),
]


def shown(text: str) -> str:
    """Return what the only paragraph of a page says."""
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    found = re.fullmatch(r"<p>([^<]*)</p>\n", page)
    assert found, page
    return html.unescape(found[1])


def cells(names: list[str]) -> list[str]:
    """Return what the first column of a table of names says."""
    text = md.table([md.Column("Name", lambda one: one), md.Column("Count", lambda one: 1)], map(verbatim, names))
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    rows = re.findall(r"<tr>\n(.*?)</tr>", page, re.S)[1:]
    found = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in rows]
    assert all(len(row) == 2 for row in found), page
    return [html.unescape(row[0]) for row in found]


@pytest.mark.parametrize("name", NAMES)
def test_a_paragraph_shows_the_name(name):
    assert shown(verbatim(name)) == name
    assert shown(f"{verbatim(name)} (3); and {verbatim(name)}: 4") == f"{name} (3); and {name}: 4"


def test_a_table_shows_the_names_each_in_its_cell():
    assert cells(NAMES) == NAMES


def test_plain_names_stay_as_they_are():
    for name in (
        "ball",
        "red blood cell",
        "traffic_light",
        "img_001.jpg",
        "a/b-c.png",
        "T-72",
        "R&D",
        "3 cm",
        "at [1, 2]",
    ):
        assert verbatim(name) == name


def test_names_in_one_line_of_what_can_be_printed():
    assert verbatim("a\nb\r\n c\u2028d\t") == "a b c d"
    assert verbatim("a\x00b\u202ec") == "a\ufffdb\ufffdc"  # nothing turns the order of the words behind it


def test_names_from_right_to_left_leave_the_words_behind_them_in_order():
    assert verbatim("كلب") == "\u2068كلب\u2069"
    assert shown(f"{verbatim('חתול *x*')} (8)") == "\u2068חתול *x*\u2069 (8)"


def test_of_a_long_name_both_ends_are_shown():
    assert short("x" * LONGEST) == "x" * LONGEST
    assert verbatim("abcdefghijkl", 9) == "abcde…jkl"
    found = short("start " + "very " * 1000 + "end.png")
    assert len(found) == LONGEST
    assert (found[:5], found[-8:]) == ("start", " end.png")
