"""What to make again where committed results are taken as they are although weights and detections are missing.

Git holds metrics, tables and DVC's locks, not weights. In a fresh clone a result that is there is still the result;
only what nobody ran yet has to run, and before it the missing weights that it starts from.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from pipeline import paths
from pipeline.graph import declared

GONE = {"changed deps": "deleted", "changed outs": "not in cache"}  # DVC's words for a file that is only missing


def only_missing(reasons: Collection[Any]) -> bool:
    """Whether DVC's reasons to call a stage out of date are files that are missing, none that changed."""
    kinds = [kinds for reason in reasons if isinstance(reason, dict) for kinds in reason.items()]
    return len(kinds) == len(reasons) and all(
        isinstance(files, dict) and set(files.values()) == {GONE.get(kind)} for kind, files in kinds
    )


def stand_ins(
    stale: Collection[str], known: Mapping[str, declared.Stage], exists: Callable[[str], bool] | None = None
) -> list[list[str]]:
    """Return the stages up to date whose missing outputs are needed by stages out of date, in rounds to make them.

    No stage needs another of its own round, and none a stage out of date: what those need is made as they are.

    Args:
        stale: addresses of the stages out of date.
        known: all stages by address.
        exists: whether a file or folder of the project is there, by default in this work tree.
    """
    exists = exists or (lambda name: (paths.ROOT / name).exists())
    maker = {out: stage.address for stage in known.values() for out in stage.outs}
    needs: dict[str, set[str]] = {}
    waiting = list(stale)
    while waiting:
        name = waiting.pop()
        if name not in needs:
            needs[name] = {maker[dep] for dep in known[name].deps if dep in maker and not exists(dep)}
            waiting += needs[name]
    above = {name: declared.ancestors(name, known) for name in needs}
    chosen = {name for name in needs if above[name].isdisjoint(stale)}
    rounds, done = [], set()
    while left := [name for name in known if name in chosen - done]:
        rounds.append([name for name in left if needs[name] <= done])
        done.update(rounds[-1])
    return rounds
