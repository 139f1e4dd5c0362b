"""Damaged and odd inputs for every reader of users' data; `fuzz_all` tries ten thousand of these and of own files.

Each input ends in a data set or in one sentence (InputError) within seconds. Pictures are held to more: what is
accepted after it was cut shows the same pixels, and so does any PNG.
"""

import contextlib
import copy
import csv
import io
import json
import random
import signal
import tarfile
import tempfile
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tiny_sets
from PIL import Image

from pipeline import config, paths
from pipeline.data.fetching.archives import unpack
from pipeline.data.images import read_image
from pipeline.data.labelled.cifar import RECORD, read_cifar100
from pipeline.data.labelled.image_folder import read_folder, read_split
from pipeline.data.pixels import as_rgb
from pipeline.data.summary import summary
from pipeline.data.verification_page import write_verification_page
from pipeline.data.verify import Source, verify
from pipeline.errors import InputError
from pipeline.evaluation.inputs import read_detections, read_ground_truth
from pipeline.own.forms import as_coco
from pipeline.preset import Data, Preset

LIMIT = 60  # seconds for one input
ODD: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        7,
        2**31,
        2**53,
        -(2**63),
        10**400,
        0.5,
        -0.0,
        1e-9,
        1e308,
        float("nan"),
        float("inf"),
    ),
    *(
        "",
        " ",
        "\n",
        "\0",
        "b.png",
        "../b.png",
        "/etc/passwd",
        "._b.png",
        "a" * 300,
        "é",
        "\ud800",
        "nan",
        "1",
        "o" * 9,
    ),
    *([], {}, [[]], [1, 2, 3, 4], [0.1, 0.1, 0.2, 0.2], [1] * 7, {"size": [30, 40], "counts": "T35\\9Q2Y="}),
    *({"size": [30, 40], "counts": [0, 1200]}, {"size": [30, 40], "counts": "\x7f"}, {"id": 1}),
]
KINDS = {"PNG": "png", "JPEG": "jpg", "GIF": "gif", "BMP": "bmp", "TIFF": "tif", "WEBP": "webp", "PPM": "ppm"}
INSTANCES = copy.deepcopy(tiny_sets.INSTANCES)
INSTANCES["annotations"][1]["segmentation"] = [[1, 2, 20, 2, 9, 19]]
VOC = """<annotation><filename>{name}.png</filename><size><width>40</width><height>30</height></size>
<object><name>dog</name><difficult>0</difficult><bndbox><xmin>3</xmin><ymin>4</ymin><xmax>20</xmax><ymax>19</ymax></bndbox>
</object></annotation>"""
CODES = [{"image_id": 7, "category_id": 9, "score": 0.5, "segmentation": {"size": [30, 40], "counts": "T35\\9Q2Y="}}]
Reader = Callable[[Path, random.Random], None]
PRESET = (paths.ROOT / paths.preset_file("mini")).read_bytes()


class DamageAcceptedError(Exception):
    """A picture that is not what it was passed."""


def noise(size: tuple[int, int]) -> Image.Image:
    """Return a picture in which every pixel counts."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


def packed(kind: str, size: tuple[int, int] = (40, 30)) -> bytes:
    """Return the bytes of a sound picture."""
    stream = io.BytesIO()
    noise(size).save(stream, kind)
    return stream.getvalue()


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Return bytes with some of them flipped, overwritten, cut out, doubled or put in, or with the end cut off."""
    found = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        if not found:
            break
        at, length = draw.randrange(len(found)), draw.choice((1, 2, 8, 60))
        way = draw.randrange(6)
        if way == 0:
            found[at] ^= 1 << draw.randrange(8)
        elif way == 1:
            found[at : at + length] = draw.randbytes(length)
        elif way == 2:
            del found[at : at + length]
        elif way == 3:
            found[at:at] = found[at : at + length]
        elif way == 4:
            found[at:at] = draw.choice((b"\0", b"\xff", b"\r\n", b"9" * 400, b"{", b"<", b"\xef\xbb\xbf", b"NaN", b"-"))
        else:
            del found[at:]
    return bytes(found)


def odd(value: Any, draw: random.Random, parts: Sequence[Any] = ODD) -> Any:
    """Return a copy of nested values with one part removed, doubled or replaced by one of `parts`."""
    found = copy.deepcopy(value)
    holders = [found]
    for holder in holders:
        inside = holder.values() if isinstance(holder, dict) else holder
        holders += [part for part in inside if isinstance(part, dict | list) and part]
    holder = draw.choice(holders)
    key = draw.choice(list(holder)) if isinstance(holder, dict) else draw.randrange(len(holder))
    if draw.random() < 0.15:
        del holder[key]
    elif draw.random() < 0.15 and isinstance(holder, list):
        holder.append(holder[key])
    else:
        holder[key] = draw.choice(parts)
    return found


def write_pictures(folder: Path) -> None:
    """Write the pictures of the instances file."""
    for entry in INSTANCES["images"]:
        path = folder / entry["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        noise((entry["width"], entry["height"])).save(path)


def instances(folder: Path, draw: random.Random) -> None:
    """An instances file with odd values or damaged text."""
    if not (folder / "images").is_dir():
        write_pictures(folder / "images")
    content = INSTANCES
    for _ in range(draw.choice((1, 1, 2, 3))):
        content = odd(content, draw)
    text = json.dumps(content).encode()
    (folder / "a.json").write_bytes(damaged(text, draw) if draw.random() < 0.3 else text)
    rules = Data(
        "coco",
        missing_images=draw.choice(("error", "exclude")),
        exif=draw.choice(("auto", "upright", "stored")),
        boxes=draw.choice((None, None, "xyxy", "normalised", "cxcywh")),
        links=draw.choice(("inside", "follow")),
    )
    source = Source(folder / "a.json", folder / "images")
    show(verify("fuzz", "coco", {"train": source, "val": source}, 1.0, folder / "out", rules))


def voc(folder: Path, draw: random.Random) -> None:
    """A VOC folder with damaged annotations and lists."""
    root = folder / "voc"
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / part).mkdir(parents=True, exist_ok=True)
    names = ("one", "leaf 0", "leaf")
    for name in names:
        (root / f"JPEGImages/{name}.png").write_bytes(packed("PNG"))
        (root / f"Annotations/{name}.xml").write_text(VOC.format(name=name))
    lines = "".join(f"{name}\n" for name in names).encode()
    if draw.random() < 0.5:
        lines = damaged(lines, draw)
    else:
        path = root / f"Annotations/{draw.choice(names)}.xml"
        path.write_bytes(damaged(path.read_bytes(), draw))
    (root / "ImageSets/Main/train.txt").write_bytes(lines)
    show(verify("fuzz", "voc", {"train": Source(voc_root=root, voc_split="train")}, 1.0, folder / "out"))


def yolo(folder: Path, draw: random.Random) -> None:
    """A damaged `data.yaml`, list or label file, brought into COCO's form and verified."""
    root = folder / "set"
    for part in ("images", "labels"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for name in ("a", "b"):
        (root / f"images/{name}.png").write_bytes(packed("PNG"))
        (root / f"labels/{name}.txt").write_text("0 0.5 0.5 0.2 0.3\n1 0.1 0.1 0.6 0.1 0.5 0.7\n")
    (root / "list.txt").write_text("images/a.png\n./images/b.png\n")
    kept = {"path": ".", "train": draw.choice(("images", "list.txt")), "names": {0: "ant", 1: "bee"}}
    (root / "data.yaml").write_text(json.dumps(odd(kept, draw) if draw.random() < 0.3 else kept))
    path = root / draw.choice(("data.yaml", "list.txt", "labels/a.txt", "labels/a.txt"))
    path.write_bytes(damaged(path.read_bytes(), draw))
    place = draw.choice((root, root / "data.yaml", root / "list.txt", root / "labels"))
    form = as_coco(str(root / "images"), str(place), "", "", folder / "made")
    sources = {part: Source(Path(file), Path(images)) for part, (images, file) in form.parts.items()}
    show(
        verify(
            "fuzz", "coco", sources, 1.0, folder / "out", config.converted({"kind": "coco", **form.rules}, Data, "DATA")
        )
    )


def show(manifest: dict) -> None:
    """Write what people see of a data set that was accepted."""
    write_verification_page(manifest)
    list(summary(manifest))


def pictures(folder: Path, draw: random.Random) -> None:
    """A picture that is cut or damaged; formats without checksums may show the damage, but never end in a traceback."""
    kind = draw.choice([*KINDS, "PNG", "PNG"])
    sound, path = packed(kind), folder / f"a.{KINDS[kind]}"
    cut = draw.random() < 0.4
    content = sound[: draw.randrange(len(sound))] if cut else damaged(sound, draw)
    path.write_bytes(content)
    read_image(str(path), path.name, "fuzz")
    if content != sound and (kind == "PNG" or cut) and shown(content) != shown(sound):
        raise DamageAcceptedError(f"{kind}, {len(content)} of {len(sound)} bytes")


def shown(content: bytes) -> bytes:
    """Return the pixels of a picture."""
    with Image.open(io.BytesIO(content)) as image:
        return as_rgb(image).tobytes()


def labelled(folder: Path, draw: random.Random) -> None:
    """A classifier's images: a damaged list, folder or binary file."""
    way = draw.randrange(3)
    if way == 0:
        names = folder / "fine_label_names.txt"
        names.write_bytes(damaged("\n".join(f"c{k}" for k in range(100)).encode(), draw))
        record = bytes([3, 5]) + bytes(RECORD - 2)
        (folder / "train.bin").write_bytes(damaged(record * 2, draw) if draw.random() < 0.7 else record)
        read_cifar100(folder / "train.bin")
        return
    for name in ("ant", "bee"):
        (folder / "train" / name).mkdir(parents=True, exist_ok=True)
        (folder / "train" / name / "a.png").write_bytes(packed("PNG", (9, 8)))
    if way == 1:
        path = folder / "train/ant/a.png"
        path.write_bytes(damaged(path.read_bytes(), draw))
        read_folder(folder / "train", "train")
        return
    stream = io.StringIO()
    csv.writer(stream).writerows([["split", "file", "class"], *(["train", f"{n}/a.png", n] for n in ("ant", "bee"))])
    (folder / "split.csv").write_bytes(damaged(stream.getvalue().encode(), draw))
    read_split(folder / "split.csv", folder / "train", "train")


def archives(folder: Path, draw: random.Random) -> None:
    """A damaged archive."""
    stream, content = io.BytesIO(), packed("PNG", (9, 8))
    if draw.random() < 0.5:
        with zipfile.ZipFile(stream, "w", draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as opened:
            for name in ("a/1.png", "a/2.png"):
                opened.writestr(name, content)
    else:
        with tarfile.open(fileobj=stream, mode=draw.choice(("w", "w:gz", "w:xz", "w:bz2"))) as opened:
            for name in ("a/1.png", "a/2.png"):
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                opened.addfile(entry, io.BytesIO(content))
    (folder / "archive").write_bytes(damaged(stream.getvalue(), draw))
    unpack(folder / "archive", folder / "unpacked", ["a/*.png"], 10**6)


def presets(folder: Path, draw: random.Random) -> None:
    """A damaged preset."""
    (folder / "preset.yaml").write_bytes(damaged(PRESET, draw))
    config.load(folder / "preset.yaml", Preset)


def masks(folder: Path, draw: random.Random) -> None:
    """Mask results with odd values and damaged run-length codes."""
    found = odd(CODES, draw) if draw.random() < 0.4 else json.loads(json.dumps(CODES))
    for entry in found if isinstance(found, list) else ():
        code = entry.get("segmentation") if isinstance(entry, dict) else None
        if isinstance(code, dict) and isinstance(code.get("counts"), str):
            code["counts"] = damaged(code["counts"].encode("utf-8", "replace"), draw).decode("latin-1")
    (folder / "results.json").write_text(json.dumps(found))
    truth = {**INSTANCES, "annotations": []}
    read_detections(folder / "results.json", read_ground_truth(truth, "segm"), "segm")


READERS: tuple[Reader, ...] = (
    instances,
    instances,
    voc,
    yolo,
    pictures,
    pictures,
    labelled,
    archives,
    presets,
    masks,
)


@contextlib.contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raise TimeoutError where the block takes longer."""

    def late(*_: object) -> None:
        raise TimeoutError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fuzz(count: int, seed: int = 0, readers: Sequence[Reader] = READERS) -> tuple[Counter, list[str]]:
    """Try `count` inputs; return how they ended, by reader, and a text on each that ended wrongly."""
    ends, wrong = Counter(), []
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        for number in range(count):
            reader = readers[number % len(readers)]
            folder = Path(place) / reader.__name__
            folder.mkdir(exist_ok=True)
            try:
                with limited(LIMIT):
                    reader(folder, random.Random(f"{seed} {number}"))
                end = "accepted"
            except InputError as error:
                end = "one sentence"
                if "\n" in str(error):
                    wrong.append(f"input {number} of seed {seed}, {reader.__name__}: several lines\n{error}")
            except Exception as error:
                end = type(error).__name__
                wrong.append(f"input {number} of seed {seed}, {reader.__name__}\n{traceback.format_exc()}")
            ends[reader.__name__, end] += 1
    return ends, wrong
