"""Which methods fit into some hours: the plain detector always, then papers from the cheapest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipeline.graph import declared
from pipeline.own.detectors import Kind
from pipeline.own.graph import ALWAYS, group_of, stage_of


class Fitted(NamedTuple):
    """Papers in the order in which they are trained, those that were left out, and hours of each."""

    kept: list[str]
    dropped: list[str]
    hours: dict[str, float]


def fit(chosen: Sequence[Kind], seconds: Mapping[str, float], side_by_side: int, hours: float | None = None) -> Fitted:
    """Return which papers fit; each costs what those before it do not need already.

    Args:
        chosen: detectors.
        seconds: of every stage that is out of date.
        side_by_side: stages at once.
        hours: at most; None: all fit.
    """
    known = declared.stages()
    needs: dict[str, set[str]] = {}
    for kind in chosen:
        above = declared.ancestors(declared.one(stage_of(kind), known).address, known)
        needs.setdefault(group_of(kind), set()).update(above & seconds.keys())
    done, spent, order, costs = set(), 0.0, [], {}
    waiting = dict(needs)
    while waiting:
        cost = {name: sum(seconds[a] for a in found - done) / side_by_side / 3600 for name, found in waiting.items()}
        name = ALWAYS if ALWAYS in waiting else min(cost, key=lambda one: (cost[one], one))
        costs[name] = cost[name]
        if hours is not None and name != ALWAYS and spent + cost[name] > hours:
            break
        spent += cost[name]
        order.append(name)
        done |= waiting.pop(name)
    costs |= {name: cost[name] for name in waiting}
    return Fitted(order, sorted(waiting, key=lambda name: -cost[name]), costs)
