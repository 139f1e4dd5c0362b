"""Weights made again for committed results that started from them, and kept as their stand-ins.

The same stage with the same inputs gives other bytes on another kind of processor, where sums round differently. The
committed results still stand, as results of other machines do that `enter` takes. So what git holds of such a stage
stays as committed, and the new bytes' hash takes the place of the old one in every dvc.lock that names the file.
"""

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline import paths
from pipeline.errors import InputError
from pipeline.files import read_json, read_text, write_json, write_text
from pipeline.graph import declared, signing

KEPT = Path("data/scratch/stand_ins")  # what a kill between making and keeping must not lose
PLAN = KEPT / "plan.json"


def make(stages: Sequence[declared.Stage], run: Callable[[list[str]], None]) -> list[str]:
    """Make the missing outputs of stages up to date, keep them as stand-ins, and return a sentence for each.

    Args:
        stages: stages whose committed results stand; none needs another.
        run: brings files up to date through DVC.
    """
    keep(stages)
    try:
        run([out for stage in stages for out in stage.outs if not (paths.ROOT / out).exists()])
    finally:
        said = finish()
    return said


def keep(stages: Sequence[declared.Stage]) -> None:
    """Put aside all locks and what is there of the stages' outputs: `finish` brings them back."""
    root = paths.ROOT
    records = [out for stage in stages for out in stage.outs if (root / out).is_file()]
    for name in [*locks(), *records]:
        (root / KEPT / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, root / KEPT / name)
    made = {stage.address: [out for out in stage.outs if out not in records] for stage in stages}
    write_json(root / PLAN, {"locks": locks(), "records": records, "made": made})


def finish() -> list[str]:
    """Keep what was made as stand-ins, after a kill too; return a sentence for each that came out with other bytes."""
    root = paths.ROOT
    if not (root / PLAN).is_file():  # written last, so without it nothing was begun
        shutil.rmtree(root / KEPT, ignore_errors=True)
        return []
    plan = read_json(root / PLAN)
    changes = {}
    for address, outs in plan["made"].items():
        before, after = recorded(root / KEPT, address), recorded(root, address)
        for out in outs:
            if out in before and out in after and before[out]["md5"] != after[out]["md5"]:
                changes[out] = (before[out], after[out])
    for name in plan["records"]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / KEPT / name, root / name)
    for name in plan["locks"]:
        write_text(root / name, renamed(read_text(root / KEPT / name), list(changes.values())))
    shutil.rmtree(root / KEPT)
    return [
        f"  {out} came out with other bytes than where committed results started from it; they stand" for out in changes
    ]


def locks() -> list[str]:
    """Return the dvc.lock files of the pipeline."""
    files = [file.with_name("dvc.lock") for file in declared.dvc_files(paths.ROOT)]
    return [file.relative_to(paths.ROOT).as_posix() for file in files if file.is_file()]


def recorded(root: Path, address: str) -> dict[str, dict[str, Any]]:
    """Return what a lock below `root` says of a stage's outputs, by path; nothing of a lock that a kill tore."""
    try:
        records = signing.load([address], root)
    except InputError:
        return {}
    return {out["path"]: out for out in records.get(address, {}).get("outs", ())}


def renamed(lock: str, changes: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> str:
    """Return a lock's text with old hashes and sizes replaced by new ones, whoever names them."""
    for old, new in changes:
        hashed = new["md5"] if isinstance(yaml.safe_load(new["md5"]), str) else f"'{new['md5']}'"  # not all digits
        lock = re.sub(
            rf"\bmd5: '?{re.escape(old['md5'])}'?\n(\s+)size: {old['size']}\n",
            lambda match, new=new, hashed=hashed: f"md5: {hashed}\n{match[1]}size: {new['size']}\n",
            lock,
        )
    return lock
