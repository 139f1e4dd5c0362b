"""Check image files: they exist inside their folder, decode to the end, and have the declared size."""

import hashlib
import io
import os
import warnings
from pathlib import Path

from PIL import Image

from pipeline.data.exclusions import Exclusions, shown
from pipeline.errors import InputError, nearest

# Listed explicitly, because some of Pillow's other readers start external programs (EPS) or fetch fonts.
FORMATS = ("JPEG", "MPO", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000")
ORIENTATION = 0x0112
TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
DIGEST_DIGITS = 16
MISSING_IMAGES = ("error", "exclude")


def check_missing_images_option(value: str) -> None:
    """Raise InputError where the option `missing_images` has an unknown value."""
    if value not in MISSING_IMAGES:
        meant = nearest(str(value), MISSING_IMAGES).rstrip("?")
        raise InputError(f"missing_images is {value!r}, but it must be 'error' or 'exclude'{meant}; correct it.")


def locate(root: Path, file_name: str, place: str) -> str:
    """Return the path of a file inside `root`; raise InputError where it leads outside, also through a link.

    The root itself may be a symbolic link.
    """
    if not file_name or "\0" in file_name or not _is_text(file_name):
        raise InputError(f"{place} has file name {shown(file_name)}, which names no file; correct it.")
    if os.path.isabs(file_name):
        raise InputError(
            f"{place} has the absolute path {shown(file_name)}, but file names are relative to the image folder "
            f"{root}; remove the folder from the name."
        )
    real_root = os.path.realpath(root)
    path = os.path.join(real_root, file_name)
    real = os.path.realpath(path)
    if os.path.commonpath([real_root, real]) != real_root:
        reason = "is a link that leaves" if ".." not in Path(file_name).parts else "leaves"
        raise InputError(
            f"{place} has file name {shown(file_name)}, which {reason} the image folder {root}; "
            "copy the file into the folder and correct the name."
        )
    return path


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
    slashes = " (write sub-folders with /)" if "\\" in file_name else ""
    raise InputError(
        f"{place}: image file {shown(file_name)} does not exist in {root}; restore it, correct file_name{slashes}, "
        "or set missing_images to 'exclude'."
    )


def stored_size(path: str, file_name: str, place: str) -> tuple[int, int]:
    """Return an image's stored (width, height) from its header; raise InputError where it is unreadable."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_image(path, file_name, place, decode=False)[0]


def check_images(
    coco: dict, root: Path, place: str, exclusions: Exclusions, missing_images: str = "error"
) -> list[list]:
    """Check every image of a data set, and return `[file_name, bytes, first 16 digits of SHA-256]` of each.

    Images that were annotated upright but are stored rotated get `"exif": True`. With `missing_images="exclude"`,
    images without a file are counted and removed from `coco` with their annotations.
    """
    check_root(root)
    files, missing, seen = [], set(), set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about metadata and very large pictures
        for image in coco["images"]:
            name = image["file_name"]
            here = f"{place}: image {image['id']}"
            path = locate(root, name, here)
            if not exists(path, root, name, here, missing_images):
                missing.add(image["id"])
                exclusions.add("missing_image", f"image {image['id']}: {shown(name)}")
                continue
            if name in seen:
                exclusions.add("repeated_file", f"image {image['id']}: {shown(name)}")
            seen.add(name)
            size, orientation, length, digest = read_image(path, name, here, decode=True)
            _check_size(image, size, orientation, here, exclusions)
            files.append([name, length, digest])
    _take_out(coco, missing, exclusions)
    return files


def read_image(path: str, file_name: str, place: str, decode: bool) -> tuple[tuple[int, int], int, int, str]:
    """Return the stored (width, height), EXIF orientation, number of bytes and digest of an image file.

    Raise InputError where it cannot be read or decoded to its end.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"{place}: image file {shown(file_name)} cannot be read ({error.strerror}); make it readable."
        ) from error
    Image.init()  # loads all readers: Image.open loads further ones only after the first ones failed
    try:
        with Image.open(io.BytesIO(content), formats=[name for name in FORMATS if name in Image.OPEN]) as image:
            size = image.size
            orientation = _orientation(image)
            if decode:
                image.load()
    except Exception as error:  # Pillow's readers raise many kinds of error for broken files
        problem = "is empty" if not content else f"cannot be decoded ({_problem(error)})"
        raise InputError(
            f"{place}: image file {shown(file_name)} {problem}; restore it from its source (truncated download?), "
            "or remove its entry."
        ) from error
    return size, orientation, len(content), hashlib.sha256(content).hexdigest()[:DIGEST_DIGITS]


def _check_size(image: dict, size: tuple[int, int], orientation: int, place: str, exclusions: Exclusions) -> None:
    wanted = (image["width"], image["height"])
    example = f"image {image['id']}: {shown(image['file_name'])}"
    if size == wanted:
        if orientation != 1:
            exclusions.add("exif_ignored", example)
    elif size[::-1] == wanted and orientation in TURNED:
        image["exif"] = True
        exclusions.add("exif_rotated", example)
    else:
        raise InputError(
            f"{place}: {shown(image['file_name'])} is {size[0]}x{size[1]} pixels, but its entry says "
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


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # an image with broken metadata is usable
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _problem(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "no picture of a known format: " + ", ".join(FORMATS)
    return " ".join(str(error).split()) or type(error).__name__


def _is_text(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
