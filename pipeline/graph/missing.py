"""What to run where committed results are taken as they are although weights and detections are missing.

Git holds metrics, tables and DVC's locks, not weights. In a fresh clone a result that is there is still the result;
only what nobody ran yet has to run, with the missing weights that it starts from.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline import paths
from pipeline.graph import declared

GONE = {"changed deps": "deleted", "changed outs": "not in cache"}  # DVC's words for a file that is only missing


@dataclass(frozen=True)
class Plan:
    """Stages to run, by address."""

    graph: tuple[str, ...]  # with their ancestors by Snakemake, in parallel
    after: tuple[str, ...]  # then these by DVC, one at a time, each after what it needs: they read committed results


def only_missing(reasons: Collection[Any]) -> bool:
    """Whether DVC's reasons to call a stage out of date are files that are missing, none that changed."""
    kinds = [kinds for reason in reasons if isinstance(reason, dict) for kinds in reason.items()]
    return len(kinds) == len(reasons) and all(
        isinstance(files, dict) and set(files.values()) == {GONE.get(kind)} for kind, files in kinds
    )


def plan(
    stale: Collection[str], known: Mapping[str, declared.Stage], exists: Callable[[str], bool] | None = None
) -> Plan:
    """Return what to run for stages out of date: they themselves, and what makes the inputs that they lack.

    Args:
        stale: addresses of the stages out of date.
        known: all stages by address.
        exists: whether a file or folder of the project is there, by default in this work tree.
    """
    exists = exists or (lambda name: (paths.ROOT / name).exists())
    maker = {out: stage.address for stage in known.values() for out in stage.outs}
    above = {address: declared.ancestors(address, known) - {address} for address in order(stale, known)}
    chosen = set(stale)
    while True:
        new = {maker[dep] for name in chosen for dep in known[name].deps if dep in maker and not exists(dep)} - chosen
        for name in above:  # a light one between two that run, whose results are there: run too, it needs nothing more
            if name not in chosen and above[name] & chosen and all(map(exists, known[name].outs)):
                made = [maker.get(dep) for dep in known[name].deps if not exists(dep)]
                new |= {name} if chosen.issuperset(made) else set()
        if not new:
            break
        chosen |= new
    ordered = [name for name in order(stale, known) if name in chosen]
    after = [name for name in ordered if any(above[up] & chosen for up in above[name] - chosen)]
    return Plan(tuple(name for name in ordered if name not in after), tuple(after))


def order(stale: Collection[str], known: Mapping[str, declared.Stage]) -> list[str]:
    """Return some stages and all their ancestors, each after what it needs."""
    maker = {out: stage.address for stage in known.values() for out in stage.outs}
    done: dict[str, None] = {}

    def visit(address: str) -> None:
        if address not in done:
            for dep in known[address].deps:
                if dep in maker:
                    visit(maker[dep])
            done[address] = None

    for address in stale:
        visit(address)
    return list(done)
