"""DVC's records, kept beside each dvc.lock, so that a write that was cut off loses none.

DVC empties dvc.lock and writes it anew after each stage, which takes it up to two seconds. SIGKILL or a full disk
leaves a part of it; where that ends at a record's border it reads as a whole file. So builds keep copies of whole
locks, and records that a lock had and has no more come back, from the copy or else from git. A record only says what
made what: DVC compares it with the files, so that an old one never hides work to do.
"""

import re
import subprocess
from contextlib import suppress
from pathlib import Path

import yaml

from pipeline import paths
from pipeline.files import DiskFullError, write_text
from pipeline.graph.one_build import held

KEPT = Path("data/scratch/locks")
HEAD = "schema: '2.0'\nstages:\n"  # as DVC writes it; a record's name is indented by two blanks, its body by four
EMPTY = HEAD.replace("stages:", "stages: {}")
RECORD = re.compile(r"^  (?=\S)(?P<name>[^\n]+):\n(?:    [^\n]*\n)+", re.MULTILINE)


def mend() -> list[str]:
    """Bring back the records that locks have lost, keep what they then are, and return a sentence for each mended.

    A lock that is as git has it is left alone: so many records were committed.
    """
    said = []
    with held(paths.ROOT / ".dvc/tmp/lock", "DVC is at work in this folder; waiting for it."):
        for name in names():
            text, kept = text_of(paths.ROOT / name), text_of(paths.ROOT / KEPT / name)
            if kept is None or broken(text) or lost(text, kept):
                committed = at_head(name)
                before = committed if kept is None else kept
                if text != committed and (broken(text) or lost(text, before)):
                    missing = lost(text, before)
                    text = merged(text, before)
                    write_text(paths.ROOT / name, text)
                    said.append(f"mended {name}, torn by a killed run or a full disk: {len(missing)} records put back")
            keep_one(name, text)
    return said


def merged(text: str | None, before: str | None) -> str:
    """Return the text of a lock with its own whole records, and with those from before that it has lost."""
    found = {stage: record for stage, record in records(text).items() if complete(record)}
    missing = lost(text, before)
    own = {stage: record for stage, record in found.items() if stage not in missing}
    whole = (records(before) | own).values()
    return HEAD + "".join(whole) if whole else EMPTY


def keep(finished: bool = False) -> None:
    """Keep copies of all locks that are whole.

    Args:
        finished: DVC is not at work, so that what a lock does not have is rightly gone.
    """
    for name in names():
        text, kept = text_of(paths.ROOT / name), text_of(paths.ROOT / KEPT / name)
        if text != kept and not broken(text) and (finished or not lost(text, kept)):
            with suppress(DiskFullError):  # the stages say so where it matters
                keep_one(name, text)


def keep_one(name: str, text: str | None) -> None:
    if text is None:
        (paths.ROOT / KEPT / name).unlink(missing_ok=True)
    elif text != text_of(paths.ROOT / KEPT / name):
        write_text(paths.ROOT / KEPT / name, text)


def names() -> list[str]:
    """Return the locks that are there or are kept, relative to the root."""
    roots = (paths.ROOT, paths.ROOT / KEPT)
    found = {file.relative_to(root) for root in roots for file in root.glob("workflow/**/dvc.lock")}
    return sorted(path.as_posix() for path in found | {Path("dvc.lock")})


def text_of(file: Path) -> str | None:
    """Return a lock's text, None where there is no file; bytes that are no text stand for themselves."""
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else None


def at_head(name: str) -> str | None:
    """Return a lock's text in the last commit, None where git does not have it."""
    command = ["git", "show", f"HEAD:./{name}"]
    try:
        done = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, errors="replace", check=False)
    except OSError:  # no git
        return None
    return done.stdout if done.returncode == 0 else None


def records(text: str | None) -> dict[str, str]:
    """Return the records in a lock's text, each as its lines, by stage; the last one may be cut off."""
    return {match["name"]: match[0] for match in RECORD.finditer(text or "")}


def lost(text: str | None, before: str | None) -> set[str]:
    """Return the stages whose records a text lacks, or has only the beginning of."""
    found = records(text)
    return {
        stage
        for stage, record in records(before).items()
        if stage not in found or (found[stage] != record and record.startswith(found[stage]))
    }


def broken(text: str | None) -> bool:
    """Whether a lock's text is not what DVC writes: no lock, or its last record is cut off."""
    if text is None or text == EMPTY:
        return False
    found = records(text)
    if not found or not text.endswith("\n") or not complete(list(found.values())[-1]):
        return True
    if text == HEAD + "".join(found.values()):
        return False
    try:  # perhaps edited by hand
        content = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError):
        return True
    return not isinstance(content, dict) or "schema" not in content


def complete(record: str) -> bool:
    """Whether a record has its command and, of each input and output, path, hash and size."""
    try:
        (body,) = yaml.safe_load(record).values()
        files = [*body.get("deps", ()), *body["outs"]]
        return "cmd" in body and all({"path", "md5", "size"} <= file.keys() for file in files)
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError):
        return False
