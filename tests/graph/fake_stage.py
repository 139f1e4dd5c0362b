"""Stands in for every stage in a copied project: writes outputs that depend on nothing but the declared inputs.

It finds its stage by its own command line, so the real dvc.yaml files decide what it reads and writes. Each run adds a
line to `ran.txt`, which is no output of any stage.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

from pipeline.graph import declared


def content(path: Path) -> bytes:
    if path.is_dir():
        return b"".join(content(p) for p in sorted(path.iterdir()) if not p.name.startswith("."))
    if path.suffix == ".yaml":  # as a real stage would: what a comment says changes nothing
        lines = (line.split("#")[0].rstrip() for line in path.read_text().splitlines())
        return "\n".join(line for line in lines if line).encode()
    return path.read_bytes()


def main() -> None:
    command = " ".join(["python", "-m", f"pipeline.stages.{Path(sys.argv[0]).stem}", *sys.argv[1:]])
    (stage,) = [s for s in declared.stages(Path()).values() if s.command == command]
    if stage.address == os.environ.get("FAIL"):
        sys.exit(f"the fake stage {stage.address} was told to fail")
    digest = hashlib.sha256()
    for dep in stage.deps:
        digest.update(dep.encode() + content(Path(dep)))
    digest.update(os.environ.get("ROUNDING", "").encode())  # of another processor
    with open("ran.txt", "a") as log:
        log.write(stage.address + "\n")
    time.sleep(float(os.environ.get("NAP", 0)))
    for out in stage.outs:
        path, text = Path(out), digest.hexdigest()
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.suffix:
            path.mkdir()
            path = path / "note.txt"
        elif path.suffix == ".json":
            text = json.dumps({"value": int(text[:6], 16)})
        elif path.suffix == ".csv":
            text = f"step,loss\n0,1.0\n1,0.{int(text[:4], 16)}\n"
        path.write_text(f"{text}\n")


if __name__ == "__main__":
    main()
