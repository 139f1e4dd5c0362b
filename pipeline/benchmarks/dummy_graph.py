"""Measure the graph at its final size, from this project's own texts: 212 experiments, 43 tables, trivial commands.

Times belong to the machine they were taken on, so no report has this stage: `dvc repro benchmarks/dvc.yaml:graph`.
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

import yaml

from pipeline import files, paths
from pipeline.graph import declared

EXPERIMENTS, TABLES, GROUP = 212, 43, 10
CATALOGUE = Path("../shared/papers/experiments.yaml")  # the papers' experiments by name; without it, made-up names
COPIED = ["params.yaml", ".dvcignore", ".gitignore", ".dvc/config", "workflow", "data/published"]
COPIED += [f"pipeline/{name}" for name in ("__init__.py", "cli.py", "code_digest.py", "config.py", "errors.py")]
COPIED += ["pipeline/files.py", "pipeline/paths.py", "pipeline/graph", "pipeline/stages/code.py"]
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
    files.write_json(REPORT.with_suffix(".json"), result)
    files.write_text(REPORT, page(result))


def project(root: Path) -> dict[str, declared.Stage]:
    """Write the dummy project below `root`, and return its stages."""
    # Without proposals every experiment has the papers' common stages, which is all that is timed.
    ignore = shutil.ignore_patterns("__pycache__", "dvc.lock", "tables", "proposals")
    for name in COPIED:
        source, target = paths.ROOT / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=ignore)
        else:
            shutil.copy(source, target)
    (root / paths.NOISE).write_text("{}\n")
    rows = names()
    write_experiments(root, sorted({name for names in rows.values() for name in names} | known()))
    for paper in paths.PAPERS:
        tables = {name: table(name, rows[name]) for name in rows if paths.paper_of(name) == paper}
        dump(root / f"workflow/papers/{paper}/tables/dvc.yaml", {"vars": ["../../../../params.yaml"], "stages": tables})
    top = files.read_yaml(paths.ROOT / "dvc.yaml")
    outs = [f"reports/${{preset}}/tables/{name}.{suffix}" for name in rows for suffix in ("md", "csv")]
    top["stages"]["report"]["deps"] = [*(d for d in top["stages"]["report"]["deps"] if "/tables/" not in d), *outs]
    dump(root / "dvc.yaml", top)
    (root / "pipeline/stages/__init__.py").touch()
    stages = declared.stages(root)
    for out in stages["code"].outs:
        (root / f"pipeline/stages/{Path(out).stem}.py").write_text(SCRIPT)
    for stage in stages.values():
        words = stage.command.split()[2:]
        script = words[0].rpartition(".")[2]
        if script != "code":
            files.write_json(root / "plan" / f"{'_'.join([script, *words[1:-2]])}.json", [stage.deps, stage.outs])
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    return stages


def known() -> set[str]:
    """Return this project's own experiments."""
    indexes = (files.read_yaml(paths.ROOT / paths.paper_index(paper)) for paper in paths.PAPERS)
    return {name for index in indexes for name in index["experiments"]}


def names() -> dict[str, list[str]]:
    """Return the rows (experiments) of every table; together 212 experiments and 43 tables."""
    own = {a.rpartition(":")[2]: s for a, s in declared.stages().items() if "/tables/" in a}
    rows = {t: sorted({Path(d).stem[:-5] for d in s.deps if d.endswith("_size.json")}) for t, s in own.items()}
    if (paths.ROOT / CATALOGUE).is_file():
        inits = files.read_yaml(paths.ROOT / "workflow/inits.yaml")["inits"]
        for name, entry in files.read_yaml(paths.ROOT / CATALOGUE).items():
            if name in inits:
                continue
            for label in entry["tables"] or [f"{paths.paper_of(name)}_t1"]:
                rows.setdefault(label, [])
                rows[label] += [name] if name not in rows[label] else []
        return rows
    for number in range(TABLES - len(rows)):
        rows[f"{paths.PAPERS[number % 5]}_x{number}"] = []
    made_up = [f"{paths.PAPERS[n % 5]}_made_up_{n}" for n in range(EXPERIMENTS - len(known()))]
    for number, name in enumerate(made_up):
        list(rows.values())[-1 - number % (TABLES - len(own))].append(name)
    return rows


def write_experiments(root: Path, experiments: list[str]) -> None:
    """Write experiment files and indexes, a folder with the papers' common dvc.yaml for about ten experiments."""
    indexes = {paper: files.read_yaml(paths.ROOT / paths.paper_index(paper)) for paper in paths.PAPERS}
    text = (paths.ROOT / "workflow/papers/pod/dvc.yaml").read_text()
    inits = files.read_yaml(paths.ROOT / "workflow/inits.yaml")
    note = (paths.ROOT / paths.experiment_file("pod_frcnn_r50_fpn_1x")).read_text()
    for paper, index in indexes.items():
        mine = [name for name in experiments if paths.paper_of(name) == paper and name not in inits["inits"]]
        for number, group in enumerate(mine[i : i + GROUP] for i in range(0, len(mine), GROUP)):
            folder = root / "workflow/papers" / (paper if number == 0 else f"{paper}_{number}")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "dvc.yaml").write_text(text)
            entries = {n: index["experiments"].get(n, {"init": "resnet50", "recipe": paper}) for n in group}
            single = {n: {n: {"experiment": n, "test": "single", "recipe": entries[n]["recipe"]}} for n in group}
            own = {n: {k: v for k, v in index["evaluations"].items() if v["experiment"] == n} for n in group}
            evaluations = {k: v for n in group for k, v in {**single[n], **own[n]}.items()}
            dump(folder / "experiments.yaml", {"paper": paper, "experiments": entries, "evaluations": evaluations})
            for name in group:
                (root / paths.experiment_file(name)).write_text(note)


def table(name: str, rows: list[str]) -> dict[str, Any]:
    """Return the stage of one table, as the papers' own are written."""
    deps = ["data/code/table.txt", "workflow/presets/${preset}.yaml"]
    deps += [str(paths.published_file(paths.paper_of(name))), str(paths.NOISE)]
    deps += [str(paths.recipe_file(paths.paper_of(name))), *(str(paths.experiment_file(row)) for row in rows)]
    for row in rows:
        kinds = ("metrics/{}.json", "bootstrap/{}.json", "metrics/{}_training.json", "metrics/{}_size.json")
        deps += [f"reports/${{preset}}/{kind.format(row)}" for kind in kinds]
    outs = [{f"reports/${{preset}}/tables/{name}.{suffix}": {"cache": False}} for suffix in ("md", "csv")]
    command = f"python -m pipeline.stages.table {name} --preset ${{preset}}"
    return {"wdir": "../../../..", "cmd": command, "deps": deps, "outs": outs}


def dump(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(value, sort_keys=False, width=200))


def ordered(stages: dict[str, declared.Stage]) -> Iterator[declared.Stage]:
    """Yield all stages, each after those that it needs."""
    waiting, made = list(stages.values()), set()
    makes = {out for stage in waiting for out in stage.outs}
    while waiting:
        ready = [s for s in waiting if all(d in made or d not in makes for d in s.deps)]
        yield from ready
        made |= {out for stage in ready for out in stage.outs}
        waiting = [s for s in waiting if s not in ready]


def measure(root: Path, stages: dict[str, declared.Stage]) -> dict[str, Any]:
    """Build everything once without DVC, let DVC record it, and time what users do every day."""
    scope: dict[str, Any] = {"__name__": "dummy"}
    exec(SCRIPT, scope)
    here = Path.cwd()
    os.chdir(root)
    try:
        run("python", "-m", "pipeline.stages.code")
        for stage in ordered(stages):
            if stage.address != "code":
                scope["make"](stage.deps, stage.outs)
        commit = run("dvc", "commit", "--force")
        idle = min(run("dvc", "repro") for _ in range(3))
        dry = min(run("snakemake", "--dry-run", "report") for _ in range(2))
        experiment = Path(paths.experiment_file(EDITED))
        experiment.write_text(experiment.read_text().replace("factor", "Factor") + "# edited\n")
        needed = [s for s in stages if s.endswith(f"@{EDITED}") or rows_in(stages[s])]
        edited = run("dvc", "repro")
        experiment.write_text(experiment.read_text() + "# again\n")
        one = run("snakemake", "--cores", "2", "reports/mini/tables/dst_t2.md")
        locks = [len(path.read_text().splitlines()) for path in root.rglob("dvc.lock")]
    finally:
        os.chdir(here)
    trained = sum(":train@" in address for address in stages)
    return {
        "stages": len(stages),
        "experiments": trained,
        "tables": sum("/tables/" in address for address in stages),
        "lock_files": len(locks),
        "lock_lines_largest": max(locks),
        "cores": os.cpu_count(),
        "commit_all": seconds(commit),
        "repro_nothing_to_do": seconds(idle),
        "repro_after_edit": seconds(edited),
        "stages_run_after_edit": len(needed),
        "overhead_a_stage": {k: round((edited[n] - idle[n]) / len(needed), 2) for n, k in enumerate(("wall", "cpu"))},
        "snakemake_dry_run": seconds(dry),
        "snakemake_one_table_after_edit": seconds(one),
    }


def rows_in(stage: declared.Stage) -> bool:
    """Whether a stage stands above the edited experiment's results."""
    root_stages = ("figures", "gallery", "page_", "quickstart", "report")
    return stage.address.startswith(root_stages) or any(f"/{EDITED}.json" in dep for dep in stage.deps)


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
    rows = [
        ("`dvc repro`, nothing to do", "repro_nothing_to_do", "near 10 s"),
        (
            f"`dvc repro` after an edit ({result['stages_run_after_edit']} stages run)",
            "repro_after_edit",
            "",
        ),
        ("overhead a stage that runs (difference of the two, by their number)", "overhead_a_stage", "at most 1 s"),
        ("`snakemake --dry-run report`", "snakemake_dry_run", ""),
        ("one table by `snakemake --cores 2` after that edit", "snakemake_one_table_after_edit", ""),
        ("`dvc commit` of everything", "commit_all", ""),
    ]
    lines = [f"| {what} | {result[key]['wall']} | {result[key]['cpu']} | {wanted} |" for what, key, wanted in rows]
    head = (
        "# The graph at its final size\n\n"
        f"{result['stages']} stages with trivial commands: {result['experiments']} experiments in folders of about "
        f"{GROUP}, {result['tables']} tables; {result['lock_files']} lock files, the largest of "
        f"{result['lock_lines_largest']} lines. Seconds on a machine with {result['cores']} cores.\n\n"
        "| what | wall | user CPU | wanted |\n| --- | --- | --- | --- |\n"
    )
    return head + "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
