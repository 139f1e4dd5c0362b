"""Do the two doors show one graph? Every output must have the same stage and the same dependencies in both."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pipeline import paths
from pipeline.graph import declared, doors

Made = dict[str, tuple[str, frozenset[str]]]  # output -> (address of its stage, paths that it depends on)

BLOCK = re.compile(r"\n(?:\[.*\]\n)?(?:local)?rule ")
ADDRESS = re.compile(r"repro --single-item (\S+)")


def by_dvc() -> Made:
    """Return every output in DVC's own index of the pipeline."""
    from dvc.repo import Repo

    inside = {str(file) for file in declared.dvc_files()}
    result: Made = {}
    with Repo(str(paths.ROOT)) as repo:
        for stage in repo.index.stages:
            if stage.path not in inside:
                continue
            deps = frozenset(relative(dep.fs_path) for dep in stage.deps)
            for out in stage.outs:
                result[relative(out.fs_path)] = (stage.addressing, deps)
    return result


def by_snakemake() -> Made:
    """Return every output in Snakemake's plan for a build of everything."""
    targets = ["report"]
    loose = (
        "evaluate@",
        "measure@",
        "propose@",
        "search_ranges@",
        "classify@",
        "fine_tune@",
        "loss_share@",
        "data/dvc.yaml:",
        "dst_figures",
        "compare",
    )  # these may be in no table
    targets += [
        out for name, stage in declared.stages().items() if any(kind in name for kind in loose) for out in stage.outs
    ]
    text = doors.snakemake("--dry-run", "--forceall", "--", *targets)
    result: Made = {}
    for block in BLOCK.split(text)[1:]:
        fields = {m[1]: m[2].split(", ") for m in re.finditer(r"^    (input|output): (.*)$", block, re.M)}
        address = ADDRESS.search(block)
        for out in fields.get("output", ()):
            result[out] = (address[1] if address else "", frozenset(fields.get("input", ())))
    return result


def by_declaration() -> Made:
    """Return every output as this project's own reader of dvc.yaml sees it."""
    return {out: (s.address, frozenset(s.deps)) for s in declared.stages().values() for out in s.outs}


def differences(ours: Made, theirs: Mapping[str, tuple[str, frozenset[str]]], us: str, them: str) -> list[str]:
    """Return a sentence for each output about which two graphs disagree."""
    found = [
        f"{out}: made by {ours[out][0]} in {us}, by nothing in {them}" for out in sorted(ours.keys() - theirs.keys())
    ]
    found += [
        f"{out}: made by {theirs[out][0]} in {them}, by nothing in {us}" for out in sorted(theirs.keys() - ours.keys())
    ]
    for out in sorted(ours.keys() & theirs.keys()):
        (stage, deps), (other, others) = ours[out], theirs[out]
        if stage != other:
            found.append(f"{out}: made by {stage} in {us}, by {other} in {them}")
        if deps != others:
            only = [f"{d} only in {us}" for d in sorted(deps - others)] + [
                f"{d} only in {them}" for d in sorted(others - deps)
            ]
            found.append(f"{out}: depends on {', '.join(only)}")
    return found


def drift() -> list[str]:
    """Return all differences between DVC's graph, Snakemake's, and what `declared` reads."""
    dvc = by_dvc()
    return [
        *differences(dvc, by_snakemake(), "DVC", "Snakemake"),
        *differences(dvc, by_declaration(), "DVC", "pipeline.graph.declared"),
    ]


def relative(path: str) -> str:
    return path.removeprefix(f"{paths.ROOT}/")
