"""Odd structures in the files that the pipeline writes for itself: each reader takes one, or ends in one sentence."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import fuzz
import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from pipeline import paths
from pipeline.data.manifest import load_split
from pipeline.data.proposals import read_proposals, write_proposals
from pipeline.files import sha256, write_json
from pipeline.graph import declared, lock_file, locks
from pipeline.training.checkpoint import Checkpoints, load_trained, load_weights
from pipeline.training.distributed import World
from pipeline.training.history import History
from pipeline.training.inputs import read_scales
from pipeline.training.state import TrainingState

ODD = [None, True, 0, -1, 2**70, 0.5, float("nan"), "", "a", "\0", "${x}", [], [[]], [1, 2], {}, {"a": 1}]
LOCK = locks.HEAD + "".join(
    f"  train@{name}:\n    cmd: train\n    outs:\n    - path: {name}\n      md5: {name * 32}\n      size: 7\n"
    for name in "abc"
)


def odd_tensors(tensors: dict[str, torch.Tensor], draw: random.Random) -> dict[str, torch.Tensor]:
    """Return tensors of which one is another, or missing."""
    found = dict(tensors)
    name = draw.choice(list(found))
    value = found.pop(name)
    others = [value[:-1], value[None], value.flip(0), value.float() * torch.nan, torch.zeros(0), torch.tensor(3)]
    way = draw.randrange(len(others) + 1)
    return found if way == len(others) else found | {name: others[way].contiguous()}


def proposals(folder: Path, draw: random.Random) -> None:
    """Proposals of two images at two resolutions, of which a tensor or the header is another."""
    part = {"boxes": torch.rand(3, 4), "scores": torch.rand(3)}
    write_proposals(folder / "p.safetensors", [7, 3], [[part, part], [part, part]], [480, 800])
    tensors, header = load_weights(folder / "p.safetensors")
    if draw.random() < 0.3:
        header = draw.choice([{}, {"short_sides": draw.choice(["", "5", "[]", "{}", "[1]", "null", '"a"'])}])
        save_file(tensors, folder / "p.safetensors", header)
    else:
        save_file(odd_tensors(tensors, draw), folder / "p.safetensors", header)
    found = read_proposals(folder / "p.safetensors", [7, 3])
    for image in (7, 3):
        assert found.of(image, 800).shape[1] == 4


def weights(folder: Path, draw: random.Random) -> None:
    """Weights of another network, with other scales in their header."""
    header = json.dumps(fuzz.odd({"layer2.0.conv2": [1.0, 2.0]}, draw, ODD))
    save_file(odd_tensors(nn.Linear(3, 2).state_dict(), draw), folder / "w.safetensors", {"scales": header})
    tensors, metadata = load_weights(folder / "w.safetensors")
    if draw.random() < 0.5:
        read_scales(metadata)
    else:
        load_trained(nn.Linear(3, 2), tensors, folder / "w.safetensors")


def checkpoints(folder: Path, draw: random.Random) -> None:
    """A sealed checkpoint of another structure."""
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    state = TrainingState(model, optimizer, scaler, History(4, 2), None, None, World())
    kept = Checkpoints(folder)
    state.save(kept, 2, 0)
    kept.save(fuzz.odd(kept.load(), draw, ODD))
    state.restore(kept)


def manifests(folder: Path, draw: random.Random) -> None:
    """A manifest of another structure."""
    write_json(folder / "val.json", {"images": []})
    split = {"file": "val.json", "sha256": sha256(folder / "val.json")}
    content = {"preset": "x", "kind": "coco", "factor": 1.0, "categories": [{"id": 1}], "splits": {"val": split}}
    (folder / "manifest.json").write_text(json.dumps(fuzz.odd(content, draw, ODD)))
    load_split(folder / "manifest.json", "val")


def graphs(folder: Path, draw: random.Random) -> None:
    """A dvc.yaml of another structure, with an index."""
    train = {"cmd": "python -m pipeline.stages.train ${key}", "deps": ["${item.of}"], "outs": ["${key}.txt", {"b": {}}]}
    report = {"cmd": "python -m pipeline.stages.report", "outs": ["r.md"]}
    content = {"vars": ["i.yaml"], "stages": {"train": {"foreach": "${names}", "do": train}, "report": report}}
    index = {"names": {"a": {"of": "x"}, "b": {"of": "y"}}}
    mutated = draw.random() < 0.6
    (folder / paths.PARAMS).write_text("preset: mini\n")
    (folder / "dvc.yaml").write_text(yaml.safe_dump(fuzz.odd(content, draw, ODD) if mutated else content))
    (folder / "i.yaml").write_text(yaml.safe_dump(index if mutated else fuzz.odd(index, draw, ODD)))
    declared.kinds(declared.stages(folder))


def dvc_locks(folder: Path, draw: random.Random) -> None:
    """A cut or damaged dvc.lock: all its records come back from the copy."""
    root, paths.ROOT = paths.ROOT, folder
    try:
        (folder / "dvc.lock").write_text(LOCK)
        locks.keep(finished=True)
        at = draw.randrange(len(LOCK))
        (folder / "dvc.lock").write_text(LOCK[:at] + draw.choice(["", "\0" * 9, ">>>>\n", LOCK[at + 40 :]]))
        locks.mend()
        assert locks.records((folder / "dvc.lock").read_text()).keys() == locks.records(LOCK).keys()
    finally:
        paths.ROOT = root


def files_of_locks(folder: Path, draw: random.Random) -> None:
    """DVC's file of read and write locks: it is JSON of the right structure afterwards."""
    file = folder / lock_file.LOCKS
    file.parent.mkdir(parents=True, exist_ok=True)
    holder = {"pid": 2**22 + 1, "cmd": "dvc repro"}
    text = json.dumps(fuzz.odd({"write": {"/a": holder}, "read": {"/b": [holder]}}, draw, ODD))
    file.write_text(text[: draw.randrange(len(text))] if draw.random() < 0.3 else text)
    lock_file.mend(folder)
    assert json.loads(file.read_text()) == {"write": {}, "read": {}}


READERS: tuple[Callable[[Path, random.Random], None], ...] = (
    *(proposals, weights, checkpoints, manifests, graphs, dvc_locks, files_of_locks),
)
