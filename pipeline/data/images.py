"""Check image files: they exist inside their folder, decode to the end, and have the declared size."""

import hashlib
import io
import os
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from pipeline.data.damage import other_kind, png_damage
from pipeline.data.exclusions import Exclusions, shown
from pipeline.data.names import locate
from pipeline.data.pixels import DEEP
from pipeline.data.upright import orientation_of
from pipeline.errors import InputError
from pipeline.preset import AS_FOUND, Data

# Listed explicitly, because some of Pillow's other readers start external programs (EPS) or fetch fonts.
FORMATS = ("JPEG", "MPO", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000")
TIFF_BITS = 258
DIGEST_DIGITS = 16
START = 256  # bytes
MISSING = "missing_image"


class Picture(NamedTuple):
    """What was read of an image file: stored (width, height), EXIF orientation, bytes, digest, and its grey values."""

    size: tuple[int, int]
    orientation: int
    length: int
    digest: str
    values: tuple[float, float] | None = None  # lowest and highest of a 16-bit or float picture
    whole: bool = True  # whether they are whole numbers
    deep_colour: bool = False  # 16 bits a colour, of which Pillow reads the upper 8
    several: bool = False  # an animation, or several pages


def check_root(root: Path) -> None:
    """Raise InputError where the image folder does not exist."""
    if not os.path.isdir(root):
        raise InputError(f"image folder {root} does not exist or is no folder; correct the path that names it.")


def exists(path: str, root: Path, file_name: str, place: str, missing_images: str) -> bool:
    """Return whether the image file exists; raise InputError where it must exist and does not."""
    if os.path.isfile(path):
        return True
    if missing_images == "exclude" and not os.path.lexists(path):
        return False
    if os.path.lexists(path):
        raise InputError(f"{place}: {shown(file_name)} in {root} is not a file; correct file_name.")
    hint = " (write sub-folders with /)" if "\\" in file_name else _other_case(path)
    raise InputError(
        f"{place}: image file {shown(file_name)} does not exist in {root}; restore it, correct file_name{hint}, "
        "or set missing_images to 'exclude'."
    )


def check_images(coco: dict, root: Path, place: str, exclusions: Exclusions, rules: Data = AS_FOUND) -> list[list]:
    """Check every image of a data set, and return `[file_name, bytes, first 16 digits of SHA-256]` of each.

    Entries of 16-bit and float pictures get `values`, their lowest and highest grey, and whether they are `whole`. With
    missing images excluded, images without a file are counted and removed from `coco` with their annotations.
    """
    check_root(root)
    files, missing = [], set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about metadata and very large pictures
        for image in coco["images"]:
            name = image["file_name"]
            here = f"{place}: image {image['id']}"
            path = locate(root, name, here, rules.links)
            if not exists(path, root, name, here, rules.missing_images):
                missing.add(image["id"])
                exclusions.add(MISSING, f"image {image['id']}: {shown(name)}")
                continue
            picture = read_image(path, name, here, rules.max_megapixels)
            _check_size(image, picture, here)
            if picture.values is not None:
                image |= {"values": picture.values, "whole": picture.whole}
            for reason, found in (("deep_colour", picture.deep_colour), ("first_of_several", picture.several)):
                if found:
                    exclusions.add(reason, f"image {image['id']}: {shown(name)}")
            files.append([name, picture.length, picture.digest])
    _take_out(coco, missing, exclusions)
    return files


def read_image(path: str, file_name: str, place: str, most: float = AS_FOUND.max_megapixels) -> Picture:
    """Read an image file and decode it to its end. Raise InputError where it is damaged, or larger than `most`.

    Its size is read first, so that a small file of very many pixels takes no memory.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"{place}: image file {shown(file_name)} cannot be read ({error.strerror}); make it readable."
        ) from error
    values, whole = None, True
    try:
        with open_image(io.BytesIO(content)) as image:
            size = image.size
            if size[0] * size[1] > most * 1e6:
                raise InputError(
                    f"{place}: image file {shown(file_name)} has {size[0]}x{size[1]} pixels, and more than {most:g} "
                    "million are not decoded; cut it into tiles, or write "
                    f"`max_megapixels: {-(-size[0] * size[1] // 10**6)}` under `data` of the preset (make compare: "
                    "DATA='max_megapixels=...'): a million pixels take up to 15 MB while they are decoded."
                )
            damage = png_damage(content)
            if damage:
                raise ValueError(damage)
            image.load()  # before the orientation: PNG's reader decodes for it, and a second load hides what failed
            orientation = orientation_of(image)
            deep_colour = not image.mode.startswith(DEEP) and bits_of(image, content) > 8
            if image.mode.startswith(DEEP):
                grey = np.asarray(image)
                values, whole = (float(grey.min()), float(grey.max())), image.mode.startswith("I")
            several = holds_several(image)
    except InputError:
        raise
    except Exception as error:  # Pillow's readers raise many kinds of error for broken files
        raise InputError(f"{place}: image file {shown(file_name)} {_problem(content, error)}") from error
    digest = hashlib.sha256(content).hexdigest()[:DIGEST_DIGITS]
    return Picture(size, orientation, len(content), digest, values, whole, deep_colour, several)


def stored(path: str, file_name: str, place: str) -> tuple[tuple[int, int], int]:
    """Return an image's stored (width, height) and orientation from its header; raise InputError without one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with open_image(path) as image:
                # a PNG's reader would decode all of it to see whether an orientation stands behind the pixels
                return image.size, 1 if image.format == "PNG" and "exif" not in image.info else orientation_of(image)
        except Exception as error:
            raise InputError(f"{place}: image file {shown(file_name)} {_problem(start_of(path), error)}") from error


def start_of(path: str) -> bytes:
    """Return the first bytes of a file, those that tell its kind; none where it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return stream.read(START)
    except OSError:
        return b""


def open_image(source: str | io.BytesIO) -> Image.Image:
    """Open a picture of one of FORMATS without decoding it; Pillow's readers raise many kinds of error."""
    Image.init()  # loads all readers: Image.open loads further ones only after the first ones failed
    return Image.open(source, formats=[name for name in FORMATS if name in Image.OPEN])


def bits_of(image: Image.Image, content: bytes) -> int:
    """Return the bits of a colour in a PNG or TIFF, from its content; 8 for other kinds."""
    if image.format == "PNG":
        return content[24]
    return max(image.tag_v2.get(TIFF_BITS, (8,))) if image.format == "TIFF" else 8


def holds_several(image: Image.Image) -> bool:
    """Whether a file holds more pictures than the one that is read; what cameras put beside theirs (MPO) is none."""
    try:
        return image.format != "MPO" and (getattr(image, "is_animated", False) or getattr(image, "n_frames", 1) > 1)
    except Exception:  # those after the first are broken, and are not read
        return True


def _check_size(image: dict, picture: Picture, place: str) -> None:
    wanted = (image["width"], image["height"])
    turned = image.get("exif") and picture.orientation > 4
    if wanted != (picture.size[::-1] if turned else picture.size):
        raise InputError(
            f"{place}: {shown(image['file_name'])} is {picture.size[0]}x{picture.size[1]} pixels, but its entry says "
            f"{wanted[0]}x{wanted[1]}; correct width and height, or restore the image that was annotated."
        )


def _take_out(coco: dict, missing: set[int], exclusions: Exclusions) -> None:
    """Remove images and their annotations, in place."""
    if not missing:
        return
    coco["images"] = [image for image in coco["images"] if image["id"] not in missing]
    kept = []
    for annotation in coco["annotations"]:
        if annotation["image_id"] in missing:
            exclusions.add("annotation_of_missing_image", f"annotation {annotation['id']}")
        else:
            kept.append(annotation)
    coco["annotations"] = kept


def _other_case(path: str) -> str:
    folder, name = os.path.split(path)
    try:
        near = sorted(other for other in os.listdir(folder) if other.lower() == name.lower())
    except (OSError, ValueError):
        return ""
    return f" ({shown(near[0])} is there)" if near else ""


def _problem(content: bytes, error: Exception) -> str:
    """Return what is wrong with a file and what to do, from its content and Pillow's error."""
    known = other_kind(content)
    if known:
        return f"is {known[0]}, which is not read; {known[1]}."
    if not content:
        problem = "is empty"
    elif isinstance(error, Image.UnidentifiedImageError):
        problem = f"cannot be decoded (no picture of a known format: {', '.join(FORMATS)}; convert one of another)"
    else:
        problem = f"cannot be decoded ({' '.join(str(error).split()) or type(error).__name__})"
    return f"{problem}; restore it from its source (truncated download?), or remove its entry."
