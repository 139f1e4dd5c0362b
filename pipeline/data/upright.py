"""Turn pictures as their EXIF orientation says, whatever else stands in their metadata."""

from PIL import Image

ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # by EXIF orientation


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation of a picture, 1 (as stored) where there is none."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # an image with broken metadata is usable
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def upright(image: Image.Image) -> Image.Image:
    """Return a picture turned as its EXIF orientation says.

    Pillow's `exif_transpose` writes all metadata anew, which fails where a camera left a number out of a tag's range.
    """
    image.load()  # before the orientation, as where pictures are checked: TIFF's reader turns its own
    way = TURNS.get(orientation_of(image))
    return image if way is None else image.transpose(way)
