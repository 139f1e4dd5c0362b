"""A temporary copy of the project with real dvc.yaml files and rules, and fake stages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = (
    "dvc.yaml",
    "params.yaml",
    ".dvcignore",
    ".gitignore",
    "workflow",
    "pipeline",
    "data/published",
    "benchmarks/dvc.yaml",
    "reports/benchmarks",
    "reports/elsewhere.csv",
)


class Project:
    """A project folder in which commands run as a user's would."""

    def __init__(self, root: Path):
        self.root = self.place = root  # where it is seen from here, and where its commands find it
        self.environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": "",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_AUTHOR_NAME": "t",
            "GIT_AUTHOR_EMAIL": "t@t",
            "GIT_COMMITTER_NAME": "t",
            "GIT_COMMITTER_EMAIL": "t@t",
            "XDG_CACHE_HOME": str(root.parent / "xdg"),
        }

    def command(self, *command: str) -> list[str]:
        """Return what to start for a command of the project."""
        return list(command)

    def run(self, *command: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project; `check` fails the test with its output where it does not end with 0."""
        done = subprocess.run(
            self.command(*command),
            cwd=self.root,
            env=self.environment | environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert not check or done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}"
        return done

    def build(self, target: str = "quickstart", **environment: str) -> str:
        return self.run("python", "-m", "pipeline.graph", "build", target, "--cores", "2", **environment).stdout

    def ran(self) -> set[str]:
        """Return the addresses of the stages that ran since the last call."""
        log = self.root / "ran.txt"
        lines = log.read_text().split() if log.exists() else []
        log.unlink(missing_ok=True)
        twice = {line for line in lines if lines.count(line) > 1}
        assert not twice, f"ran twice: {twice}"
        return set(lines)

    def commit(self) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", "results")

    def reset(self) -> None:
        """Take everything back to the last commit, as users do: git for what it holds, DVC for the rest."""
        self.run("git", "checkout", "-q", ".")
        self.run("git", "clean", "-fdq")
        self.run("dvc", "checkout", "-q", "--with-deps", "quickstart")
        self.ran()

    def clone(self, root: Path) -> Project:
        self.run("git", "clone", "-q", ".", str(root))
        return Project(root)


def copy_project(root: Path, fake: bool = True) -> Project:
    """Copy the project to `root`, by default with the fake in the place of every stage, in a new git repository."""
    from pipeline.graph import declared

    root.mkdir(parents=True)
    for name in COPIED:
        source, target = ROOT / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "dvc.lock"))
        elif source.exists():
            shutil.copy(source, target)
    (root / ".dvc").mkdir()
    for name in ("config", ".gitignore"):
        shutil.copy(ROOT / ".dvc" / name, root / ".dvc" / name)
    with open(root / ".gitignore", "a") as ignore:
        ignore.write("/ran.txt\n")
    folder = root / "pipeline/stages"
    text = (Path(__file__).parent / "fake_stage.py").read_text()
    for stage in declared.stages(root).values():
        module = folder / f"{stage.command.split()[2].rpartition('.')[2]}.py"
        if module.stem != "code" and (fake or not module.exists()):
            module.write_text(text)
    for stage in declared.stages(root).values():  # facts in git that another part of the project brings
        for dep in stage.deps:
            if dep.startswith("data/published/"):
                (root / dep).parent.mkdir(parents=True, exist_ok=True)
                (root / dep).touch()
    project = Project(root)
    project.run("git", "init", "-q", "-b", "main")
    project.commit()
    return project
