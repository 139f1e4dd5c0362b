"""Kills at random moments of a small build: `python tests/graph/killed_builds.py KILLS` runs many of them.

The build trains a tiny detector; stages that only take time stand beside it, and above it. A dvc.lock with further
records lets DVC take its time to write it.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import yaml
from graph_project import ROOT, Project
from own_folder import write_size

from pipeline.graph import declared, locks, one_build

FAKES = ("a", "b")
TRAINED = "dst_frcnn_r50_fpn_1x_dst"
BYSTANDERS = 150
KINDS = ("SIGKILL", "SIGTERM", "SIGINT to the group", "SIGKILL to the group")
COMMAND = ("python", "-m", "pipeline.graph", "build", "report", "--cores", "2")
PRESET = "workflow/presets/tiny.yaml"
WEIGHTS = f"data/runs/tiny/{TRAINED}/weights.safetensors"
SUMMARY = f"reports/tiny/metrics/{TRAINED}_training.json"


def uncached(*files: str) -> list[dict]:
    return [{file: {"cache": False}} for file in files]


STAGES = {
    "train": {
        "cmd": f"python -m pipeline.stages.train {TRAINED} --preset tiny",
        "deps": [PRESET],
        "outs": [WEIGHTS, *uncached(SUMMARY, f"reports/tiny/history/{TRAINED}.csv")],
    },
    "measure": {
        "foreach": {key: {"of": "x"} for key in FAKES},
        "do": {
            "cmd": "python -m pipeline.stages.measure ${key}",
            "deps": ["inputs/${key}.txt"],
            "outs": ["data/runs/tiny/${key}/size.txt"],
        },
    },
    "report": {
        "cmd": "python -m pipeline.stages.report",
        "deps": [SUMMARY, *(f"data/runs/tiny/{key}/size.txt" for key in FAKES)],
        "outs": uncached("reports/tiny/index.md"),
    },
}


def make_project(project: Project, stages: dict[str, dict] = STAGES) -> dict[int, dict[str, bytes]]:
    """Fill a project's folder, with the rules and the code of this one, and build two versions of its inputs.

    Returns:
        All that undisturbed builds made, by version; it is at version 1.
    """
    root = project.root
    shutil.copytree(ROOT / "pipeline", root / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "workflow", root / "workflow", ignore=shutil.ignore_patterns("dvc.*"))
    for name in (".dvcignore", ".gitignore", ".dvc/config", ".dvc/.gitignore"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    (root / "params.yaml").write_text("preset: tiny\n")
    for name in ("measure", "report"):
        shutil.copy(Path(__file__).with_name("fake_stage.py"), root / f"pipeline/stages/{name}.py")
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    write_size(root / PRESET, steps=60, checkpoint_rows=20)
    edit(project, 0)
    project.run("git", "init", "-q", "-b", "main")
    project.commit()
    project.run("python", "-c", "import tiny; tiny.make_files()", PYTHONPATH=str(ROOT / "tests"))
    made = {}
    for version in (0, 1):
        edit(project, version)
        project.run(*COMMAND, NAP="0.3")
        made[version] = outputs(project)
    differ = {out for out in made[0] if made[0][out] != made[1][out]}
    assert {WEIGHTS, SUMMARY, "reports/tiny/index.md"} <= differ
    return made


def edit(project: Project, version: int) -> None:
    """Give every stage other inputs, which were there before; DVC shall not take what it made of them then."""
    shutil.rmtree(project.root / ".dvc/cache/runs", ignore_errors=True)
    (project.root / "inputs").mkdir(exist_ok=True)
    for key in FAKES:
        (project.root / f"inputs/{key}.txt").write_text(f"{key} {version}\n")
    content = yaml.safe_load((project.root / PRESET).read_text())
    data = {"kind": "scaleworld", "train_images": 10, "val_images": 4, "seed": 3}
    content |= {"name": "tiny", "title": "tiny", "data": data, "seed": version}
    (project.root / PRESET).write_text(yaml.safe_dump(content))


def version_of(project: Project) -> int:
    """Return the version of the inputs."""
    return int((project.root / f"inputs/{FAKES[0]}.txt").read_text().split()[1])


def add_bystanders(project: Project, count: int = BYSTANDERS) -> dict[str, str]:
    """Add records of other stages to the lock and return them."""
    record = "    cmd: other\n    outs:\n    - path: other/{0}.txt\n      hash: md5\n      md5: {1}\n      size: 7\n"
    names = [f"other@{number}" for number in range(count)]
    added = {name: f"  {name}:\n" + record.format(name, hashlib.md5(name.encode()).hexdigest()) for name in names}
    lock = project.root / "dvc.lock"
    own = locks.records(lock.read_text())
    lock.write_text(locks.HEAD + "".join((added | own).values()))
    return added


def outputs(project: Project) -> dict[str, bytes]:
    """Return all that the stages have made."""
    outs = [out for stage in declared.stages(project.root).values() for out in stage.outs]
    return {out: (project.root / out).read_bytes() for out in outs}


def strike(project: Project, kind: str, wait: float) -> tuple[str, bool]:
    """Start a build, end it after some seconds, and return what it said, and whether it had not ended before.

    One that may end by itself leaves nothing.
    """
    output = project.root.parent / "said.txt"
    environment = project.environment | {"NAP": "0.3"}
    with open(output, "w") as said:
        process = subprocess.Popen(
            COMMAND, cwd=project.root, env=environment, stdout=said, stderr=said, start_new_session=True
        )
    hit = False
    try:
        process.wait(wait)
    except subprocess.TimeoutExpired:
        hit = True
        word, _, group = kind.partition(" ")
        (os.killpg if group else os.kill)(process.pid, getattr(signal, word))
    process.wait(300)
    text = output.read_text()
    if "KILL" not in kind:
        assert "Traceback" not in text or "pipeline/graph" not in text, text  # else Python itself was still starting
        assert started_by_builds(project) == [], text
    return text, hit


def started_by_builds(project: Project) -> list[list[str]]:
    """Return the command lines of all processes that builds of the project have started and that are running."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(one_build.MARK, "").startswith(f"{project.place}:"):
                found.append(process.cmdline())
        except (psutil.Error, OSError):
            continue
    return found


def check_whole(project: Project, made: dict[str, bytes], others: dict[str, str]) -> None:
    """Raise AssertionError where an output differs, a record is lost, or either door still has something to do."""
    found = outputs(project)
    assert {out for out in made if found[out] != made[out]} == set()
    records = locks.records((project.root / "dvc.lock").read_text())
    assert {name: records.get(name) for name in others} == others
    assert records.keys() == others.keys() | declared.stages(project.root).keys()
    assert "Data and pipelines are up to date." in project.run("dvc", "repro", "report").stdout
    assert "Nothing to be done" in project.run("snakemake", "--cores", "2", "reports/tiny/index.md").stdout


def chains(folder: Path, kills: int, in_chain: int, seed: int = 0) -> dict[str, int]:
    """Kill builds, each chain of kills ended by the same command alone; return the kills by kind.

    Raises:
        AssertionError: a chain does not end so, an output differs, or a record of a lock is lost.
    """
    moments, kinds, count = random.Random(seed), itertools.cycle(KINDS), dict.fromkeys(KINDS, 0)
    (folder / "project").mkdir()
    project = Project(folder / "project")
    made = make_project(project)
    others = add_bystanders(project)
    edit(project, 0)
    begin = time.monotonic()
    project.run(*COMMAND, NAP="0.3")
    whole = time.monotonic() - begin
    version, kind = 0, next(kinds)
    while sum(count.values()) < kills:
        version = 1 - version
        edit(project, version)
        goal = min(kills, sum(count.values()) + in_chain)
        while sum(count.values()) < goal:
            wait = moments.uniform(0, whole)
            begin = time.monotonic()
            said, hit = strike(project, kind, wait)
            for line in said.splitlines():
                if "mended" in line or "error" in line:
                    print(f"    {line}", flush=True)
            if hit:
                count[kind] += 1
                print(f"{sum(count.values())}: {kind} after {wait:.1f} of {whole:.1f} s", flush=True)
                kind = next(kinds)
            else:  # a quicker build than the one that was measured
                whole, version = max(0.7 * whole, time.monotonic() - begin), 1 - version
                edit(project, version)
        said = project.run(*COMMAND).stdout
        assert "report is " in said, said
        check_whole(project, made[version], others)
    return count


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        print(chains(Path(place), int(sys.argv[1]), 10, int((*sys.argv, 0)[2])))
