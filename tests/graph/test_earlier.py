"""The line that says when committed results are of earlier recipes or code."""

import hashlib
from pathlib import Path

from pipeline.graph import earlier

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
