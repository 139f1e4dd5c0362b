"""The page as one HTML file: the cells of the Markdown, ranks by hand, nothing loaded; sorted by a real browser."""

import base64
import html
import re
import shutil
import subprocess

import pytest

from pipeline import markdown as md
from pipeline.reporting.static_html import numbers, page, ranks, write_both

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = "--disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
ROWS = [
    ("[multi-scale test](a.md)", "20.1", "+4.3 [+3.4, +5.2]", "agrees", "1.00x, 4.42x"),
    ("DST", "21.0", "+0.3", "undecided", "1.00x, 1.00x"),
    ("2x <b>PSConv</b>", md.NOT_RUN, md.NOT_RUN, md.NOT_RUN, ""),
    ("MSFM", "9.2", "-0.1", "undecided", "1.07x, 1.05x"),
    ("POD FD", "1,015.5", "-10.6 [-11.0, -1.2]", "undertrained", "0.97x, 1.00x"),
]
HEADS = ("Method", "AP", "AP gain", "Verdict", "Cost")
COLUMNS = [md.Column(h, lambda row, n=n: row[n], "lrrlr"[n]) for n, h in enumerate(HEADS)]
TEXT = f"# Scalewise, preset mini\n\n## One & two\n\n{md.table(COLUMNS, ROWS)}\n![Gains](figures/gains.png)\n"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def cells(text: str, tag: str = "td") -> list[str]:
    """Return what the cells of a page say."""
    found = re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", text)
    return [html.unescape(re.sub("<[^>]*>", "", cell)) for cell in found]


def test_ranks_follow_the_numbers_and_what_has_none_stands_last():
    columns = list(zip(*ROWS, strict=True))
    assert ranks(columns[1]) == [1, 2, None, 0, 3]
    assert ranks(columns[2]) == [3, 2, None, 1, 0]
    assert ranks(columns[3]) == [0, 1, None, 1, 2]  # words by the alphabet, equal ones together
    assert ranks(columns[4]) == [2, 1, None, 3, 0]  # equal parameters: by multiply-adds
    assert ranks(["2x longer", "DST", ""], names=True) == [0, 1, None]
    assert ranks(["5.0", "too few objects (3)", "40 % [0, 75]", "n/a"]) == [0, None, 1, None]
    assert ranks([]) == []


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("+4.3 [+3.4, +5.2]", (4.3, 3.4, 5.2)),
        ("1.00x, 4.42x", (1.0, 4.42)),
        ("1,434,090", (1434090.0,)),
        ("± 0.05", (0.05,)),
        ("1.2e-05 of 3.4", (1.2e-05, 3.4)),
        ("0.0", (0.0,)),
        ("16x64d", None),
        ("undecided", None),
        ("DST -1.0", None),
        ("", None),
    ],
)
def test_numbers_of_a_cell(cell, expected):
    assert numbers(cell) == expected


def test_the_file_has_the_cells_of_the_page_and_loads_nothing(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/gains.png").write_bytes(PNG)
    write_both(tmp_path / "index.md", TEXT)
    assert (tmp_path / "index.md").read_text() == TEXT
    text = (tmp_path / "index.html").read_text()
    assert "<title>Scalewise, preset mini</title>" in text
    assert cells(text, "h1") == ["Scalewise, preset mini"]
    assert cells(text, "th") == list(HEADS)
    assert cells(text) == [cell.replace("[multi-scale test](a.md)", "multi-scale test") for row in ROWS for cell in row]
    assert text.count('aria-sort="none"') == text.count('<button type="button">') == len(HEADS)
    assert 'aria-label="Table: One &amp; two"' in text
    assert 'data-rank="3">+4.3 [+3.4, +5.2]</td>' in text
    assert f'src="data:image/png;base64,{base64.b64encode(PNG).decode()}" alt="Gains"' in text
    assert re.findall(r'href="([^"]*)"', text) == ["a.md"]
    assert not re.search(r"https?:|<link|@import|url\(|<script src", text)
    assert "default-src 'none'" in text


def test_a_page_that_is_sent_alone_links_to_nothing_outside(tmp_path):
    text = "# One\n\n[Left **out** & why](data.md#one), [below](#two), <https://x.org> and [b](../c.md)\n\n"
    text += md.table([md.Column("Method", lambda one: one)], ["[DST](a.md)"])
    write_both(tmp_path / "one.md", text, alone=True)
    found = (tmp_path / "one.html").read_text()
    assert re.findall(r'href="([^"]*)"', found) == ["#two"]
    said = html.unescape(re.sub("<[^>]*>", "", found))
    assert "Left out & why (data.md#one), below, https://x.org (https://x.org) and b (../c.md)" in said
    assert cells(found) == ["DST (a.md)"]


def test_words_of_the_data_are_no_markup_and_a_picture_that_is_not_drawn_is_said(tmp_path):
    text = page('# <script>alert("x")</script> & co\n\n![Gains <1>](figures/gains.png)\n', tmp_path)
    assert text.count("<script>") == 1
    assert "<title>&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; co</title>" in text
    assert "(Gains &lt;1&gt;: not drawn yet)" in text
    assert "<img" not in text


CLICKS = """
<script>
const heads = [...document.querySelectorAll("th")], said = [];
const note = () => said.push(heads.map(head => head.getAttribute("aria-sort")[0]).join("") + " " +
  [...document.querySelectorAll("tbody tr")].map(row => row.cells[0].textContent).join("; "));
for (const number of [1, 1, 1, 2, 3, 4, 0]) {
  const button = heads[number].querySelector("button");
  button.focus();
  if (document.activeElement !== button) said.push("no focus");
  document.activeElement.click();
  note();
}
said.push(`picture ${document.images[0].naturalWidth}`);
said.push(`wide ${document.documentElement.scrollWidth > innerWidth}`);
document.body.textContent = said.join("|") + "|";
</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is at hand")
def test_a_browser_sorts_every_column_both_ways_and_back(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/gains.png").write_bytes(PNG)
    write_both(tmp_path / "index.md", TEXT)
    file = tmp_path / "index.html"
    file.write_text(file.read_text().replace("</body>", f"{CLICKS}</body>"))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", *QUIET.split()]
    command += [f"--user-data-dir={tmp_path / 'browser'}", "--window-size=500,900", "--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    body = re.search(r"<body>(.*)</body>", done.stdout, re.S)
    assert body, done.stderr
    test, dst, psconv, msfm, pod = "multi-scale test", "DST", "2x <b>PSConv</b>", "MSFM", "POD FD"
    assert html.unescape(body[1]).strip().split("|") == [
        f"ndnnn {pod}; {dst}; {test}; {msfm}; {psconv}",  # numbers: the highest first
        f"nannn {msfm}; {test}; {dst}; {pod}; {psconv}",
        f"nnnnn {test}; {dst}; {psconv}; {msfm}; {pod}",  # as it was written
        f"nndnn {test}; {dst}; {msfm}; {pod}; {psconv}",
        f"nnnan {test}; {dst}; {msfm}; {pod}; {psconv}",
        f"nnnnd {msfm}; {test}; {dst}; {pod}; {psconv}",
        f"annnn {psconv}; {dst}; {msfm}; {test}; {pod}",
        "picture 1",
        "wide false",
        "",
    ]
