"""Bring results and tables together without training: tables from whatever exists, results of stages run elsewhere."""

import time
from collections.abc import Iterable

from pipeline import code_digest, config, paths
from pipeline.graph import declared, doors, locks, one_build
from pipeline.graph.build import agree, say, stale_stages, target_stage
from pipeline.graph.progress import duration
from pipeline.graph.repair import repair
from pipeline.published.tables import load_published
from pipeline.reporting.catalogue import write_catalogue
from pipeline.reporting.how_measured import write_how_measured
from pipeline.reporting.results_csv import write_results
from pipeline.reporting.tables import write_table


def refresh() -> None:
    """Write all published tables, the catalogue and the CSV from the results there are; other rows read `not run`.

    A table whose inputs all exist is entered into DVC's lock as what its stage would have made of them. One that lacks
    some is not: DVC and Snakemake keep calling it out of date until its rows were run.

    Raises:
        InputError: a result is broken, or DVC cannot record what was made.
    """
    begin = time.monotonic()
    preset = config.active_preset()
    if code_digest.stale():
        doors.dvc("repro", "--single-item", "code")
    names = [table.id for paper in paths.PAPERS for table in load_published(paper).tables]
    for name in names:
        write_table(name, preset)
    write_catalogue(preset)
    write_how_measured(preset)
    write_results(preset)
    known = declared.stages()
    stages = [declared.one(name, known) for name in (*names, "catalogue", "how_measured", "results")]
    complete = [stage for stage in stages if there(stage.deps)]
    doors.dvc("commit", "--force", *(stage.address for stage in complete))
    waiting = [stage.address.rpartition(":")[2] for stage in stages if stage not in complete]
    say(f"{len(names)} tables are written: reports/{preset}/tables, listed in {paths.catalogue(preset)}.")
    if waiting:
        say(f"{len(waiting)} wait for results, and DVC goes on calling them out of date: {', '.join(waiting)}.")
    say(f"All others have every row. ({duration(time.monotonic() - begin)})")


@one_build.alone()
def enter(target: str, trust: bool = False) -> None:
    """Enter results that stage modules wrote by themselves (`python -m pipeline.stages.train NAME`) into DVC's locks.

    Of all stages that a target needs, those are entered that DVC calls out of date although all their inputs and
    outputs are there. Outputs that are older than an input were made from something else, and are left alone.

    Args:
        target: name of a stage, or a file.
        trust: enter those too, as after copying results from another machine, which gives files any times.

    Raises:
        InputError: no such target, or DVC cannot record something.
    """
    known = declared.stages()
    stage = target_stage(target, known)
    for sentence in repair(known):
        say(sentence)
    stale = stale_stages([stage.address], known)
    run = [address for address in stale if there((*known[address].deps, *known[address].outs))]
    older = [] if trust else [address for address in run if outdated(known[address])]
    found = [address for address in run if address not in older]
    if found:
        doors.dvc("commit", "--force", *found)
    if len(found) == len(stale):  # with others left, Snakemake is right to see something to do
        agree([stage], known)
    locks.keep(finished=True)
    for address in found:
        say(f"  entered  {address}")
    for address in older:
        say(f"  older than an input, left alone  {address}")
    say(f"{len(found)} of the {len(stale)} stages of {target} that were out of date are entered.")
    if older:
        say("Where the older ones come from another machine with just these inputs, `--trust` enters them.")


def outdated(stage: declared.Stage) -> bool:
    """Whether an output of a stage is older than one of its inputs; folders' times say nothing."""
    inputs, outputs = ([paths.ROOT / name for name in names] for names in (stage.deps, stage.outs))
    newest = max((path.stat().st_mtime for path in inputs if path.is_file()), default=0.0)
    return any(path.is_file() and path.stat().st_mtime < newest for path in outputs)


def there(files: Iterable[str]) -> bool:
    """Whether all inputs or outputs of a stage exist."""
    return all((paths.ROOT / file).exists() for file in files)
