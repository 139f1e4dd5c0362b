"""The line that says when committed results are of earlier recipes or code."""

import hashlib
from pathlib import Path

from pipeline import paths
from pipeline.files import write_text
from pipeline.graph import earlier
from pipeline.reporting.static_html import write_both

PAGE = f"# Report\n\n{earlier.QUESTION}- **Helps:** something.\n"
LINE = f"{earlier.START}1 of the 2 trainings.\n"


def test_committed_pages_say_whether_their_results_are_of_the_present_recipes():
    pages = ", ".join(map(str, earlier.outdated()))
    assert not pages, (
        f"{pages}: does not say rightly whether results are out of date; run `python -m pipeline.graph write`."
    )


def test_a_stage_is_out_of_date_where_its_digest_is_another_than_on_record():
    path = Path("data/code/mini/train/one.txt")
    record = {"deps": [{"path": path.as_posix(), "md5": hashlib.md5(b"old").hexdigest()}, {"path": "x", "md5": "0"}]}
    assert earlier.changed({"train@one": record}, {path: "old"}) == set()
    assert earlier.changed({"train@one": record}, {path: "new"}) == {"train@one"}
    assert earlier.changed({"train@one": record}, {}) == set()  # another preset's digests


def test_the_line_stands_first_in_the_answer_and_goes_again():
    with_it = earlier.with_line(PAGE, LINE, earlier.QUESTION)
    assert with_it == PAGE.replace(earlier.QUESTION, earlier.QUESTION + LINE)
    newer = LINE.replace("1", "2")
    assert earlier.with_line(with_it, newer, earlier.QUESTION) == with_it.replace(LINE, newer)
    assert earlier.with_line(with_it, "", earlier.QUESTION) == PAGE
    assert earlier.with_line("a page without an answer\n", LINE, earlier.QUESTION) == "a page without an answer\n"


def test_the_page_as_html_has_the_line_too(tmp_path, monkeypatch):
    report = paths.index("mini")
    write_text(tmp_path / paths.PARAMS, "preset: mini\n")
    write_both(tmp_path / report, PAGE)
    monkeypatch.setattr(earlier, "line", lambda root: LINE)
    found = earlier.outdated(tmp_path)
    assert list(found) == [report, report.with_suffix(".html")]
    assert "1 of the 2 trainings." in found[report]
    assert "<strong>Out of date:</strong> 1 of the 2 trainings." in found[report.with_suffix(".html")]
    for path, text in found.items():
        write_text(tmp_path / path, text)
    assert earlier.outdated(tmp_path) == {}
