"""Build a target: DVC says which stages are out of date, Snakemake runs those and what is above them, in parallel."""

import functools
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline import code_digest, config, paths
from pipeline.errors import InputError
from pipeline.graph import declared, doors, locks, missing, one_build, spent, stand_ins
from pipeline.graph.disk import full_disk
from pipeline.graph.exits import BuildError
from pipeline.graph.job import EVENTS
from pipeline.graph.progress import Progress, duration, tail, title
from pipeline.graph.repair import check_writable, repair
from pipeline.graph.work import work_of

LOG = Path("logs/build.log")
ENDING = 6  # last lines of a log, which say what ended it


@one_build.alone()
def build(targets: Sequence[str], cores: int, keep_going: bool = False, allow_missing: bool = False) -> None:
    """Bring stages (`quickstart`, `catalogue`, `dst_t2`) or files, and all that they need, up to date.

    Args:
        targets: names of stages, or files.
        cores: stages side by side.
        keep_going: after a failure, build all that does not need what failed.
        allow_missing: take committed results as they are although their weights and detections are missing.

    Raises:
        BuildError: a stage failed.
        InputError: no such target, or another build is running.
    """
    begin = time.monotonic()
    known = declared.stages()
    stages = [target_stage(target, known) for target in targets]
    addresses, files = [stage.address for stage in stages], [stage.outs[0] for stage in stages]
    for sentence in repair(known):
        say(sentence)
    stale = stale_stages(addresses, known, allow_missing)
    named = ", ".join(targets)
    if stale:
        needed = declared.ancestors(addresses, known)
        coming = declared.descendants(stale, known) & needed
        check_writable(out for name in coming for out in known[name].outs)
        say(f"{len(stale)} of the {len(needed)} stages of {named} are out of date; building with {cores} cores.")
        settle(out for name in needed for out in known[name].outs)
        if allow_missing:
            make_stand_ins(stale, known, cores)
            settle(out for name in needed for out in known[name].outs)
        run_snakemake(files, [out for name in stale for out in known[name].outs], coming, cores, keep_going)
        left = stale_stages(addresses, known, allow_missing)
        if left:
            raise BuildError(f"DVC still calls {', '.join(sorted(left))} out of date; `dvc status` says why.")
        agree(stages, known)
    locks.keep(finished=True)
    took = duration(time.monotonic() - begin)
    verb = "is" if len(targets) == 1 else "are"
    say(f"{named} {verb} {'built' if stale else 'up to date'}: {', '.join(files)} ({took})")
    if one_build.FROM in os.environ and paths.index(config.active_preset()).as_posix() in files:
        say(f"Look here first: {os.environ[one_build.FROM]}/{paths.index(config.active_preset())}")


def stale_stages(addresses: Sequence[str], known: dict[str, declared.Stage], allow_missing: bool = False) -> list[str]:
    """Return the stages of the graph that DVC calls out of date for some stages, once the digests of code are current.

    Measurements that a page shows (`benchmarks/dvc.yaml`) are frozen and no part of it: nothing repeats them. With
    `allow_missing` a stage is not out of date whose inputs or cached outputs are only missing.
    """
    if code_digest.stale():
        doors.dvc("repro", "--single-item", "code")
    reasons = doors.status(*addresses)
    if "code" in reasons:  # edited, but in no stage's closure; or its lock is another clone's
        doors.dvc("repro", "--single-item", "code")
        reasons = doors.status(*addresses)
    return [n for n, why in reasons.items() if n in known and not (allow_missing and missing.only_missing(why))]


def make_stand_ins(stale: Sequence[str], known: dict[str, declared.Stage], cores: int) -> None:
    """Make missing weights of committed results again where stages out of date start from them."""
    for names in missing.stand_ins(stale, known):
        say(f"Making again, for others start from them: {', '.join(name.rpartition(':')[2] for name in names)}.")
        settle(out for stage in known.values() for out in stage.outs)
        run = functools.partial(run_snakemake, stale=[], coming=names, cores=cores, record=False)
        for sentence in stand_ins.make([known[name] for name in names], run):
            say(sentence)


def target_stage(target: str, known: dict[str, declared.Stage]) -> declared.Stage:
    """Return the stage that a target means: a stage's name or address, or a file that a stage writes."""
    for stage in known.values():
        if target in stage.outs:
            return stage
    return declared.one(target, known)


def settle(outs: Iterable[str]) -> None:
    """Give all existing outputs one time, so that Snakemake sees none as older than its inputs: DVC has judged that.

    Times say nothing after a checkout by git or DVC. Snakemake keeps a folder's time in a file inside it.
    """
    now = time.time()
    for out in outs:
        path = paths.ROOT / out
        for file in (path, path / ".snakemake_timestamp"):
            if file.exists():
                os.utime(file, (now, now))


def agree(stages: Sequence[declared.Stage], known: dict[str, declared.Stage]) -> None:
    """Make Snakemake see nothing to do for stages that DVC calls up to date."""
    files = [stage.outs[0] for stage in stages]
    if doors.nothing_to_do(*files):
        return
    settle(out for name in declared.ancestors([stage.address for stage in stages], known) for out in known[name].outs)
    if not doors.nothing_to_do(*files):
        doors.touch(*files)


def run_snakemake(
    targets: Sequence[str],
    stale: Sequence[str],
    coming: Iterable[str],
    cores: int,
    keep_going: bool = False,
    record: bool = True,
) -> None:
    """Let Snakemake rebuild files with the files in `stale` taken as out of date, and report stage by stage.

    What it takes is recorded beside the results, unless these stand as they are (`record`).

    Raises:
        BuildError: a stage failed, or the build was interrupted.
    """
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--rerun-triggers", "mtime"]
    command += ["--keep-going"] if keep_going else []
    command += ["--forcerun", *stale] if stale else []
    command += ["--prioritize", *first(stale or targets), "--", *targets]
    log, events = paths.ROOT / LOG, paths.ROOT / LOG.with_suffix(".jsonl")
    log.parent.mkdir(parents=True, exist_ok=True)
    events.unlink(missing_ok=True)
    environment = doors.environment(**{EVENTS: str(events)})
    known, preset = declared.stages(), config.load_preset(config.active_preset())
    at_once = cores if preset.threads == 1 else 1  # else one training has all processors, or the GPU

    def note() -> None:
        ended = progress.take_ended()
        try:
            spent.add(ended if record else (), known, preset.name, 1 if preset.threads == 1 else cores)
        except InputError as error:  # no reason to end what trains
            say(f"  core-hours were not recorded: {error}")

    progress = Progress(say, events, work_of((known[name] for name in coming), preset.name), at_once)
    with open(log, "w", encoding="utf-8") as output:
        process = subprocess.Popen(command, cwd=paths.ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        while process.poll() is None:
            if progress.follow():
                locks.keep()
                note()
            time.sleep(0.1)
    except BaseException:  # Ctrl-C, or what this prints cannot be written: nothing goes on alone
        one_build.end_own()  # but DVC finishes what it writes
        raise
    finally:
        progress.follow()
        note()
    if process.returncode:
        ends = [tail(paths.ROOT / said, ENDING) for said in progress.unfinished.values()]
        if said := full_disk(*ends, tail(log, ENDING)):
            raise BuildError(said)
        for said in progress.unfinished.values():
            say(f"\n{title(said)} failed. The last lines of {said}:\n{tail(paths.ROOT / said)}")
        if not progress.unfinished:
            say(tail(log))
        raise BuildError(f"The build stopped; all that finished is kept, and the same command goes on. Details: {LOG}")


def first(stale: Sequence[str]) -> Sequence[str]:
    """Return what to build first: inits stand at the start of the longest chain (pretrain, GSL, decompose, FD)."""
    inits = [out for out in stale if out.startswith("data/init/")]
    return inits or stale[:1]


@one_build.alone()
def accept(target: str) -> None:
    """Take the committed results of a target as they are, without training: both doors then have nothing to do for it.

    Raises:
        InputError: an input in the work tree is not the one that the committed results were made from.
    """
    known = declared.stages()
    stage = target_stage(target, known)
    for sentence in repair(known):
        say(sentence)
    stale = stale_stages([stage.address], known, allow_missing=True)
    if stale:
        raise InputError(
            f"The committed results of {target} were made from other inputs than those here: {', '.join(stale)} would "
            f"run; build them (`python -m pipeline.graph build {target}`), or take the inputs back (`git diff`)."
        )
    doors.touch(stage.outs[0])
    if not doors.nothing_to_do(stage.outs[0]):
        raise InputError(f"Snakemake still has something to do for {target}; `snakemake -n {stage.outs[0]}` says what.")
    say(
        f"{target} is accepted as committed; nothing was trained. Both now have nothing to do:\n"
        f"  dvc repro --allow-missing {stage.address}\n  snakemake --cores 1 {stage.outs[0]}\n"
        "Weights and detections are not in git: a plain `dvc repro` or `make headline` would make them anew."
    )


def say(text: str) -> None:
    print(text, flush=True)
