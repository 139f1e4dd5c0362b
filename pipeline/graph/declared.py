"""The stages that the dvc.yaml files declare, with their templates filled in.

Snakemake's rules are made from here, one for each kind of stage, and the driver reads the outputs of stages that DVC
calls out of date. It knows the part of DVC's templating that this project uses: `vars`, `foreach` over a mapping,
`${key}`, `${item.field}`, names of `vars`. `pipeline.graph.check` compares the result with DVC's own.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import paths
from pipeline.errors import InputError, nearest, reading
from pipeline.files import read_yaml

TEMPLATE = re.compile(r"\$\{([^}]+)\}")
WILDCARD = re.compile(r"\{(\w+)\}")
WRITTEN = ("outs", "metrics", "plots")


@dataclass(frozen=True)
class Stage:
    """One stage: its address as DVC takes it from the root (`dvc repro <address>`), its files, and its kind."""

    address: str
    command: str
    deps: tuple[str, ...]
    outs: tuple[str, ...]  # plain outputs, metrics and plots
    kind: str = ""
    patterns: tuple[str, ...] = ()  # `outs` with `{key}` and the like where stages of this kind differ
    wildcards: Mapping[str, str] = field(default_factory=dict)  # what this stage has in such places

    @property
    def name(self) -> str:
        """The address without the file."""
        return self.address.rpartition(":")[2]

    @property
    def script(self) -> str:
        """The module in pipeline/stages: `train`."""
        return self.command.split()[2].rpartition(".")[2]


@dataclass(frozen=True)
class Kind:
    """Stages that differ only in what `{wildcards}` in their outputs stand for: what Snakemake calls a rule."""

    name: str
    patterns: tuple[str, ...]
    stages: list[Stage]

    @property
    def values(self) -> dict[str, set[str]]:
        """What each wildcard stands for in some stage."""
        names = dict.fromkeys(WILDCARD.findall(" ".join(self.patterns)))
        return {name: {stage.wildcards[name] for stage in self.stages} for name in names}

    @property
    def log(self) -> str:
        """Where a stage of this kind keeps its log: `logs/train/{key}.log`, `logs/report.log`."""
        places = "__".join(f"{{{name}}}" for name in self.values)
        return f"logs/{self.name}/{places}.log" if places else f"logs/{self.name}.log"


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
        with reading(file, "take it back from git, or run `python -m pipeline.graph write`"):
            result |= stages_of(file, root)
    return result


def stages_of(file: Path, root: Path) -> dict[str, Stage]:
    """Return the stages of one dvc.yaml by address; a file that is none raises many kinds of error."""
    result = {}
    content = read_yaml(file)
    variables = dict(read_yaml(root / paths.PARAMS))
    for name in content.get("vars", ()):
        variables |= read_yaml(file.parent / name)
    prefix = "" if file.parent == root else f"{file.relative_to(root).as_posix()}:"
    for name, body in content["stages"].items():
        if "foreach" not in body:
            result[prefix + name] = filled(prefix + name, body, variables, file)
            continue
        each = body["foreach"]
        items = variables[each.strip("${}")] if isinstance(each, str) else each
        for key, item in items.items():
            scope = variables | {"key": key} | {f"item.{field}": value for field, value in item.items()}
            result[f"{prefix}{name}@{key}"] = filled(f"{prefix}{name}@{key}", body["do"], scope, file)
    return result


def filled(address: str, body: Mapping[str, Any], scope: Mapping[str, Any], file: Path) -> Stage:
    """Return one stage with every `${...}` replaced."""

    def fill(text: str, values: Mapping[str, Any] = scope) -> str:
        def value(match: re.Match[str]) -> str:
            if match[1] not in values:
                raise InputError(
                    f"{file}: stage {address} names the unknown variable {match[1]!r}; add it to its vars."
                )
            return str(values[match[1]])

        return TEMPLATE.sub(value, text)

    def files(*lists: str, values: Mapping[str, Any] = scope) -> tuple[str, ...]:
        entries = (entry for name in lists for entry in body.get(name, ()))
        return tuple(fill(next(iter(entry)) if isinstance(entry, dict) else entry, values) for entry in entries)

    command, outs = fill(body["cmd"]), files(*WRITTEN)
    kind, _, key = address.rpartition(":")[2].partition("@")
    if key:
        names = {n.removeprefix("item."): n for n in scope if n == "key" or n.startswith("item.")}
        patterns = files(*WRITTEN, values={**scope, **{n: f"{{{short}}}" for short, n in names.items()}})
        wildcards = {short: str(scope[n]) for short, n in names.items()}
    else:
        kind, key = kind_of(kind, command, ":" in address)
        patterns = tuple(re.sub(f"{key}(?=[^/]*$)", "{key}", out, count=1) if key else out for out in outs)
        wildcards = {"key": key}
    return Stage(address, command, files("deps"), outs, kind, patterns, wildcards)


def kind_of(name: str, command: str, in_folder: bool) -> tuple[str, str]:
    """Return kind and key of a stage that is written out by itself, without a key where it is the only one of its kind.

    Its script's argument is its key where its name ends with it (`page_pod`: kind `page`). In a folder of its own the
    name may be the key alone (the table `dst_t2`): then the script is the kind.
    """
    script, *arguments = command.split()[2:]
    key = arguments[0] if arguments and not arguments[0].startswith("-") else ""
    if key and name.endswith(f"_{key}"):
        return name.removesuffix(f"_{key}"), key
    return (script.rpartition(".")[2], key) if in_folder and name == key else (name, "")


def kinds(known: Mapping[str, Stage]) -> list[Kind]:
    """Return the kinds of all stages; a stage whose outputs do not fit its kind's is a kind of its own."""
    found: dict[str, Kind] = {}
    for stage in known.values():
        kind = found.setdefault(stage.kind, Kind(stage.kind, stage.patterns, []))
        if kind.patterns == stage.patterns:
            kind.stages.append(stage)
        else:
            found[stage.name] = Kind(stage.name.replace("@", "_"), stage.outs, [stage])
    return list(found.values())


def one(name: str, known: Mapping[str, Stage]) -> Stage:
    """Return a stage by its address, or by its name alone where that is unique (`dst_t2`)."""
    if name in known:
        return known[name]
    found = [address for address, stage in known.items() if stage.name == name]
    if len(found) != 1:
        short = [stage.name for stage in known.values()]
        raise InputError(f"No stage is called {name!r}{nearest(name, short)}; `dvc stage list --all` lists them.")
    return known[found[0]]


def ancestors(addresses: str | Iterable[str], known: Mapping[str, Stage]) -> set[str]:
    """Return the address of a stage, or several, and those of all stages that they need, directly or not."""
    maker = {out: stage.address for stage in known.values() for out in stage.outs}
    seen, waiting = set(), [addresses] if isinstance(addresses, str) else list(addresses)
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting += [maker[place] for place in places(known[current]) if place in maker]
    return seen


def in_order(stages: Mapping[str, Stage]) -> Iterator[Stage]:
    """Yield all stages, each after the stages that it needs."""
    waiting, done = list(stages.values()), set()
    maker = {out: stage.address for stage in waiting for out in stage.outs}
    needs = {s.address: {maker[place] for place in places(s) if place in maker} - {s.address} for s in waiting}
    while waiting:
        ready = [stage for stage in waiting if needs[stage.address] <= done]
        if not ready:
            raise InputError(f"Stages need each other: {', '.join(stage.address for stage in waiting)}; part them.")
        yield from ready
        done |= {stage.address for stage in ready}
        waiting = [stage for stage in waiting if stage.address not in done]


def places(stage: Stage) -> set[str]:
    """Return what a stage depends on, and the folders around it: a dependency may lie in an output."""
    return {place for dep in stage.deps for place in (dep, *map(str, Path(dep).parents))}


def descendants(addresses: Iterable[str], known: Mapping[str, Stage]) -> set[str]:
    """Return some stages' addresses and those of all stages that need one of them, directly or not."""
    found: set[str] = set()
    new = set(addresses)
    while new:
        found |= new
        made = {out for name in new for out in known[name].outs}
        new = {name for name in known.keys() - found if not made.isdisjoint(places(known[name]))}
    return found
