"""Do the two doors show one graph? Every output must have the same stage, and in DVC the same dependencies."""

from collections.abc import Mapping

from pipeline import paths
from pipeline.graph import declared, doors

Made = Mapping[str, tuple[str, frozenset[str]]]  # output: who makes it, and the paths that it depends on


def by_dvc() -> Made:
    """Return every output in DVC's own index of the pipeline, made by the address of a stage."""
    from dvc.repo import Repo

    inside = {str(file) for file in declared.dvc_files()}
    result = {}
    with Repo(str(paths.ROOT)) as repo:
        for stage in repo.index.stages:
            if stage.path in inside:
                deps = frozenset(relative(dep.fs_path) for dep in stage.deps)
                result |= {relative(out.fs_path): (stage.addressing, deps) for out in stage.outs}
    return result


def by_declaration() -> Made:
    """Return every output as this project's own reader of dvc.yaml sees it, of which Snakemake's rules are made."""
    return {out: (s.address, frozenset(s.deps)) for s in declared.stages().values() for out in s.outs}


def differences(ours: Made, theirs: Made, us: str, them: str) -> list[str]:
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
    """Return all differences between DVC's graph, what `declared` reads, and the rules that Snakemake makes of it."""
    kinds = declared.kinds(declared.stages())
    expected = {
        out: (f"rule {kind.name}", frozenset()) for kind in kinds for stage in kind.stages for out in stage.outs
    }
    planned = {row["output_file"]: (f"rule {row['rule']}", frozenset()) for row in doors.summary(*expected)}
    return [
        *differences(by_dvc(), by_declaration(), "DVC", "pipeline.graph.declared"),
        *differences(expected, planned, "pipeline.graph.declared", "Snakemake"),
    ]


def relative(path: str) -> str:
    return path.removeprefix(f"{paths.ROOT}/")
