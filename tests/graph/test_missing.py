"""What runs where results are committed and weights are not: on a small graph, whose answers are drawn by hand.

init → train_a → score_a ─┐        init → gsl → scales → fd_init → train_f → score_f ─┐  (fd_init also takes gsl's)
  └──→ train_b → score_b ─┴─ table                            (the same table reads score_f, too)
"""

import pytest

from pipeline.graph import missing
from pipeline.graph.declared import Stage

CHAIN = {
    "init": (),
    "train_a": ("init",),
    "score_a": ("train_a",),
    "train_b": ("init",),
    "score_b": ("train_b",),
    "gsl": ("init",),
    "scales": ("gsl",),
    "fd_init": ("gsl", "scales"),
    "train_f": ("fd_init",),
    "score_f": ("train_f",),
    "table": ("score_a", "score_b", "score_f"),
}
KNOWN = {name: Stage(name, "", tuple(f"{dep}.out" for dep in deps), (f"{name}.out",)) for name, deps in CHAIN.items()}
IN_GIT = {"score_a.out", "score_b.out", "score_f.out", "scales.out", "table.out"}


def rounds(stale, there):
    return missing.stand_ins(stale, KNOWN, there.__contains__)


def test_a_new_result_needs_its_init_alone():
    assert rounds(["train_b", "score_b", "table"], IN_GIT - {"score_b.out"}) == [["init"]]
    assert rounds(["train_b", "score_b", "table"], IN_GIT | {"init.out"} - {"score_b.out"}) == []


def test_stand_ins_are_made_from_the_committed_records_between_them():
    stale = ["train_f", "score_f", "table"]
    assert rounds(stale, IN_GIT - {"score_f.out"}) == [["init"], ["gsl"], ["fd_init"]]  # `scales` is in git and stays
    assert rounds(["score_f"], IN_GIT | {"train_f.out"} - {"score_f.out"}) == []


def test_what_needs_a_stage_out_of_date_is_no_stand_in():
    assert rounds(["gsl", "train_f"], IN_GIT) == [["init"]]  # fd_init changes with gsl
    assert rounds(["table"], IN_GIT) == rounds([], IN_GIT) == []


@pytest.mark.parametrize(
    ("reasons", "answer"),
    [
        ([{"changed deps": {"a": "deleted"}}, {"changed outs": {"w": "not in cache"}}], True),
        ([{"changed outs": {"w": "not in cache"}}], True),
        ([{"changed deps": {"a": "deleted", "b": "modified"}}], False),
        ([{"changed outs": {"metrics": "deleted"}}], False),  # git holds it, and somebody removed it
        ([{"changed deps": {"a": "new"}}], False),
        ([{"changed deps": {"a": "deleted"}}, "changed command"], False),
        ([{"changed deps": {"a": "deleted"}}, {"params": {"b": "deleted"}}], False),
        (["always changed"], False),
    ],
)
def test_reasons_that_are_no_more_than_missing_files(reasons, answer):
    assert missing.only_missing(reasons) is answer
