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


def planned(stale, there):
    plan = missing.plan(stale, KNOWN, there.__contains__)
    return plan.graph, plan.after


def test_a_new_result_trains_neither_its_neighbours_nor_theirs():
    assert planned(["train_b", "score_b", "table"], IN_GIT - {"score_b.out"}) == (
        ("init", "train_b", "score_b"),
        ("table",),
    )


def test_a_light_stage_between_two_that_run_runs_with_them():
    there = IN_GIT - {"score_f.out"}
    graph = ("init", "gsl", "scales", "fd_init", "train_f", "score_f")
    assert planned(["train_f", "score_f", "table"], there) == (graph, ("table",))
    assert planned(["score_f"], there | {"train_f.out"}) == (("score_f",), ())


def test_only_a_table_out_of_date_runs_alone():
    assert planned(["table"], IN_GIT) == (("table",), ())
    assert planned([], IN_GIT) == ((), ())


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
