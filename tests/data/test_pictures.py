"""Pictures as people bring them: damaged ones, other files, large ones, deep greys, and links."""

import gzip
import io
import struct

import numpy as np
import pytest
from PIL import Image
from tiny_sets import instances, normalised, verify_one

from pipeline.data.detection_set import read_image
from pipeline.errors import InputError


def with_picture(folder, image: Image.Image, suffix: str = "png", **options: object) -> dict:
    image.save(folder / f"images/b.{suffix}", **options)
    content = instances()
    content["images"][0]["file_name"] = f"b.{suffix}"
    return content


def picture_bytes(kind: str = "PNG") -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, kind)
    return stream.getvalue()


def test_every_flipped_bit_of_a_png_is_seen(folder):
    sound, draw = picture_bytes(), np.random.default_rng(1)
    path, content = folder / "images/b.png", instances()
    path.write_bytes(sound)
    verify_one(folder, content)
    for bit in draw.integers(0, 8 * len(sound), 400):
        damaged = bytearray(sound)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"'b\.png' "):
            verify_one(folder, content)


@pytest.mark.parametrize(
    ("content", "cure"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", "is a HEIC or HEIF picture, which is not read; convert it to JPEG or PNG"),
        (b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X", "is the companion that a Mac writes beside a file, .*remove it"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "is a JPEG XL picture, which is not read; convert it to JPEG or PNG"),
        (b"v/1\x01 OpenEXR", "no picture of a known format: .*; convert one of another"),
        (b"version https://git-lfs.github.com/spec/v1\n", r"is a pointer of Git LFS, which is not read; run `git lfs"),
        (b"<!DOCTYPE html><html>404</html>", "is a web page, not what was to be downloaded"),
        (gzip.compress(b"x", mtime=0), r"is packed \(gzip\), which is not read; unpack it"),
    ],
)
def test_files_that_are_no_pictures_name_their_cure(folder, content, cure):
    (folder / "images/b.png").write_bytes(content)
    with pytest.raises(InputError, match=cure):
        verify_one(folder, instances())


def test_large_pictures_name_the_true_limit_and_the_key(folder):
    content = with_picture(folder, Image.new("1", (13_000, 13_000)), "png")
    content["images"][0] |= {"width": 13_000, "height": 13_000}
    with pytest.raises(InputError, match=r"has 13000x13000 pixels, and more than 100 million .*`max_megapixels: 169`"):
        verify_one(folder, content)
    verify_one(folder, content, max_megapixels=169)


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        (np.array([0, 200], np.uint16), 256),
        (np.array([0, 8000], np.uint16), 8192),
        (np.array([9000, 16383], np.uint16), 16384),
        (np.array([0, 65535], np.uint16), None),
        (np.array([0.25, 1.0], np.float32), 1),
        (np.array([0, 255], np.float32), 256),
        (np.array([0, 4000], np.int32), 4096),
    ],
)
def test_deep_greys_are_scaled_alike_in_all_pictures(folder, values, levels):
    grey = np.tile(values, (30, 20))
    content = with_picture(folder, Image.fromarray(grey), "tiff")
    assert verify_one(folder, content)["splits"]["train"]["excluded"] == {"scaled_grey": 1}
    entry = normalised(folder)["images"][1]
    assert entry.get("levels") == levels
    seen = read_image(folder / "images", entry)[0, 0, :2]
    assert seen.tolist() == [min(255, int(value * 256 / (levels or 65536))) for value in values.astype(float)]


@pytest.mark.parametrize("values", [[-1.0, 0.5], [0.0, 300.0], [0.0, np.nan], [0.0, np.inf]])
def test_greys_that_are_no_picture(folder, values):
    content = with_picture(folder, Image.fromarray(np.tile(np.array(values, np.float32), (30, 20))), "tiff")
    with pytest.raises(InputError, match=r"'b\.tiff' .* has grey values from .* save it as an 8-bit or 16-bit picture"):
        verify_one(folder, content)


# Links


def linked(folder, target) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    (folder / "images/b.png").rename(target)
    (folder / "images/b.png").symlink_to(target)


@pytest.mark.parametrize("named", [None, "../outside"])
def test_links_into_the_cache_of_dvc_are_files(folder, named):
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").write_text(
        "['remote \"x\"']\n    url = y\n" + (f"[cache]\n    dir = {named}\n" if named else "")
    )
    cache = folder / ("outside" if named else ".dvc/cache")
    linked(folder, cache / f"files/md5/ab/{'c' * 30}")
    assert verify_one(folder, instances())["splits"]["train"]["images"] == 2
    (folder / "images/b.png").unlink()
    linked_elsewhere = folder / "secret.png"
    (cache / f"files/md5/ab/{'c' * 30}").rename(linked_elsewhere)
    (folder / "images/b.png").symlink_to(linked_elsewhere)
    with pytest.raises(InputError, match="is a link that leaves the image folder"):
        verify_one(folder, instances())


def test_links_are_followed_on_request_and_names_that_leave_are_not(folder):
    linked(folder, folder / "elsewhere/x.png")
    with pytest.raises(InputError, match=r"is a link that leaves .*`links: follow` under `data`"):
        verify_one(folder, instances())
    assert verify_one(folder, instances(), links="follow")["splits"]["train"]["images"] == 2
    content = instances()
    content["images"][0]["file_name"] = "../elsewhere/x.png"
    with pytest.raises(InputError, match="which leaves the image folder"):
        verify_one(folder, content, links="follow")


# Kinds of pictures


def colour_seen(folder, image: Image.Image, suffix: str = "png", **options: object) -> tuple[list[int], dict]:
    """Return the colour that a network is given of a picture of one colour, and what verification counted."""
    excluded = verify_one(folder, with_picture(folder, image, suffix, **options))["splits"]["train"]["excluded"]
    return read_image(folder / "images", normalised(folder)["images"][1])[:, 3, 3].tolist(), excluded


def palette() -> Image.Image:
    image = Image.new("P", (40, 30), 1)
    image.putpalette([0, 0, 0, 10, 200, 90])
    return image


@pytest.mark.parametrize(
    ("image", "suffix", "colour"),
    [
        (Image.new("LA", (40, 30), (90, 40)), "png", [90, 90, 90]),
        (Image.new("RGBA", (40, 30), (10, 200, 90, 40)), "png", [10, 200, 90]),
        (palette(), "png", [10, 200, 90]),
        (palette(), "gif", [10, 200, 90]),
        (Image.new("1", (40, 30), 1), "png", [255, 255, 255]),
        (Image.new("CMYK", (40, 30), (255, 0, 0, 0)), "jpg", [0, 255, 255]),
    ],
)
def test_colours_of_all_kinds_are_seen_as_people_see_them(folder, image, suffix, colour):
    seen, excluded = colour_seen(folder, image, suffix)
    assert max(abs(one - other) for one, other in zip(seen, colour, strict=True)) < 6
    assert excluded == {}


@pytest.mark.parametrize(("suffix", "several"), [("gif", True), ("webp", True), ("png", True), ("tif", True)])
def test_the_first_of_several_pictures_is_read_with_a_remark(folder, suffix, several):
    first, second = (Image.new("RGB", (40, 30), (value, value, value)) for value in (250, 9))
    options = {"lossless": True} if suffix == "webp" else {}
    seen, excluded = colour_seen(folder, first, suffix, save_all=True, append_images=[second], **options)
    assert seen == [250, 250, 250]
    assert excluded == {"first_of_several": 1}
    seen, excluded = colour_seen(folder, first, suffix, **options)
    assert (seen, excluded) == ([250, 250, 250], {})


def tiff16() -> bytes:
    """Return a TIFF of 40x30 pixels of three 16-bit colours, which Pillow reads and does not write."""
    tags = [(256, 40), (257, 30), (258, 0), (259, 1), (262, 2), (273, 0), (277, 3), (278, 30), (279, 40 * 30 * 6)]
    start = 8 + 2 + 12 * len(tags) + 4
    values = dict(tags) | {258: start, 273: start + 6}
    entries = b"".join(
        struct.pack("<HHII", tag, 3 if tag == 258 else 4, 3 if tag == 258 else 1, values[tag]) for tag, _ in tags
    )
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    return head + struct.pack("<3H", 16, 16, 16) + struct.pack("<3H", 256 * 9, 256 * 70, 256 * 200) * (40 * 30)


def test_sixteen_bits_a_colour_are_remarked(folder):
    content = with_picture(folder, Image.new("RGB", (40, 30)), "tif")
    (folder / "images/b.tif").write_bytes(tiff16())
    assert verify_one(folder, content)["splits"]["train"]["excluded"] == {"deep_colour": 1}
    assert read_image(folder / "images", normalised(folder)["images"][1])[:, 0, 0].tolist() == [9, 70, 200]
