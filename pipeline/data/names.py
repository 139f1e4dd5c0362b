"""Names of files and categories as people write them, found as they are meant, and never outside their folder."""

import configparser
import os
import re
import unicodedata
from functools import lru_cache
from pathlib import Path

from pipeline.data.exclusions import shown
from pipeline.errors import InputError

CACHED = re.compile(r"[0-9a-f]{2}/[0-9a-f]{30}")  # below files/md5 of DVC's cache


def tidy(name: str) -> str:
    """Return the name of a category in one line and one Unicode form (NFC), without what cannot be printed."""
    words = " ".join(unicodedata.normalize("NFC", name).split())
    return "".join(character for character in words if character.isprintable())


def locate(root: Path, file_name: str, place: str, links: str = "inside") -> str:
    """Return the path of a file inside `root`; raise InputError where it leads outside.

    Args:
        root: the folder; it may be a symbolic link itself.
        file_name: relative to it. Where only another Unicode form of the name exists (a Mac's), or one without
            outer blanks, that is the file.
        place: names the entry in errors.
        links: `inside` refuses a link that leaves the folder, unless it leads into the cache of the DVC project that
            the folder lies in; `follow` takes it as it is.
    """
    if not file_name.strip() or "\0" in file_name or not _is_text(file_name):
        raise InputError(f"{place} has file name {shown(file_name)}, which names no file; correct it.")
    if os.path.isabs(file_name):
        raise InputError(
            f"{place} has the absolute path {shown(file_name)}, but file names are relative to the image folder "
            f"{root}; remove the folder from the name."
        )
    real_root = os.path.realpath(root)
    path = os.path.join(real_root, file_name)
    if not _is_below(os.path.normpath(path), real_root):
        raise InputError(
            f"{place} has file name {shown(file_name)}, which leaves the image folder {root}; "
            "copy the file into the folder and correct the name."
        )
    if not os.path.lexists(path):
        path = _other_form(real_root, file_name) or path
    real = os.path.realpath(path)
    if links != "follow" and not _is_below(real, real_root) and not _in_dvc_cache(real, real_root):
        raise InputError(
            f"{place} has file name {shown(file_name)}, which is a link that leaves the image folder {root}; "
            "copy the file into the folder and correct the name, or write `links: follow` under `data` of the preset "
            "(make compare: DATA='links=follow') where you made the links yourself."
        )
    return path


def relative(path: str, root: Path) -> str:
    """Return a located path as a name below its root."""
    return os.path.relpath(path, os.path.realpath(root)).replace(os.sep, "/")


def _other_form(root: str, file_name: str) -> str | None:
    """Return the path of a file whose name differs in Unicode form or outer blanks only, None without one."""
    path = root
    for part in file_name.split("/"):
        if part in ("", "."):
            continue
        form = unicodedata.normalize("NFC", part)
        found = part if part == ".." else _listing(path).get(form) or _listing(path).get(form.strip())
        if found is None:
            return None
        path = os.path.join(path, found)
    return path


@lru_cache(maxsize=64)
def _listing(folder: str) -> dict[str, str]:
    """Return the names in a folder by their composed form."""
    try:
        return {unicodedata.normalize("NFC", name): name for name in sorted(os.listdir(folder))}
    except (OSError, ValueError):
        return {}


def _in_dvc_cache(real: str, root: str) -> bool:
    cache = dvc_cache(root)
    return cache is not None and _is_below(real, cache) and CACHED.fullmatch(real[-33:]) is not None


@lru_cache(maxsize=64)
def dvc_cache(folder: str) -> str | None:
    """Return the cache of the DVC project that a folder lies in, None without one."""
    for parent in (Path(folder), *Path(folder).parents):
        if (parent / ".dvc/config").is_file():
            settings = configparser.ConfigParser(interpolation=None, strict=False)
            try:
                settings.read([parent / ".dvc/config", parent / ".dvc/config.local"], encoding="utf-8")
            except (configparser.Error, UnicodeDecodeError):
                return None
            named = settings.get("cache", "dir", fallback="cache")
            return os.path.realpath(parent / ".dvc" / named)
    return None


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _is_text(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
