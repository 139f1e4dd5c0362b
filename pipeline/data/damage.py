"""What is wrong with a file that should be a picture: damage that Pillow does not see, and other kinds of files."""

import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHUNK = 12  # bytes of a chunk besides its content: length, type, checksum
CONVERT = "convert it to JPEG or PNG and correct the name"
# What a file starts with, from a byte on, that is no picture: (bytes, what it is, what to do)
OTHER_KINDS: tuple[tuple[int, bytes, str, str], ...] = (
    *((4, b"ftyp" + brand, "a HEIC or HEIF picture", CONVERT) for brand in (b"hei", b"hev", b"mif1", b"msf1")),
    (4, b"ftypavi", "an AVIF picture", CONVERT),
    (4, b"ftyp", "a film", "write its frames as JPEG or PNG and correct the name"),
    (0, b"\x00\x05\x16\x07", "the companion that a Mac writes beside a file", "remove it and its entry"),
    (0, b"version https://git-lfs", "a pointer of Git LFS", "run `git lfs pull`"),
    (0, b"\x1f\x8b", "packed (gzip)", "unpack it"),
    (0, b"PK\x03\x04", "packed (zip)", "unpack it"),
    (0, b"8BPS", "a Photoshop file", CONVERT),
    *((start, magic, "a JPEG XL picture", CONVERT) for start, magic in ((4, b"JXL "), (0, b"\xff\n"))),
    (0, b"%PDF", "a PDF document", CONVERT),
    (0, b"\x93NUMPY", "a NumPy array", CONVERT),
    (128, b"DICM", "a DICOM picture", CONVERT),
    (0, b"<svg", "an SVG drawing", CONVERT),
    (0, b"<!DOCTYPE html", "a web page, not what was to be downloaded", "download the picture again"),
    (0, b"<html", "a web page, not what was to be downloaded", "download the picture again"),
)


def other_kind(content: bytes) -> tuple[str, str] | None:
    """Return what a file is that is no picture, and what to do about it; None where that is not known."""
    for start, magic, kind, cure in OTHER_KINDS:
        if content[start : start + len(magic)].lower() == magic.lower():
            return kind, cure
    return None


def png_damage(content: bytes) -> str | None:
    """Return what is damaged in a PNG, by the checksum of every chunk; None where all is well, or it is no PNG.

    Pillow leaves most checksums out: a bit that flipped in the pixels' chunks passes.
    """
    if not content.startswith(SIGNATURE):
        return None
    start = len(SIGNATURE)
    while start + CHUNK <= len(content):
        length = int.from_bytes(content[start : start + 4], "big")
        end = start + CHUNK + length
        if end > len(content):
            break
        kind = content[start + 4 : start + 8]
        if zlib.crc32(content[start + 4 : end - 4]) != int.from_bytes(content[end - 4 : end], "big"):
            return f"checksum of its chunk {kind.decode('latin-1')!r} differs"
        if kind == b"IEND":
            return None
        start = end
    return "it ends before its last chunk"
