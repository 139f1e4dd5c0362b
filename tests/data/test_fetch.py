"""Whole data sets from a local server: resumed, remembered, counted; and every way to fail in one sentence."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections import namedtuple
from pathlib import Path

import msgspec
import pytest
from unreliable_server import Server

from pipeline import config, paths
from pipeline.data.fetching import fetch as module
from pipeline.data.fetching.download import Patience
from pipeline.data.fetching.fetch import Ways, check_by_hand, check_space, fetch, left_by_hand
from pipeline.data.fetching.remote import Archive, RemoteSet, choose, load_sources
from pipeline.errors import InputError

WAYS = Ways(patience=Patience(attempts=2, wait=0.01))
Usage = namedtuple("Usage", "total used free")

pytestmark = pytest.mark.usefixtures("empty_folder")


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


IMAGES = zipped({f"val/{k}.jpg": bytes(100) for k in range(3)})
LISTS = zipped({"lists/val.txt": b"0 1 2", "lists/other.txt": b""})


def described(server: Server, name: str, content: bytes, **options) -> Archive:
    values = {"urls": (server.url(name),), "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return Archive(name=name, **values | {"unpack": ("val/*.jpg",), "most_bytes": 1000} | options)


def small(server: Server) -> RemoteSet:
    """Return a data set of two archives, which the server has."""
    lists = described(server, "lists.zip", LISTS, unpack=("lists/val.txt",), files=1)
    images = described(server, "images.zip", IMAGES, files=3)
    return RemoteSet("Small", "data/small", ("val", "lists/val.txt"), (lists, images))


def files(folder: str) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in Path(folder).rglob("*") if p.is_file())


def test_a_data_set_comes_into_place_and_is_remembered(server):
    lists, images = server.add("lists.zip", LISTS), server.add("images.zip", IMAGES, breaks_after=[200])
    found = fetch({"small": small(server)}, WAYS)
    assert files("data/small") == ["lists/val.txt", "val/0.jpg", "val/1.jpg", "val/2.jpg"]
    digest = hashlib.sha256(IMAGES).hexdigest()
    entry = {"bytes": len(IMAGES), "sha256": digest, "files": 3, "source": server.url("images.zip")}
    assert found["small"]["archives"]["images.zip"] == entry
    assert files("data/archives") == ["unpacked.json"]  # archives go when they are unpacked
    assert (len(lists.requests), len(images.requests)) == (1, 2)
    assert fetch({"small": small(server)}, WAYS) == found
    assert (len(lists.requests), len(images.requests)) == (1, 2)  # nothing is asked for again


def test_what_is_gone_comes_again_and_the_rest_stays(server):
    lists, images = server.add("lists.zip", LISTS), server.add("images.zip", IMAGES)
    fetch({"small": small(server)}, WAYS)
    shutil.rmtree("data/small/val")
    fetch({"small": small(server)}, WAYS)
    assert (len(lists.requests), len(images.requests)) == (1, 2)


def test_a_run_that_fails_half_way_keeps_what_it_has(server):
    lists, images = server.add("lists.zip", LISTS), server.add("images.zip", IMAGES[::-1])
    with pytest.raises(InputError, match=r"images\.zip gave a wrong file"):
        fetch({"small": small(server)}, WAYS)
    assert files("data/small") == ["lists/val.txt"]
    assert files("data/archives") == ["unpacked.json"]
    images.content = IMAGES
    fetch({"small": small(server)}, WAYS)
    assert (len(lists.requests), len(images.requests)) == (1, 2)


def test_local_copies_are_used_and_stay(server, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "images.zip").write_bytes(IMAGES)
    lists = server.add("lists.zip", LISTS)
    found = fetch({"small": small(server)}, Ways(local=folder))
    assert found["small"]["archives"]["images.zip"]["source"] == "a local copy"
    assert (folder / "images.zip").read_bytes() == IMAGES
    assert len(lists.requests) == 1  # what is not there is downloaded
    (folder / "images.zip").write_bytes(IMAGES[::-1])
    shutil.rmtree("data")
    with pytest.raises(InputError, match=r"mine/images\.zip is not the archive that is meant .SHA256"):
        fetch({"small": small(server)}, Ways(local=folder))
    with pytest.raises(InputError, match="--local absent is no folder"):
        fetch({"small": small(server)}, Ways(local=Path("absent")))


def test_a_mirror_is_asked_first_and_the_publisher_next(server):
    mirrored = server.add("mirror/images.zip", IMAGES)
    server.add("lists.zip", LISTS)
    official = server.add("images.zip", IMAGES)
    ways = Ways(mirror=server.url("mirror/"), patience=WAYS.patience)
    found = fetch({"small": small(server)}, ways)["small"]["archives"]
    assert [entry["source"] for entry in found.values()] == [server.url("lists.zip"), server.url("mirror/images.zip")]
    assert (len(mirrored.requests), len(official.requests)) == (1, 0)


def test_an_archive_of_two_data_sets_comes_once(server):
    server.add("images.zip", IMAGES)
    lists = server.add("lists.zip", LISTS)
    found = fetch({"small": small(server), "again": small(server)}, WAYS)
    assert found["small"] == found["again"]
    assert len(lists.requests) == 1


def test_data_placed_by_hand_are_taken_as_they_are(server):
    for name in ("val/0.jpg", "lists/val.txt"):
        path = Path("data/small", name)
        path.parent.mkdir(parents=True)
        path.touch()
    found = fetch({"small": small(server)}, WAYS)
    assert found["small"]["archives"]["images.zip"] == {"source": "placed by hand"}


def test_kept_archives_serve_again(server):
    server.add("lists.zip", LISTS)
    images = server.add("images.zip", IMAGES)
    fetch({"small": small(server)}, Ways(keep=True))
    assert files("data/archives") == ["images.zip", "lists.zip", "unpacked.json"]
    shutil.rmtree("data/small/val")
    assert fetch({"small": small(server)})["small"]["archives"]["images.zip"]["source"] == "an earlier download"
    assert len(images.requests) == 1


def test_an_unknown_checksum_is_recorded_and_held_at_the_next_download(server):
    other = zipped({f"val/{k}.jpg": bytes(99) for k in range(3)} | {"more": bytes(3)})
    archive = described(server, "images.zip", IMAGES, sha256="unknown")
    entry = RemoteSet("Small", "data/small", ("val",), (archive,))
    served = server.add("images.zip", IMAGES)
    assert fetch({"s": entry}, WAYS)["s"]["archives"]["images.zip"]["sha256"] == hashlib.sha256(IMAGES).hexdigest()
    shutil.rmtree("data/small")
    served.content = other
    changed = msgspec.structs.replace(archive, bytes=len(other))
    with pytest.raises(InputError, match=r"images\.zip has SHA-256 .*at the first download it had .*unpacked\.json"):
        fetch({"s": msgspec.structs.replace(entry, archives=(changed,))}, WAYS)


def space(monkeypatch, free: int) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: Usage(0, 0, free))


def test_the_disk_is_looked_at_before_anything_is_downloaded(server, monkeypatch):
    served = server.add("lists.zip", LISTS)
    space(monkeypatch, 2**30)
    with pytest.raises(InputError, match=r"up to 1\.1 GB on the disk of .*, which has 1\.1 GB free; free 0\.0 GB"):
        fetch({"small": small(server)}, WAYS)
    assert served.requests == []


@pytest.mark.parametrize(("keep", "part", "needed"), [(False, 0, 700), (True, 0, 900), (False, 150, 550)])
def test_space_counts_one_archive_at_a_time_unless_they_are_kept(monkeypatch, keep, part, needed):
    """Archives of 200 and 300 bytes that unpack to 150 and 250."""
    archives = [
        Archive("a.zip", ("u",), ("*",), 150, 200, sha256="unknown"),
        Archive("b.zip", ("u",), ("*",), 250, 300, sha256="unknown"),
    ]
    if part:
        Path("data/archives").mkdir(parents=True)
        Path("data/archives/b.zip.part").write_bytes(bytes(part))
        needed = 400 + 200  # a.zip is now the largest that is left
    space(monkeypatch, module.SPARE + needed)
    check_space(archives, Ways(keep=keep), [Path("data/x")] * 2)
    space(monkeypatch, module.SPARE + needed - 1)
    with pytest.raises(InputError, match="The data need up to"):
        check_space(archives, Ways(keep=keep), [Path("data/x")] * 2)


def test_data_that_nobody_may_download_are_asked_for(tmp_path):
    entry = RemoteSet("Photographs", "data/photographs", ("train", "val"), by_hand="put them there", classes=2)
    assert left_by_hand({"photographs": entry}) == [
        f"data/photographs/{split} is missing (Photographs): put them there." for split in ("train", "val")
    ]
    check_by_hand({"photographs": entry})
    for split, count in (("train", 2), ("val", 1)):
        for k in range(count):
            Path(entry.folder, split, str(k)).mkdir(parents=True)
    with pytest.raises(InputError, match="val has 1 class folders, Photographs has 2; complete it"):
        check_by_hand({"photographs": entry})
    Path(entry.folder, "val/other").mkdir()
    check_by_hand({"photographs": entry})
    assert left_by_hand({"photographs": entry}) == []
    assert fetch({"photographs": entry}) == {}
    for folder in list(Path(entry.folder, "val").iterdir()):
        folder.rmdir()
    Path(entry.folder, "LOC_val_solution.csv").touch()
    check_by_hand({"photographs": entry})  # ImageNet's validation images in one folder


# The catalogue


def test_the_catalogue_is_sound_and_known_numbers_agree():
    known = load_sources()
    assert {"coco2014", "coco2017", "coco_test_dev", "voc", "blood_cells", "people", "cifar100", "imagenet"} == set(
        known
    )
    count = {a.name: a.files for entry in known.values() for a in entry.archives}
    assert count["train2017.zip"] + count["val2017.zip"] == count["train2014.zip"] + count["val2014.zip"] == 123_287
    assert all(a.checksum or a.content for entry in known.values() for a in entry.archives)


def test_a_preset_gets_what_it_reads():
    known = load_sources()
    assert choose([], config.load_preset("full"), known) == ["coco2017", "voc", "cifar100", "imagenet"]
    for name in ("blood_cells", "people"):
        assert choose([], config.load_preset(name), known) == [name]
    assert choose([], config.load_preset("mini"), known) == []
    assert choose(["voc", "voc"], config.load_preset("mini"), known) == ["voc"]
    with pytest.raises(InputError, match="Unknown data set 'coco_2017'; did you mean 'coco2017'"):
        choose(["coco_2017"], config.load_preset("mini"), known)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("urls: [a]", "urls: []", "needs at least one address"),
        ("bytes: 5", "bytes: 0", "count from 1"),
        ("      bytes: 5\n", "", "has neither bytes nor content"),
        ("bytes: 5", "bytes: five", "Expected `int"),
        ("md5: " + "a" * 32, "md5: 123a", "has 32 hexadecimal digits"),
        ("md5: " + "a" * 32, "files: 3", "has no checksum"),
        ("name: a.zip", "name: ../a.zip", "must be a plain file name"),
        ("title: T", "title: T\n  by_hand: yourself", "either archives or by_hand"),
        ("title: T", "titel: T", "unknown key 'titel'; did you mean 'title'"),
    ],
)
def test_mistakes_in_the_catalogue_are_named(tmp_path, old, new, match):
    text = "s:\n  title: T\n  folder: f\n  provides: [p]\n  archives:\n    - name: a.zip\n      urls: [a]\n"
    text += f"      bytes: 5\n      unpack: ['*']\n      most_bytes: 9\n      md5: {'a' * 32}\n"
    path = tmp_path / "sources.yaml"
    path.write_text(text)
    load_sources(path)
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=match):
        load_sources(path)


def test_the_stage_ends_in_one_sentence_and_code_2(tmp_path):
    project = tmp_path / "project"
    for name in ("pipeline", "workflow"):
        shutil.copytree(paths.ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__", "papers"))
    (project / "params.yaml").write_text("preset: full\n")
    command = [sys.executable, "-m", "pipeline.stages.fetch"]
    environment = os.environ | {"PYTHONPATH": str(project)}
    done = subprocess.run([*command, "imagenet"], cwd=project, env=environment, text=True, capture_output=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: data/imagenet/train is missing (ImageNet-1k (ILSVRC 2012)): its terms allow")
    assert done.stderr.count("\n") == 1
    assert json.loads((project / "data/fetched/full.json").read_text()) == {}


def test_imagenet_is_where_the_machine_has_it(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEWISE_IMAGENET", str(tmp_path))
    known = load_sources()
    assert known["imagenet"].places == [tmp_path / "train", tmp_path / "val"]
    assert "imagenet" in choose([], config.load_preset("full"), known)
    (sentence,) = left_by_hand({"imagenet": known["imagenet"]})[:1]
    assert sentence.startswith(f"{tmp_path / 'train'} is missing")
