"""Fields of an instances file, one at a time: each is what it should be, or one sentence says where it is not."""

from typing import Any

from pipeline.data.exclusions import shown
from pipeline.data.names import tidy
from pipeline.data.segmentation import as_float
from pipeline.errors import InputError

MAX_ID = 2**53  # larger JSON numbers are not exact everywhere
MAX_SIDE = 1_000_000  # pixels


def entries(data: dict, key: str, place: str) -> list[dict]:
    """Return one of the lists of an instances file."""
    if not isinstance(data[key], list):
        raise InputError(f"{place}: '{key}' is {kind(data[key])}, but it must be a list; correct it.")
    for index, entry in enumerate(data[key]):
        if not isinstance(entry, dict):
            raise InputError(f"{place}: {key}[{index}] is {shown(entry)}, but it must be an object; correct it.")
    return data[key]


def whole_number(entry: dict, key: str, place: str) -> int:
    """Return an id."""
    if key not in entry:
        raise InputError(f"{place} has no {key}; add it, or remove the entry.")
    value = entry[key]
    if type(value) is not int or not -MAX_ID < value < MAX_ID:
        raise InputError(f"{place} has {key} {shown(value)}, but it must be a whole number below 2^53; correct it.")
    return value


def text(entry: dict, key: str, place: str) -> str:
    """Return text with something to be seen in it."""
    if key not in entry:
        raise InputError(f"{place} has no {key}; add it, or remove the entry.")
    value = entry[key]
    if not isinstance(value, str) or not tidy(value) or any("\ud800" <= character <= "\udfff" for character in value):
        raise InputError(f"{place} has {key} {shown(value)}, but it must be text; correct it.")
    return value


def side(entry: dict, key: str, place: str) -> int | None:
    """Return a width or height in pixels, None where there is none."""
    value = entry.get(key)
    if value is None:
        return None
    if type(value) is not int or not 1 <= value <= MAX_SIDE:
        raise InputError(
            f"{place} has {key} {shown(value)}, but it must be a whole number of pixels from 1 to {MAX_SIDE}; correct "
            "it, or remove it to have it read from the file."
        )
    return value


def box(entry: dict, place: str) -> list[float]:
    """Return the four numbers of a box."""
    if "bbox" not in entry:
        raise InputError(f"{place} has no bbox; add [x, y, width, height], or remove the annotation.")
    value = entry["bbox"]
    numbers = [as_float(number) for number in value] if isinstance(value, list) else []
    if len(numbers) != 4 or any(number is None for number in numbers):
        raise InputError(
            f"{place} has bbox {shown(value)}, but a box is four numbers [x, y, width, height]; correct it or remove "
            "the annotation."
        )
    return numbers


def crowd(entry: dict, place: str) -> int:
    """Return whether an annotation is a crowd region."""
    value = entry.get("iscrowd")
    if value is not None and (not isinstance(value, int) or value not in (0, 1)):
        raise InputError(f"{place} has iscrowd {shown(value)}, but it must be 0 or 1; correct it.")
    return int(value or 0)


def category(entry: dict, known: list[int], place: str) -> int:
    """Return a category's id that the file lists."""
    value = whole_number(entry, "category_id", place)
    if value not in known:
        closest = min(known, key=lambda key: (abs(key - value), key))
        raise InputError(
            f"{place} has category_id {value}, but the {len(known)} categories of the file have ids from {known[0]} to "
            f"{known[-1]} (nearest: {closest}); add the category or correct the annotation."
        )
    return value


def kind(value: Any) -> str:
    """Return what a JSON value is, in words."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
