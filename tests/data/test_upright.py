"""Pictures are turned as Pillow turns them, and read where Pillow cannot turn them."""

import struct

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from pipeline.data.detection_set import read_image
from pipeline.data.upright import upright
from pipeline.prediction.folder import PictureFolder
from pipeline.prediction.released import pixels


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_pillow_turns_them(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    noise = np.random.default_rng(0).integers(0, 256, (4, 8, 3), dtype=np.uint8)
    file = f"a.{suffix}"
    Image.fromarray(noise).save(tmp_path / file, exif=exif)
    with Image.open(tmp_path / file) as image:
        wanted = np.array(ImageOps.exif_transpose(image))
    with Image.open(tmp_path / file) as image:
        assert np.array_equal(np.array(upright(image)), wanted)
    folder = PictureFolder(tmp_path, [file], 4096.0, True, 100.0)
    entry = {"file_name": file, "height": wanted.shape[0], "width": wanted.shape[1], "exif": True}
    for found in (folder.image(0), read_image(tmp_path, entry), pixels(tmp_path / file)):
        assert torch.equal(found, torch.from_numpy(wanted).permute(2, 0, 1))
    assert folder.size(0) == wanted.shape[:2]


def test_metadata_that_pillow_cannot_write_are_no_matter(tmp_path):
    """A signed tag below zero, which `exif_transpose` ends on with struct.error."""
    turn, width = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0), struct.pack("<HHIi", 0x0100, 9, 1, -5)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + width + turn + bytes(4)
    Image.new("RGB", (8, 4)).save(tmp_path / "odd.jpg", exif=exif)
    folder = PictureFolder(tmp_path, ["odd.jpg"], 4096.0, True, 100.0)
    entry = {"file_name": "odd.jpg", "height": 8, "width": 4, "exif": True}
    for found in (folder.image(0), read_image(tmp_path, entry), pixels(tmp_path / "odd.jpg")):
        assert tuple(found.shape) == (3, 8, 4)
    assert folder.size(0) == (8, 4)
