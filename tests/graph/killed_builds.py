"""Kills at random moments of a small build: `python tests/graph/killed_builds.py KILLS` runs many of them.

The build has seven short stages, whose outputs depend on their inputs alone, and a dvc.lock with further records, so
that DVC takes its time to write it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
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
from fake_stage import content
from graph_project import ROOT, Project

from pipeline.graph import declared, locks, one_build

KEYS = ("a", "b", "c")
BYSTANDERS = 150
KINDS = ("SIGKILL", "SIGTERM", "SIGINT to the group", "SIGKILL to the group")
COMMAND = ("python", "-m", "pipeline.graph", "build", "report", "--cores", "2")


def make_project(root: Path) -> Project:
    """Make a project of seven fake stages with the rules and the code of this one."""
    shutil.copytree(ROOT / "pipeline", root / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "workflow", root / "workflow", ignore=shutil.ignore_patterns("dvc.*"))
    for name in ("params.yaml", ".dvcignore", ".gitignore", ".dvc/config", ".dvc/.gitignore"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    for name in ("train", "evaluate", "report"):
        shutil.copy(Path(__file__).with_name("fake_stage.py"), root / f"pipeline/stages/{name}.py")
    each = {key: {"of": "x"} for key in KEYS}
    scores = [f"reports/mini/metrics/{key}.json" for key in KEYS]
    train = {
        "cmd": "python -m pipeline.stages.train ${key}",
        "deps": ["inputs/${key}.txt"],
        "outs": ["data/runs/mini/${key}/weights.txt"],
    }
    evaluate = {
        "cmd": "python -m pipeline.stages.evaluate ${key}",
        "deps": ["data/runs/mini/${key}/weights.txt"],
        "metrics": [{"reports/mini/metrics/${key}.json": {"cache": False}}],
    }
    index = {
        "cmd": "python -m pipeline.stages.report",
        "deps": scores,
        "outs": [{"reports/mini/index.md": {"cache": False}}],
    }
    stages = {
        "train": {"foreach": each, "do": train},
        "evaluate": {"foreach": each, "do": evaluate},
        "report": index,
    }
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    project = Project(root)
    edit(project, 0)
    project.run("git", "init", "-q", "-b", "main")
    project.commit()
    return project


def edit(project: Project, version: int) -> None:
    """Give every training another input."""
    (project.root / "inputs").mkdir(exist_ok=True)
    for key in KEYS:
        (project.root / f"inputs/{key}.txt").write_text(f"{key} {version}\n")


def add_bystanders(project: Project, count: int = BYSTANDERS) -> dict[str, str]:
    """Add records of other stages to the lock and return them."""
    record = "    cmd: other\n    outs:\n    - path: other/{0}.txt\n      hash: md5\n      md5: {1}\n      size: 7\n"
    names = [f"other@{number}" for number in range(count)]
    added = {name: f"  {name}:\n" + record.format(name, hashlib.md5(name.encode()).hexdigest()) for name in names}
    lock = project.root / "dvc.lock"
    own = locks.records(lock.read_text())
    lock.write_text(locks.HEAD + "".join((added | own).values()))
    return added


def expected(project: Project) -> dict[str, bytes]:
    """Return what an undisturbed build makes of the inputs."""
    made: dict[str, bytes] = {}
    for stage in declared.in_order(declared.stages(project.root)):
        digest = hashlib.sha256()
        for dep in stage.deps:
            digest.update(dep.encode() + (made[dep] if dep in made else content(project.root / dep)))
        (out,), text = stage.outs, digest.hexdigest()
        text = json.dumps({"value": int(text[:6], 16)}) if out.endswith(".json") else text
        made[out] = f"{text}\n".encode()
    return made


def strike(project: Project, kind: str, wait: float) -> str:
    """Start a build, end it after some seconds, and return what it said; one that may end by itself leaves nothing."""
    output = project.root.parent / "said.txt"
    environment = project.environment | {"NAP": "0.3"}
    with open(output, "w") as said:
        process = subprocess.Popen(
            COMMAND, cwd=project.root, env=environment, stdout=said, stderr=said, start_new_session=True
        )
    try:
        process.wait(wait)
    except subprocess.TimeoutExpired:
        word, _, group = kind.partition(" ")
        (os.killpg if group else os.kill)(process.pid, getattr(signal, word))
    process.wait(300)
    text = output.read_text()
    if "KILL" not in kind:
        assert "Traceback" not in text or "pipeline/graph" not in text, text  # else Python itself was still starting
        assert started_by_builds(project) == [], text
    return text


def started_by_builds(project: Project) -> list[list[str]]:
    """Return the command lines of all processes that builds of the project have started and that are running."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(one_build.MARK, "").startswith(f"{project.root}:"):
                found.append(process.cmdline())
        except (psutil.Error, OSError):
            continue
    return found


def chains(folder: Path, kills: int, in_chain: int, seed: int = 0) -> dict[str, int]:
    """Kill builds, each chain of kills ended by the same command alone; return the kills by kind.

    Raises:
        AssertionError: a chain does not end so, a metric differs, or a record of a lock is lost.
    """
    moments, kinds, count = random.Random(seed), itertools.cycle(KINDS), dict.fromkeys(KINDS, 0)
    project = make_project(folder / "project")
    project.run(*COMMAND)
    others = add_bystanders(project)
    begin = time.monotonic()
    edit(project, 1)
    project.run(*COMMAND, NAP="0.3")
    whole = time.monotonic() - begin
    for version in itertools.count(2):
        edit(project, version)
        for _ in range(min(in_chain, kills - sum(count.values()))):
            kind = next(kinds)
            wait = moments.uniform(0, whole)
            said = strike(project, kind, wait)
            count[kind] += 1
            print(f"{sum(count.values())}: {kind} after {wait:.1f} of {whole:.1f} s", flush=True)
            for line in said.splitlines():
                if "mended" in line or "error" in line:
                    print(f"    {line}", flush=True)
        said = project.run(*COMMAND).stdout
        assert "report is " in said, said
        made = expected(project)
        assert {out: (project.root / out).read_bytes() for out in made} == made
        records = locks.records((project.root / "dvc.lock").read_text())
        assert {name: records.get(name) for name in others} == others
        assert records.keys() == others.keys() | declared.stages(project.root).keys()
        assert "Data and pipelines are up to date." in project.run("dvc", "repro", "report").stdout
        assert "Nothing to be done" in project.run("snakemake", "--cores", "2", "reports/mini/index.md").stdout
        if sum(count.values()) >= kills:
            return count


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        print(chains(Path(place), int(sys.argv[1]), 10, int((*sys.argv, 0)[2])))
