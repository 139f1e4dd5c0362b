"""Prove that an edit changed no number, and sign the locks of results that it would otherwise make anew.

Every stale digest has stages behind it. Of those that use the same code the cheapest runs twice, with the code of the
revision that the results were made with and with the code as it is now, side by side on this machine: another
processor rounds differently, so the committed bytes themselves prove nothing elsewhere. Stages of the report run on the
committed results; stages that need data or weights run with all that they need, at shortened length. If all outputs
are equal byte for byte, the locks are signed; if not, what differs is named and nothing is signed.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline import code_digest, config, paths
from pipeline.errors import InputError, nearest
from pipeline.files import read_yaml, write_text
from pipeline.graph import declared, doors, stage_runner
from pipeline.graph.signing import DIGESTS, Signer

FOLDER = Path("data/scratch/prove")
SHORT = {  # what makes a preset's stages short, its networks, sizes and rates left as they are
    "data": {"train_images": 48, "val_images": 16, "limit_train": 48, "limit_val": 16},
    "training": {
        "steps": 12,
        "pretrain_steps": 8,
        "pretrain_images": 200,
        "pretrain_seeds": 1,
        "warmup_steps": 3,
        "log_rows": 4,
        "checkpoint_rows": 1,
        "scale_images": 8,
    },
    "verdicts": {"draws": 8},
}
LIST = (
    "import json; from pipeline.graph import declared; "
    "print(json.dumps({s.address: [s.command, s.deps, s.outs] for s in declared.stages().values()}))"
)


def prove(base: str, scripts: Sequence[str] = (), say: Any = print) -> bool:
    """Compare and, where everything is equal, sign; return whether it was.

    Args:
        base: the git revision whose code made the results on record.
        scripts: prove stages of these scripts alone (`train`, `predict`, ...), by default all.
        say: takes a line for the user.

    Raises:
        InputError: no such revision or script, or a stage could not run in either checkout.
    """
    if code_digest.stale():
        doors.dvc("repro", "--single-item", "code")
    known = declared.stages()
    there_are = {stage.script for stage in known.values()}
    if unknown := sorted(set(scripts) - there_are):
        raise InputError(f"No stage has the script {unknown[0]!r}{nearest(unknown[0], there_are)}; name another.")
    signer = Signer(known)
    stale, blocked = signer.stale()
    stale = {name: record for name, record in stale.items() if not scripts or known[name].script in scripts}
    for address, reason in blocked.items():
        if address != "code":
            say(f"  left to run  {address.rpartition(':')[2]}: {reason}")
    groups = grouped(stale, known)
    if not groups:
        say("No digest is stale: there is nothing to prove.")
        return True
    say(f"{len(stale)} stages are stale by {len(groups)} digests of code; {base} and the work tree run one of each.")
    trees = checkouts(base)
    here, there = (stages_of(tree) for tree in trees)
    chosen = choose(groups, known, there)
    order = [stage.address for stage in declared.in_order(known)]
    light = [name for name in order if name in chosen and reads_committed_files(known[name], trees[0])]
    needed = declared.ancestors(set(chosen) - set(light), known)
    heavy = [name for name in order if name in needed and name != "code" and name in there]
    compared, differing = [], []
    for names, short in ((light, False), (heavy, True)):
        if short and names:
            for tree in trees:
                shorten(tree)
        run_both(trees, names, there, here, say)
        for name in names:
            differing += differences(trees, name, there[name][2], here[name][2])
            compared.append(name)
    for name in compared:
        say(f"  {'DIFFERS' if any(line.startswith(name + ':') for line in differing) else 'equal'}  {name}")
    if differing:
        say("\n".join(["Nothing is signed: these outputs differ.", *(f"  {line}" for line in differing)]))
        return False
    locks = signer.sign(stale)
    say(f"{len(compared)} stages gave equal bytes; {len(stale)} records in {len(locks)} locks are signed anew.")
    shutil.rmtree(paths.ROOT / FOLDER, ignore_errors=True)
    return True


def grouped(stale: Iterable[str], known: Mapping[str, declared.Stage]) -> dict[str, list[str]]:
    """Return the stale stages that use the same code, by script and code."""
    groups: dict[str, list[str]] = {}
    for address in stale:
        digests = [dep for dep in known[address].deps if dep.startswith(DIGESTS)]
        text = "".join(code_digest.split((paths.ROOT / dep).read_text("utf-8"))[1] for dep in digests)
        groups.setdefault(f"{known[address].command.split()[2]}\n{text}", []).append(address)
    return groups


def choose(groups: Mapping[str, list[str]], known: Mapping[str, declared.Stage], base: Mapping[str, Any]) -> list[str]:
    """Return a stage of every group that the base has too: the one with the fewest further stages below it.

    Raises InputError where the base has none of a group.
    """
    chosen: list[str] = []
    covered: set[str] = set()
    for group in groups.values():
        there = [address for address in group if address in base]
        if not there:
            raise InputError(f"{group[0]} has no counterpart in the base to compare it with; run it instead.")
        above = {address: declared.ancestors(address, known) for address in there}
        best = min(there, key=lambda address: (len(above[address] - covered), address))
        covered |= above[best]
        chosen.append(best)
    return chosen


def reads_committed_files(stage: declared.Stage, tree: Path) -> bool:
    """Whether a stage writes reports alone, from files that a checkout holds."""
    deps = [dep for dep in stage.deps if not dep.startswith(DIGESTS)]
    return all(out.startswith("reports/") for out in stage.outs) and all((tree / dep).exists() for dep in deps)


def checkouts(base: str) -> tuple[Path, Path]:
    """Make two folders, of the base revision and of the work tree as it is, and return them.

    Raises InputError where there is no such revision.
    """
    root = paths.ROOT / FOLDER
    shutil.rmtree(root, ignore_errors=True)
    before, now = root / "base", root / "now"
    before.mkdir(parents=True)
    git("rev-parse", "--verify", "--quiet", f"{base}^{{commit}}", error=f"There is no revision {base!r}; name another.")
    archive = subprocess.run(["git", "archive", base], cwd=paths.ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(before)], input=archive, check=True)
    for name in git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
        if name and (paths.ROOT / name).is_file():
            (now / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(paths.ROOT / name, now / name)
    return before, now


def git(*arguments: str, error: str = "") -> str:
    done = subprocess.run(["git", *arguments], cwd=paths.ROOT, capture_output=True, text=True)
    if done.returncode:
        raise InputError(error or f"`git {' '.join(arguments)}` failed: {done.stderr.strip()}")
    return done.stdout


def stages_of(tree: Path) -> dict[str, list[Any]]:
    """Return [command, dependencies, outputs] of every stage of a checkout, as its own code reads them."""
    done = subprocess.run([sys.executable, "-c", LIST], cwd=tree, env=environment(tree), capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"The stages of {tree} cannot be read: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout)


def environment(tree: Path) -> dict[str, str]:
    """Return an environment in which `pipeline` is that of a checkout, without GPUs: their sums vary with each run."""
    return doors.environment(PYTHONPATH=str(tree), OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")


def shorten(tree: Path) -> None:
    """Put a short form of the active preset in its place in a checkout."""
    file = tree / paths.preset_file(config.active_preset())
    preset = read_yaml(file)
    for section, values in SHORT.items():
        given = preset.setdefault(section, {})
        skipped = ("limit_train", "limit_val") if given.get("kind") == "scaleworld" else ("train_images", "val_images")
        given.update({key: value for key, value in values.items() if key not in skipped})
    write_text(file, yaml.safe_dump(preset, sort_keys=False))


def run_both(
    trees: tuple[Path, Path],
    names: Sequence[str],
    there: Mapping[str, list[Any]],
    here: Mapping[str, list[Any]],
    say: Any,
) -> None:
    """Run stages in both checkouts at the same time. Raises InputError with the first failure."""
    if not names:
        return
    running = []
    for tree, stages in zip(trees, (there, here), strict=True):
        plan = json.dumps([[name, stages[name][0]] for name in names])
        command = [sys.executable, stage_runner.__file__, str(tree)]
        process = subprocess.Popen(
            command, cwd=tree, env=environment(tree), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        process.stdin.write(plan)
        process.stdin.close()
        running.append((tree, process))
    for tree, process in running:
        for number, text in enumerate(process.stdout, start=1):
            line = json.loads(text)
            if line["failure"]:
                process.kill()
                raise InputError(f"{line['address']} failed in {tree.relative_to(paths.ROOT)}: {line['failure']}")
            say(f"  [{number}/{len(names)}] {tree.name}: {line['address'].rpartition(':')[2]} {line['seconds']:.0f} s")
        if process.wait():
            raise InputError(f"The stages in {tree.relative_to(paths.ROOT)} ended with code {process.returncode}.")


def differences(trees: tuple[Path, Path], name: str, before: Sequence[str], now: Sequence[str]) -> list[str]:
    """Return a line for each output of a stage that differs between the checkouts."""
    if len(before) != len(now):
        return [f"{name}: writes {len(now)} files, {len(before)} in the base"]
    pairs = zip(sorted(before), sorted(now), strict=True)
    return [f"{name}: {new}" for old, new in pairs if content(trees[0] / old) != content(trees[1] / new)]


def content(path: Path) -> dict[str, bytes]:
    """Return the bytes of a file, or of all files below a folder."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in files if file.is_file()}
