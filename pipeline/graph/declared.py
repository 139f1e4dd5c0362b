"""The stages that the dvc.yaml files declare, with their templates filled in.

Snakemake reads the inputs of stages with varying rows (tables, pages, figures) from here, and the driver the outputs
of stages that DVC calls out of date. It knows the part of DVC's templating that this project uses: `vars`, `foreach`
over a mapping, `${key}`, `${item.field}`, names of `vars`. `pipeline.graph.check` compares the result with DVC's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import paths
from pipeline.errors import InputError, nearest
from pipeline.files import read_yaml

TEMPLATE = re.compile(r"\$\{([^}]+)\}")


@dataclass(frozen=True)
class Stage:
    """One stage: its address as DVC takes it from the root (`dvc repro <address>`), and its files."""

    address: str
    command: str
    deps: tuple[str, ...]
    outs: tuple[str, ...]  # plain outputs, metrics and plots


def dvc_files(root: Path = paths.ROOT) -> list[Path]:
    """Return the dvc.yaml files of the pipeline (the benchmarks' own folder is no part of it)."""
    folders = [
        root / "workflow" / name for name in ("classifiers", "combinations", "data", "deeper", "further", "papers")
    ]
    return [root / "dvc.yaml", *(file for folder in folders for file in sorted(folder.rglob("dvc.yaml")))]


def stages(root: Path = paths.ROOT) -> dict[str, Stage]:
    """Return all stages of the pipeline by address.

    Raises:
        InputError: a template names a variable that `vars` does not give.
    """
    result = {}
    for file in dvc_files(root):
        content = read_yaml(file)
        variables = dict(read_yaml(root / paths.PARAMS))
        for name in content.get("vars", ()):
            variables |= read_yaml(file.parent / name)
        prefix = "" if file.parent == root else f"{file.relative_to(root).as_posix()}:"
        for name, body in content["stages"].items():
            if "foreach" not in body:
                result[prefix + name] = filled(prefix + name, body, variables, file)
                continue
            items = variables[body["foreach"].strip("${}")]
            for key, item in items.items():
                scope = variables | {"key": key} | {f"item.{field}": value for field, value in item.items()}
                result[f"{prefix}{name}@{key}"] = filled(f"{prefix}{name}@{key}", body["do"], scope, file)
    return result


def filled(address: str, body: Mapping[str, Any], scope: Mapping[str, Any], file: Path) -> Stage:
    """Return one stage with every `${...}` replaced."""

    def fill(text: str) -> str:
        def value(match: re.Match[str]) -> str:
            if match[1] not in scope:
                raise InputError(
                    f"{file}: stage {address} names the unknown variable {match[1]!r}; add it to its vars."
                )
            return str(scope[match[1]])

        return TEMPLATE.sub(value, text)

    def names(kind: str) -> Iterable[str]:
        for entry in body.get(kind, ()):
            yield fill(next(iter(entry)) if isinstance(entry, dict) else entry)

    outs = (*names("outs"), *names("metrics"), *names("plots"))
    return Stage(address, fill(body["cmd"]), tuple(names("deps")), outs)


def one(name: str, known: Mapping[str, Stage]) -> Stage:
    """Return a stage by its address, or by its name alone where that is unique (`dst_t2`)."""
    if name in known:
        return known[name]
    found = [address for address in known if address.rpartition(":")[2] == name]
    if len(found) != 1:
        short = [address.rpartition(":")[2] for address in known]
        raise InputError(f"No stage is called {name!r}{nearest(name, short)}; `dvc stage list --all` lists them.")
    return known[found[0]]


def ancestors(address: str, known: Mapping[str, Stage]) -> set[str]:
    """Return a stage's address and those of all stages that it needs, directly or not."""
    maker = {out: stage.address for stage in known.values() for out in stage.outs}
    seen, waiting = set(), [address]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting += [maker[dep] for dep in known[current].deps if dep in maker]
    return seen


def in_order(stages: Mapping[str, Stage]) -> Iterator[Stage]:
    """Yield all stages, each after those that it needs."""
    waiting, made = list(stages.values()), set()
    makes = {out for stage in waiting for out in stage.outs}
    while waiting:
        ready = [s for s in waiting if all(d in made or d not in makes for d in s.deps)]
        yield from ready
        made |= {out for stage in ready for out in stage.outs}
        waiting = [s for s in waiting if s not in ready]
