"""Sets of photographs: fetched from a local server or linked, held to their content, and people split by their ids."""

import hashlib
import io
import json
import shutil
import zipfile
from pathlib import Path

import msgspec
import pytest
from PIL import Image
from unreliable_server import Server

from pipeline import config
from pipeline.data.fetching.archives import content_digest
from pipeline.data.fetching.download import Patience
from pipeline.data.fetching.fetch import Ways, fetch
from pipeline.data.fetching.remote import RemoteSet, load_sources
from pipeline.data.people import rebuild_people, validates
from pipeline.data.sources import verify_preset
from pipeline.data.voc import read_voc
from pipeline.errors import InputError

pytestmark = pytest.mark.usefixtures("empty_folder")
KNOWN = load_sources()
ONCE = Patience(attempts=1, wait=0.01)
BOX = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax></bndbox>"
XML = f"<annotation><object><name>RBC</name>{BOX}</object></annotation>".encode()


def jpeg(size: tuple[int, int], colour: tuple[int, int, int] = (200, 90, 90)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, "JPEG")
    return stream.getvalue()


# Blood cells

CELLS = {
    "Annotations/1.xml": XML,
    "Annotations/2.xml": XML,
    "JPEGImages/1.jpg": jpeg((8, 6)),
    "JPEGImages/2.jpg": jpeg((6, 8)),
}
CELLS |= {"ImageSets/Main/trainval.txt": b"1\n", "ImageSets/Main/test.txt": b"2\n"}
DIGEST = hashlib.sha256(
    "".join(f"{hashlib.sha256(CELLS[name]).hexdigest()}  {name}\n" for name in sorted(CELLS)).encode()
).hexdigest()


def packed(files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return an archive in the form of a repository's, with files around the folder that is wanted."""
    root = KNOWN["blood_cells"].archives[0].below
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr(f"{root.split('/')[0]}/README.md", b"cells")
        for name, content in files.items():
            archive.writestr(f"{root}/{name}", content)
    return stream.getvalue()


def blood_cells(server: Server) -> dict[str, RemoteSet]:
    """Return the set as the catalogue has it, with the number and digest of the files of this test."""
    entry = KNOWN["blood_cells"]
    (archive,) = entry.archives
    archive = msgspec.structs.replace(archive, urls=(server.url("cells.zip"),), files=len(CELLS), content=DIGEST)
    return {"blood_cells": msgspec.structs.replace(entry, archives=(archive,))}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_an_archive_is_held_to_its_content_however_it_is_packed(server):
    data = config.load_preset("blood_cells").data
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        served = server.add("cells.zip", packed(CELLS, compression), announce=False, ranges=False)
        found = fetch(blood_cells(server), Ways(patience=ONCE))["blood_cells"]["archives"]
        assert [entry["content"] for entry in found.values()] == [DIGEST]
        for source, stem in ((data.train, "1"), (data.val, "2")):
            coco, _, _ = read_voc(Path(source.voc), source.split)
            assert [image["file_name"] for image in coco["images"]] == [f"JPEGImages/{stem}.jpg"]
        fetch(blood_cells(server), Ways(patience=ONCE))
        assert len(served.requests) == 1  # what is there is not asked for again
        shutil.rmtree("data")


@pytest.mark.parametrize("change", [{"JPEGImages/2.jpg": jpeg((6, 7))}, {"Annotations/3.xml": XML}])
def test_another_content_is_refused_and_downloaded_again(server, change):
    served = server.add("cells.zip", packed(CELLS | change))
    with pytest.raises(InputError, match=r"holds (other|7) files .*download it again"):
        fetch(blood_cells(server), Ways(patience=ONCE))
    assert not Path("data/photographs/blood_cells/original/JPEGImages").exists()
    served.content = packed(CELLS)
    fetch(blood_cells(server), Ways(patience=ONCE))
    entry = KNOWN["blood_cells"]
    assert content_digest(entry.unpacked, entry.archives[0].unpack) == DIGEST


def test_a_folder_that_holds_the_photographs_is_linked(server, tmp_path):
    mine = write(tmp_path / "mine", CELLS | {"README.md": b"not asked for"})
    found = fetch(blood_cells(server), Ways(local=mine))
    assert set(map(str, found["blood_cells"]["archives"].values())) == {"{'source': 'a linked folder'}"}
    place = Path("data/photographs/blood_cells/original")
    assert place.resolve() == mine.resolve()
    fetch(blood_cells(server))  # without the option the link stays
    other = write(tmp_path / "other", CELLS)
    with pytest.raises(
        InputError, match=r"leads to .*mine, not to --local .*other; remove data/photographs/blood_cells"
    ):
        fetch(blood_cells(server), Ways(local=other))
    shutil.rmtree(mine)
    fetch(blood_cells(server), Ways(local=other))  # a link that leads nowhere is replaced
    assert place.resolve() == other.resolve()


def test_a_folder_of_other_photographs_is_refused(server, tmp_path):
    mine = write(tmp_path / "mine", CELLS | {"JPEGImages/2.jpg": b"changed"})
    with pytest.raises(InputError, match=r"--local .*mine holds other files than Blood cells"):
        fetch(blood_cells(server), Ways(local=mine))
    assert not Path("data").exists()


def test_verification_without_photographs_names_the_command():
    with pytest.raises(
        InputError, match=r"data/photographs/blood_cells/original is not there; .*fetch --preset blood_cells"
    ):
        verify_preset(config.load_preset("blood_cells"))


# People

PERSON, DOG = 1, 18
CATEGORIES = [{"id": PERSON, "name": "person"}, {"id": DOG, "name": "dog"}]


def test_the_split_depends_on_the_id_alone():
    """First bytes of SHA-256, from sha256sum: '1' 6b, '9' 19, '12' 6b, '139' 8d, '25' b7, '30' 62, '36' 76, '42' 73."""
    assert [validates(key) for key in (1, 9, 12, 139, 25, 30, 36, 42)] == [False, True] + [False] * 6
    assert sum(map(validates, range(10_000))) == pytest.approx(10_000 * 51 / 256, abs=120)  # three deviations


def val2017(folder: Path) -> Path:
    """Write five images: 9 validates, 12 holds no person, 25 has no file, and 30 is larger than is needed."""
    sizes = {1: (8, 6), 9: (8, 6), 12: (8, 6), 25: (8, 6), 30: (768, 400)}
    images = [{"id": k, "file_name": f"{k}.jpg", "width": w, "height": h} for k, (w, h) in sizes.items()]
    one = {"bbox": [100, 40, 20, 10], "area": 120, "iscrowd": 0, "segmentation": [[100, 40, 120, 40, 120, 50]]}
    annotations = [
        {"id": k, "image_id": image, "category_id": category, **one}
        for k, (image, category) in enumerate(
            [(1, PERSON), (1, DOG), (9, PERSON), (12, DOG), (25, PERSON), (30, PERSON)]
        )
    ]
    annotations[0] |= {"iscrowd": 1, "segmentation": {"counts": [1], "size": [6, 8]}}
    content = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    files = {f"val2017/{k}.jpg": jpeg(size) for k, size in sizes.items() if k != 25}
    return write(folder, files | {"annotations/instances_val2017.json": json.dumps(content).encode()})


def read(split: str) -> dict:
    return json.loads(Path(f"data/photographs/people/annotations/instances_{split}.json").read_text())


def test_people_are_scaled_split_and_counted(tmp_path, capsys):
    mine = val2017(tmp_path / "coco")
    write(mine, {"annotations/instances_train2017.json": b"{}"})
    found = fetch({"people": KNOWN["people"]}, Ways(local=mine))
    assert found["people"]["images"] == {"train": 2, "val": 1}
    assert "People: 3 photographs, 1 others have no file in" in capsys.readouterr().err
    train, val = read("train"), read("val")
    assert [image["id"] for image in val["images"]] == [9]
    assert [(image["id"], image["width"], image["height"]) for image in train["images"]] == [(1, 8, 6), (30, 384, 200)]
    assert [(a["id"], a["category_id"]) for a in train["annotations"]] == [(0, PERSON), (1, DOG), (5, PERSON)]
    large = train["annotations"][2]  # at half its size
    assert (large["bbox"], large["area"]) == ([50, 20, 10, 5], 30)
    assert large["segmentation"] == [[50, 20, 60, 20, 60, 25]]
    assert "segmentation" not in train["annotations"][0]
    folder = Path("data/photographs/people/images")
    assert (folder / "1.jpg").read_bytes() == (mine / "val2017/1.jpg").read_bytes()  # no larger: as it is
    assert Image.open(folder / "30.jpg").size == (384, 200)


def test_people_come_from_the_archives_of_coco(server, tmp_path):
    mine, archives = val2017(tmp_path / "coco"), []
    write(mine, {"annotations/instances_train2017.json": b"{}"})
    for archive, folder in zip(KNOWN["people"].archives, ("annotations", "val2017"), strict=True):
        shutil.make_archive(folder, "zip", mine, folder)
        content = Path(f"{folder}.zip").read_bytes()
        server.add(archive.name, content)
        given = {
            "urls": (server.url(archive.name),),
            "bytes": len(content),
            "files": len(list((mine / folder).iterdir())),
        }
        given["sha256"] = hashlib.sha256(content).hexdigest()
        archives.append(msgspec.structs.replace(archive, **given))
    people = msgspec.structs.replace(KNOWN["people"], archives=tuple(archives))
    assert fetch({"people": people}, Ways(patience=ONCE))["people"]["images"] == {"train": 2, "val": 1}
    assert people.unpacked.is_dir()
    assert not people.unpacked.is_symlink()


def test_a_part_that_somebody_has_split_serves_as_well(tmp_path):
    whole = val2017(tmp_path / "coco")
    content = json.loads((whole / "annotations/instances_val2017.json").read_text())
    mine = write(tmp_path / "part", {f"images/{k}.jpg": (whole / f"val2017/{k}.jpg").read_bytes() for k in (1, 9, 12)})
    for split, wanted in (("train", (9,)), ("val", (1, 12))):
        part = content | {"images": [image for image in content["images"] if image["id"] in wanted]}
        part["annotations"] = [a for a in content["annotations"] if a["image_id"] in wanted]
        write(mine, {f"annotations/instances_{split}.json": json.dumps(part).encode()})
    assert fetch({"people": KNOWN["people"]}, Ways(local=mine))["people"]["images"] == {"train": 1, "val": 1}
    assert [image["id"] for image in read("val")["images"]] == [9]  # split by the id, not as it was split there


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("val2017/9.jpg", jpeg((8, 7)), r"9\.jpg has \(8, 7\) pixels, its entry says \(8, 6\)"),
        ("val2017/9.jpg", b"no picture", r"9\.jpg cannot be decoded"),
        ("annotations/instances_val2017.json", b'{"images": [], "annotations": []}', "has no category 'person'"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path, name, content, match):
    folder = tmp_path / "people"
    write(val2017(folder / "original"), {name: content})
    with pytest.raises(InputError, match=match):
        rebuild_people(folder / "annotations")
    assert not (folder / "annotations/instances_val.json").exists()
