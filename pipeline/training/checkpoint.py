"""Checkpoints of a running training and weights of a finished one, both written atomically."""

import hashlib
import io
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline import blocks, paths
from pipeline.code_digest import training_digest
from pipeline.errors import InputError, reading
from pipeline.files import FULL, DiskFullError, replacing, sha256
from pipeline.models.weights import load_backbone
from pipeline.spec import Spec

SEAL = hashlib.sha256().digest_size
FINISHED = "finished.safetensors"  # a trained block, in the folder of its checkpoints


class Sealing:
    """A stream for `torch.save` that hashes what it writes, because PyTorch never reads its archives' checksums."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.hash = stream, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        """Write and hash; an error is kept for `seal`, because PyTorch would raise another one without its cause."""
        if self.error is None:
            self.hash.update(data)
            try:
                self.stream.write(data)
            except OSError as error:
                self.error = error
        return len(data)

    def flush(self) -> None:
        """The stream is flushed by `seal`."""

    def seal(self) -> None:
        """Write the hash after the data and wait until both are on disk; raise OSError where a write failed."""
        if self.error is not None:
            raise self.error
        self.stream.write(self.hash.digest())
        self.stream.flush()
        os.fsync(self.stream.fileno())


class Checkpoints:
    """The last two states of one training, in a folder keyed by its resolved parameters.

    If the last file is truncated or damaged (power cut, flipped bit), the one before it is used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.last, self.previous = folder / "last.pt", folder / "previous.pt"

    def save(self, state: dict[str, Any]) -> None:
        """Write a state of tensors, numbers, text, lists and dicts.

        Raise DiskFullError where the disk is full; the previous state is kept.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.last.exists():
            self.last.replace(self.previous)
        with replacing(self.last) as temporary, open(temporary, "wb") as stream:
            sealing = Sealing(stream)
            torch.save(state, sealing)
            sealing.seal()

    def load(self) -> dict[str, Any] | None:
        """Return the newest readable state, or None where there is none."""
        for path in (self.last, self.previous):
            if path.exists():
                try:
                    return torch.load(opened(path), map_location="cpu", weights_only=True)
                except Exception as error:  # torch raises many kinds of error for unreadable files
                    reason = str(error) if isinstance(error, DamagedError) else type(error).__name__
                    print(
                        f"Checkpoint {path} is unreadable ({reason}); going on from the one before it.", file=sys.stderr
                    )
        return None

    def forget(self) -> None:
        """Delete both states."""
        self.last.unlink(missing_ok=True)
        self.previous.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete both states and all that lies beside them, once the training is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)


class DamagedError(ValueError):
    """A checkpoint differs from what was written."""


def opened(path: Path) -> io.BytesIO:
    """Return the archive in a sealed file; raise DamagedError where its checksum is wrong."""
    with open(path, "rb") as stream:
        body = stream.read(max(0, path.stat().st_size - SEAL))
        if stream.read() != hashlib.sha256(body).digest():
            raise DamagedError("its checksum is wrong: it is cut off or damaged")
    return io.BytesIO(body)


def checkpoint_folder(spec: Spec, script: str, *files: Path, also: str = "") -> Path:
    """Return where the checkpoints of a training live: keyed by all that decides its result.

    That is its digest (settings and code), and the data and init files that it reads; nothing of the machine, so that a
    training goes on with other processes, workers or another number format.

    Args:
        spec: the resolved experiment.
        script: "train" or "pretrain".
        files: are hashed, of weights and proposals this block's part alone, so that further blocks change no key; one
            that does not exist (the manifest, where embedded data was never verified) is left out.
        also: more that decides the result, as text.
    """
    present = [part_digest(file, spec.block) for file in files if file.is_file()]
    parts = [training_digest(script, spec), torch.__version__, also, *present]
    return paths.scratch(spec.run, hashlib.sha256("/".join(parts).encode()).hexdigest()[:16])


def part_digest(path: Path, block: int) -> str:
    """Return the SHA-256 of a file, of a safetensors file that of one block's names, values and metadata."""
    if path.suffix != ".safetensors":
        return sha256(path)
    tensors, metadata = load_weights(path, block)
    whole = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        whole.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        whole.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return whole.hexdigest()


def save_weights(path: Path, state: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors as safetensors with text metadata in the header; raise DiskFullError where they do not fit."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with replacing(path) as temporary:
        try:
            save_file(tensors, temporary, metadata or {})
            sort_metadata(temporary)
        except SafetensorError as error:  # Rust's errors have the error number only in their text
            if any(f"os error {number})" in str(error) for number in FULL):
                raise DiskFullError(path) from error
            raise


def sort_metadata(path: Path) -> None:
    """Put the text metadata of a safetensors file in the order of their names, because its writer takes any order."""
    with path.open("r+b") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        if metadata := header.get("__metadata__"):
            header["__metadata__"] = dict(sorted(metadata.items()))
        stream.seek(8)
        stream.write(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length))


def load_weights(path: Path, block: int = 1) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of one block in a safetensors file.

    Raises:
        InputError: the file is missing or broken, or has no such block.
    """
    if not path.is_file():
        raise InputError(f"Weights {path} do not exist; run the stage that makes them (dvc repro names it).")
    try:
        with safe_open(path, framework="pt") as opened:
            metadata, there = opened.metadata() or {}, list(opened.keys())
            names = blocks.names_of(1 if blocks.EVERY in metadata else block, there)
            tensors = {own: opened.get_tensor(name) for name, own in names.items()}
    except (SafetensorError, OSError) as error:
        raise InputError(f"Weights {path} are broken ({error}); delete the file and run its stage again.") from error
    if there and not tensors:
        raise InputError(
            f"Weights {path} have {blocks.count(there)} blocks, and block {block} is asked for; run their stage again."
        )
    return tensors, {own: metadata[name] for name, own in blocks.names_of(block, list(metadata)).items()}


class Trained(NamedTuple):
    """A finished training, before its files are written."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    history: str  # a table as CSV
    summary: dict[str, Any]
    scratch: Path  # of its checkpoints

    def keep(self) -> None:
        """Keep it in the place of its checkpoints, so that it need not be trained again beside further blocks."""
        header = {"metadata": json.dumps(self.metadata), "history": self.history, "summary": json.dumps(self.summary)}
        save_weights(self.scratch / FINISHED, self.tensors, header)
        Checkpoints(self.scratch).forget()


def finished(scratch: Path) -> Trained | None:
    """Return the training that was kept in a folder; None where there is none."""
    file = scratch / FINISHED
    if not file.is_file():
        return None
    tensors, header = load_weights(file)
    with reading(file, "delete the file, and this block is trained again"):
        return Trained(
            tensors, json.loads(header["metadata"]), header["history"], json.loads(header["summary"]), scratch
        )


def load_trained(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Copy the tensors of a file into a network that has just these; raise InputError where it has others."""
    with reading(path, "delete the file and run its stage again"):
        model.load_state_dict(tensors)


def load_init(model: nn.Module, tensors: dict[str, Tensor]) -> tuple[int, list[str]]:
    """Copy an init's tensors into a network where name and shape agree; decomposed layers split a plain weight.

    A C4 detector has conv5_x in its RoI head, so `backbone.body.layer4` also fits `roi_heads.box_head.layer4`.

    Returns:
        The number of the network's tensors that were set, and the names of those that keep their initial values.
    """
    moved = {
        name.replace("backbone.body.layer4.", "roi_heads.box_head.layer4."): tensor for name, tensor in tensors.items()
    }
    matched = load_backbone(model, {**moved, **tensors})
    return len(matched.loaded) + len(matched.transferred), list(matched.initial)
