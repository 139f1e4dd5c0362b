"""DVC's locks, signed anew for results that an edit of code left as they are: no stage runs, no result is touched.

A record says which command made which outputs from which inputs. After an edit that changes no number only the digests
of code and settings differ, and perhaps which inputs a stage names. All other inputs must be those on record.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline import paths
from pipeline.errors import InputError, reading
from pipeline.files import read_yaml, write_text
from pipeline.graph import declared

DIGESTS = "data/code/"
Record = dict[str, Any]  # of a stage in dvc.lock: `cmd`, `deps` and `outs`, lists of {path, hash, md5, size}


def lock_file(address: str) -> Path:
    """Return the lock that holds a stage's record, relative to the root."""
    return Path(address.rpartition(":")[0] or "dvc.yaml").with_name("dvc.lock")


def load(known: Iterable[str], root: Path = paths.ROOT) -> dict[str, Record]:
    """Return the records of the stages, named by address, that have one."""
    found = {}
    for lock in sorted({lock_file(address) for address in known}):
        content = (read_yaml(root / lock) if (root / lock).is_file() else None) or {}
        prefix = "" if lock.parent == Path() else f"{lock.with_name('dvc.yaml').as_posix()}:"
        with reading(root / lock, "take it back from git"):
            found |= {prefix + name: record for name, record in content.get("stages", {}).items()}
    return {address: found[address] for address in known if address in found}


class Signer:
    """Makes the records that stages should have, from the records that they have."""

    def __init__(self, known: Mapping[str, declared.Stage], root: Path = paths.ROOT) -> None:
        self.known, self.root = known, root
        self.records = load(known, root)
        self.made = {out["path"]: out for record in self.records.values() for out in record.get("outs", ())}

    def stale(self) -> tuple[dict[str, Record], dict[str, str]]:
        """Return the new record of every stage whose record differs in no more than command and digests, by address.

        The second dictionary says, for stages that differ in more, which input is another one than on record.
        """
        signable, blocked = {}, {}
        for address, record in self.records.items():
            try:
                new = self.signed(address)
            except InputError as error:
                blocked[address] = str(error)
                continue
            if new != record:
                signable[address] = new
        return signable, blocked

    def signed(self, address: str) -> Record:
        """Return the record that a stage should have. Raises InputError where an input is not the one on record."""
        stage, record = self.known[address], self.records[address]
        if sorted(out["path"] for out in record.get("outs", ())) != sorted(stage.outs):
            raise InputError(f"{address} writes other files than those on record; run it.")
        before = {dep["path"]: dep for dep in record.get("deps", ())}
        deps = [self.entry(address, path, before.get(path)) for path in sorted(stage.deps)]
        return {"cmd": stage.command, **({"deps": deps} if deps else {}), "outs": record["outs"]}

    def entry(self, address: str, path: str, before: Record | None) -> Record:
        """Return what a record says of one input."""
        if path.startswith(DIGESTS):
            return self.hashed(path)
        now = {k: v for k, v in self.made[path].items() if k != "nfiles" or v} if path in self.made else None
        now = now or (before if (self.root / path).is_dir() else self.hashed(path))
        if now is None or (before is not None and before["md5"] != now["md5"]):
            raise InputError(f"{path}, which {address} reads, is not the one on record; run the stage.")
        return dict(now)

    def hashed(self, path: str) -> Record:
        """Return DVC's entry of a file in the work tree."""
        file = self.root / path
        if not file.is_file():
            raise InputError(f"{path} is missing; make it first.")
        content = file.read_bytes()
        return {"path": path, "hash": "md5", "md5": hashlib.md5(content).hexdigest(), "size": len(content)}

    def sign(self, records: Mapping[str, Record]) -> list[Path]:
        """Write new records into their locks and return the locks that changed."""
        from dvc.utils.serialize import dumps_yaml

        changed = sorted({lock_file(address) for address in records})
        for lock in changed:
            content = read_yaml(self.root / lock)
            for address, record in records.items():
                if lock_file(address) == lock:
                    content["stages"][address.rpartition(":")[2]] = record
            write_text(self.root / lock, dumps_yaml(content))
        return changed
