"""A preset built in `build/<preset>`, so that nothing changes that git tracks, nor the locks of another preset.

The folder holds a copy of what a build reads, with params.yaml, locks, caches and reports of its own. Every build
copies what changed, so an edit in the checkout re-runs there what it would re-run here.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import yaml

from pipeline import config, paths
from pipeline.files import read_yaml, write_text
from pipeline.graph import declared, lock_file, one_build
from pipeline.graph.write import dumped, gallery
from pipeline.preset import Preset
from pipeline.published.headline import COMBINED
from pipeline.published.rows import RowsFile

COPIED = (
    *("pipeline", "workflow", "data/published", "reports/benchmarks"),
    *("reports/elsewhere.csv", "dvc.yaml", ".dvc/config", ".dvcignore"),
)
LINKED = ("data/compare", "data/photographs", "data/coco", "data/voc", "data/archives")  # users' data, where there
NOT_COPIED = ("__pycache__", "dvc.lock")  # of its own
RESULT = "${preset}"  # in the path of what a stage makes


def folder(preset: str) -> Path:
    """Return the folder in which a preset is built beside the checkout."""
    return paths.ROOT / "build" / preset


def build(preset: str, targets: Sequence[str], cores: int, keep_going: bool = False) -> None:
    """Build stages of a preset in its own folder: this process becomes the build there.

    Raises:
        InputError: an unknown preset, one that is not consistent, or another build is running in its folder.
    """
    words = ["build", *targets, "--cores", str(cores), *(["--keep-going"] if keep_going else [])]
    become(preset, "pipeline.graph", words)


def become(preset: str, module: str, words: Sequence[str]) -> None:
    """Let this process become a module's command line in the folder of a preset, which it holds on. Raises as above."""
    with one_build.alone(folder(preset)) as handle:
        place = sync(preset)
        os.set_inheritable(handle, True)
        os.chdir(place)
        shown = {one_build.FROM: place.relative_to(paths.ROOT).as_posix(), "PYTHONPATH": str(place)}
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, "-m", module, *words], os.environ | shown)


def sync(preset: str) -> Path:
    """Bring the folder of a preset up to date with the checkout and return it; files keep their times.

    Python then takes the bytecode that it compiled before.
    """
    loaded, place = config.load_preset(preset), folder(preset)
    wanted = {name: paths.ROOT / name for name in files(paths.ROOT)}
    for name in files(place):
        if name not in wanted:
            (place / name).unlink()
    without = left_out(loaded)
    changed = shortened(without, loaded.shares) if without or loaded.shares else {}
    params = read_yaml(paths.ROOT / paths.PARAMS) | {"preset": preset}
    changed |= {
        paths.PARAMS: yaml.safe_dump(params),
        Path(".dvc/config.local"): "[core]\n    no_scm = true\n",  # the checkout's git ignores all that is here
    }
    for name, source in wanted.items():
        if name not in changed and not same(source, place / name):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, place / name)
    for name, text in changed.items():
        if not (place / name).is_file() or (place / name).read_text(encoding="utf-8") != text:
            write_text(place / name, text)
    for name in (name for name in LINKED if (paths.ROOT / name).is_dir() and not (place / name).exists()):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).symlink_to(paths.ROOT / name)
    link_shared(place, preset, loaded.shares)
    lock_file.keep_in_memory(place)
    return place


def files(root: Path) -> Iterator[Path]:
    """Give the files below a folder that are copied, as paths below it."""
    for name in COPIED:
        path = root / name
        found = (Path(f) / n for f, _, names in os.walk(path) for n in names) if path.is_dir() else [path]
        yield from (
            file.relative_to(root)
            for file in found
            if file.is_file() and not {*NOT_COPIED}.intersection(file.relative_to(root).parts)
        )


def same(source: Path, copy: Path) -> bool:
    """Whether a copy has its source's size and time."""
    if not copy.is_file():
        return False
    a, b = source.stat(), copy.stat()
    return (a.st_size, a.st_mtime_ns) == (b.st_size, b.st_mtime_ns)


def left_out(preset: Preset) -> tuple[str, ...]:
    """Return the experiments and stages that the quickstart goes without; one without verdicts shows no combination."""
    return (*preset.leaves_out, *(() if preset.verdicts.judge else (COMBINED,)))


def shortened(without: Sequence[str], shares: Mapping[str, str]) -> dict[Path, str]:
    """Return the files of the graph that change where the quickstart goes without some experiments or stages.

    What depends on results of an experiment that `shares` another's training depends on those of that one.
    """
    changed, gone, found = {}, list(without), {}
    for paper in paths.PAPERS:
        path = paths.table_rows(paper)
        rows = read_yaml(paths.ROOT / path)
        kept = {t: [name for name in names if not holds(name, without)] for t, names in rows["headline"].items()}
        gone += [f"headline/{table}." for table, names in kept.items() if not names]
        rows["headline"] = {table: names for table, names in kept.items() if names}
        changed[path] = rows
        found[paper] = msgspec.convert(rows, RowsFile)
    for path in [Path("dvc.yaml"), *(path.with_name("dvc.yaml") for path in changed)]:
        graph = read_yaml(paths.ROOT / path)
        graph["stages"] = {
            name: body for name, body in graph["stages"].items() if not holds(f"{name.replace('_', '/', 1)}.", gone)
        }
        for body in graph["stages"].values():
            body = body.get("do", body)
            kept = [dep for dep in body["deps"] if not holds(dep, gone)]
            body["deps"] = list(dict.fromkeys(shared(dep, shares) if RESULT in dep else dep for dep in kept))
        if "gallery" in graph["stages"]:
            pairs = gallery(found).items()
            graph["stages"]["gallery"]["foreach"] = {
                paper: {kind: shared(run, shares) for kind, run in pair.items()} for paper, pair in pairs
            }
        changed[path] = graph
    return {path: dumped(content) for path, content in changed.items()}


def link_shared(place: Path, preset: str, shares: Mapping[str, str]) -> None:
    """Let the results of an experiment that shares another's training be links to those of that one."""
    links = {}
    for stage in declared.stages(place).values() if shares else ():
        for out in stage.outs:
            target = shared(out, shares)
            if target != out and Path(out).parts[:2] in (("reports", preset), ("data", "runs")):
                links[place / out] = os.path.relpath(target, Path(out).parent)
    for file in (place / "reports", place / "data/runs"):
        for old in file.rglob("*"):
            if old.is_symlink() and links.get(old) != os.readlink(old):
                old.unlink()  # what now trains on its own must not write through it
    for link, target in links.items():
        if not link.is_symlink():
            link.unlink(missing_ok=True)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target)


def shared(path: str, shares: Mapping[str, str]) -> str:
    """Return a path with the name of an experiment replaced by that of the one whose training it shares."""
    for name, other in shares.items():
        path = re.sub(rf"(?<=/){name}(?=[./]|_size|_training|$)", other, f"/{path}")[1:]
    return path


def holds(text: str, names: Sequence[str]) -> bool:
    return any(name in text for name in names)
