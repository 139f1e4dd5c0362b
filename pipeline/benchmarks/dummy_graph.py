"""Measure the graph at its full size: all stages with trivial commands, and the report on invented results.

Times depend on the machine, so no report includes this stage: `dvc repro benchmarks/dvc.yaml:graph`.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline import files, paths
from pipeline.benchmarks.invented import write_results
from pipeline.graph import declared
from pipeline.published.rows import load_rows
from pipeline.published.tables import load_published
from pipeline.reporting.catalogue import write_catalogue
from pipeline.reporting.figures.headline import draw_figures
from pipeline.reporting.tables import write_table

COPIED = ["params.yaml", ".dvcignore", ".gitignore", ".dvc/config", "workflow", "data/published", "pipeline"]
COPIED += ["dvc.yaml", "data/noise.json", "reports/benchmarks"]
REPORT = Path("reports/benchmarks/graph.md")
EDITED = "dst_frcnn_r50_fpn_1x_dst"

SCRIPT = """
import hashlib, json, sys
from pathlib import Path

def make(deps, outs):
    digest = hashlib.md5()
    for dep in deps:
        for path in sorted(Path(dep).rglob("*")) if Path(dep).is_dir() else [Path(dep)]:
            digest.update(path.read_bytes() if path.is_file() else b"")
    for out in map(Path, outs):
        out.parent.mkdir(parents=True, exist_ok=True)
        if not out.suffix:
            out.mkdir(exist_ok=True)
            out = out / "note.txt"
        kinds = {".json": '{"value": "%s"}', ".csv": "step,loss\\n0,1 # %s\\n"}
        out.write_text(kinds.get(out.suffix, "%s\\n") % digest.hexdigest())

if __name__ == "__main__":
    name = "_".join([Path(sys.argv[0]).stem, *sys.argv[1:-2]])
    make(*json.loads(Path("plan", f"{name}.json").read_text()))
"""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="dummy-graph-") as folder:
        root = Path(folder) / "project"
        stages = project(root)
        result = measure(root, stages)
        result |= time_report(Path(folder) / "report")
    files.write_json(REPORT.with_suffix(".json"), result)
    files.write_text(REPORT, page(result))


def project(root: Path) -> dict[str, declared.Stage]:
    """Write a copy of the project with trivial stages below `root`, and return these stages."""
    ignore = shutil.ignore_patterns("__pycache__", "dvc.lock")
    for name in COPIED:
        source, target = paths.ROOT / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=ignore)
        else:
            shutil.copy(source, target)
    stages = declared.stages(root)
    for stage in stages.values():
        words = stage.command.split()[2:]
        script = words[0].rpartition(".")[2]
        if script != "code":
            (root / f"pipeline/stages/{script}.py").write_text(SCRIPT)
            files.write_json(root / "plan" / f"{'_'.join([script, *words[1:-2]])}.json", [stage.deps, stage.outs])
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    return stages


def ordered(stages: dict[str, declared.Stage]) -> Iterator[declared.Stage]:
    """Yield all stages, each after the stages that it needs."""
    waiting, made = list(stages.values()), set()
    makes = {out for stage in waiting for out in stage.outs}
    while waiting:
        ready = [s for s in waiting if all(d in made or d not in makes for d in s.deps)]
        yield from ready
        made |= {out for stage in ready for out in stage.outs}
        waiting = [s for s in waiting if s not in ready]


def measure(root: Path, stages: dict[str, declared.Stage]) -> dict[str, Any]:
    """Build everything once without DVC, let DVC record it, and time everyday commands."""
    scope: dict[str, Any] = {"__name__": "dummy"}
    exec(SCRIPT, scope)
    tables = [name for address in stages if is_table(name := address.rpartition(":")[2], address)]
    preset = stages["report"].command.split()[-1]
    here = Path.cwd()
    os.chdir(root)
    try:
        run("python", "-m", "pipeline.stages.code")
        for stage in ordered(stages):
            if stage.address != "code":
                scope["make"](stage.deps, stage.outs)
        commit = run("dvc", "commit", "--force")
        idle = min(run("dvc", "repro") for _ in range(3))
        dry = min(run("snakemake", "--dry-run", "catalogue") for _ in range(2))
        plans = {name: run("snakemake", "--dry-run", str(paths.table(preset, name))) for name in tables}
        experiment = Path(paths.experiment_file(EDITED))
        experiment.write_text(experiment.read_text() + "# edited\n")
        needed = above(str(experiment), stages)
        edited = run("dvc", "repro")
        experiment.write_text(experiment.read_text() + "# again\n")
        one = run("snakemake", "--cores", "2", str(paths.table(preset, "dst_t2")))
        locks = [len(path.read_text().splitlines()) for path in root.rglob("dvc.lock")]
    finally:
        os.chdir(here)
    slowest = max(plans, key=lambda name: plans[name])
    return {
        "stages": len(stages),
        "experiments": sum("train@" in address and "pretrain@" not in address for address in stages),
        "classifiers": sum(any(f"{k}@" in a for k in ("pretrain", "classify", "fine_tune")) for a in stages),
        "tables": len(tables),
        "lock_files": len(locks),
        "lock_lines_largest": max(locks),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "commit_all": seconds(commit),
        "repro_nothing_to_do": seconds(idle),
        "repro_after_edit": seconds(edited),
        "stages_run_after_edit": len(needed),
        "overhead_a_stage": {k: round((edited[n] - idle[n]) / len(needed), 2) for n, k in enumerate(("wall", "cpu"))},
        "snakemake_dry_run": seconds(dry),
        "snakemake_dry_run_table": seconds(plans[slowest]) | {"table": slowest},
        "snakemake_one_table_after_edit": seconds(one),
    }


def is_table(name: str, address: str) -> bool:
    """Whether a stage makes a whole published table."""
    return "/tables/" in address and not name.startswith("headline_")


def above(file: str, stages: dict[str, declared.Stage]) -> set[str]:
    """Return the stages that run again if a file changes and every output changes with its inputs."""
    changed, found = {file}, set()
    for stage in ordered(stages):
        if changed & set(stage.deps):
            found.add(stage.address)
            changed |= set(stage.outs)
    return found


def time_report(folder: Path) -> dict[str, Any]:
    """Time the project's tables, catalogue and figures on invented results of the whole catalogue."""
    known = declared.stages()
    preset = known["report"].command.split()[-1]
    folder.mkdir()
    here = Path.cwd()
    os.chdir(folder)
    try:
        write_results(preset, known)
        begin = time.perf_counter(), time.process_time()
        for paper in paths.PAPERS:
            for table in load_published(paper).tables:
                write_table(table.id, preset)
            for name in load_rows(paper).headline:
                write_table(name, preset, headline=True)
        write_catalogue(preset)
        draw_figures(preset)
        spent = time.perf_counter() - begin[0], time.process_time() - begin[1]
    finally:
        os.chdir(here)
    return {"tables_and_figures": seconds(spent)}


def run(*command: str) -> tuple[float, float]:
    """Run a command and return its wall time and user CPU time in seconds."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    spent = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-3000:]}")
    return spent


def seconds(times: tuple[float, float]) -> dict[str, float]:
    return {"wall": round(times[0], 1), "cpu": round(times[1], 1)}


def page(result: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    slowest = result["snakemake_dry_run_table"]["table"]
    rows = [
        ("`dvc repro`, nothing to do", "repro_nothing_to_do", "at most 10 s"),
        (f"`dvc repro` after an edit ({result['stages_run_after_edit']} stages run)", "repro_after_edit", ""),
        ("overhead a stage that runs (difference of the two, by their number)", "overhead_a_stage", "at most 1 s"),
        ("`snakemake --dry-run catalogue`", "snakemake_dry_run", ""),
        (
            f"`snakemake --dry-run` of one table, the slowest of all ({slowest})",
            "snakemake_dry_run_table",
            "at most 3 s",
        ),
        ("one table by `snakemake --cores 2` after that edit", "snakemake_one_table_after_edit", ""),
        ("`dvc commit` of everything", "commit_all", ""),
        ("all tables, the catalogue and the figures from invented results", "tables_and_figures", "at most 60 s"),
    ]
    lines = [f"| {what} | {result[key]['wall']} | {result[key]['cpu']} | {wanted} |" for what, key, wanted in rows]
    head = (
        "# The graph at its full size\n\n"
        f"All {result['stages']} stages of the project with trivial commands: {result['experiments']} detectors and "
        f"proposal networks, {result['classifiers']} classifiers and inits, {result['tables']} tables; "
        f"{result['lock_files']} lock files, the largest of {result['lock_lines_largest']} lines. Seconds on a machine "
        f"with {result['cores']} cores whose load was {result['load_before']} at the end; user CPU is what to trust "
        "where that is above 1.\n\n| what | wall | user CPU | wanted |\n| --- | --- | --- | --- |\n"
    )
    return head + "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
