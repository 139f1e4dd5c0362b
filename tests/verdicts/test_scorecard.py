"""All comparisons together: chance, false discoveries and signs, by hand."""

import numpy as np
import pytest

from pipeline.verdicts.rule import COMPATIBLE, EXCLUDED, Word
from pipeline.verdicts.scorecard import Scorecard, agreement, decided_alone, discoveries, distinct, scorecard, wilson
from pipeline.verdicts.table_lines import FIELDS, TEXTS, Line


def line(evaluation: str, **cells) -> Line:
    """Return a compared row that nothing decides, with other cells."""
    found = {name: "" if name in TEXTS else None for name in FIELDS} | {
        "kind": "row",
        "metric": "ap",
        "baseline": "base",
    }
    found |= {"evaluation": evaluation, "row": evaluation, "our_gain": 1.0, "verdict": Word.UNDECIDED, "text": {}}
    return Line(**(found | cells))


def test_benjamini_and_hochberg_by_hand():
    # rising: .001 <= .05 / 5, .012 <= .02, .04 > .03, .041 > .04, .045 <= .05, which keeps all before it
    assert discoveries([0.041, 0.001, 0.045, 0.012, 0.04]) == [0, 1, 2, 3, 4]
    assert discoveries([0.041, 0.001, 0.3, 0.012, 0.04]) == [1, 3]
    assert discoveries([0.5, 0.6]) == []
    assert discoveries([]) == []


def test_few_false_discoveries_among_many():
    random = np.random.default_rng(3)
    shares = []
    for _ in range(200):
        p = [*(random.uniform(size=80)), *(random.uniform(0, 0.001, size=20))]  # 80 without an effect, 20 with one
        kept = discoveries(p)
        shares.append(sum(place < 80 for place in kept) / len(kept))
    assert np.mean(shares) <= 0.05


def test_a_comparison_counts_once_and_what_was_not_judged_does_not():
    same = line("a", published_gain=1.0)
    tables = {
        "x_t1": [same, line("b", verdict=Word.INACTIVE), line("c", our_gain=None), line("d", metric="ap_small")],
        "x_t2": [same, line("a", baseline="other")],
    }
    assert [(name, one.evaluation, one.baseline) for name, one in distinct(tables)] == [
        ("x_t1", "a", "base"),
        ("x_t2", "a", "other"),
    ]
    assert [one.evaluation for _, one in distinct(tables, "ap_small")] == ["d"]


def test_counts_by_hand():
    lines = [
        line("a", p=0.001, verdict=Word.AGREES, published_gain=1.0, size=COMPATIBLE),
        line("b", p=0.03, verdict=Word.CONTRADICTS, published_gain=1.0, size=EXCLUDED),
        line("c", p=0.5),
        line("d"),  # no interval
    ]
    assert scorecard(lines) == Scorecard(3, 2, pytest.approx(0.15), 2, 2, 1)


def test_what_is_decided_alone_and_not_among_all():
    # 0.04 is above 0.05 * 2 / 3; the same comparison in a second table does not count twice
    lines = [line("a", p=0.001, verdict=Word.AGREES), line("b", p=0.04, verdict=Word.UP), line("c", p=0.5)]
    assert decided_alone({"x_t1": lines, "x_t2": lines[1:2]}, "ap") == {("b", "base")}
    assert decided_alone({"x_t1": lines[:2]}, "ap") == set()
    assert decided_alone({"x_t1": lines}, "ap_small") == set()


def test_signs_agree_by_table():
    found = [("t1", line("a", published_gain=1.0)), ("t1", line("b", published_gain=-1.0)), ("t1", line("c"))]
    one = agreement(found)
    assert (one.agree, one.of, one.low) == (1, 2, None)  # one table gives no interval
    both = agreement([*found, *[("t2", line(name, published_gain=2.0)) for name in "defg"]])
    assert (both.agree, both.of) == (5, 6)
    assert (both.low, both.high) == (pytest.approx(0.436, abs=1e-3), 1.0)  # Wilson of 5 in 6; t2 drawn twice


def test_wilson_by_hand():
    # z^2 = 3.8415: (3 + 1.9207 -+ 1.96 sqrt(3 / 4 + 0.9604)) / 7.8415
    assert wilson(3, 4) == (pytest.approx(0.3006, abs=1e-4), pytest.approx(0.9544, abs=1e-4))
    assert wilson(0, 5)[0] == 0.0
    assert wilson(5, 5)[1] == 1.0
