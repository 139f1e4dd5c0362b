"""A Markdown page once more as one HTML file: pictures inside, tables sorted by a click, nothing loaded from anywhere.

What a column is sorted by is worked out here, so that the page's script compares integers only.
"""

from __future__ import annotations

import base64
import html
import mimetypes
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from pipeline import markdown as md
from pipeline.files import read_bytes, write_text
from pipeline.reporting.html_parts import SCRIPT, STYLE

NUMBER = re.compile(r"[+-]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?")
LEADING = re.compile(rf"(?:± ?)?{NUMBER.pattern}x?(?![\w.])")  # `4.42x`, `40 %`, but neither `16x64d` nor `3.x`
# Nothing but what stands in the file is ever loaded, whatever a class or picture of the user's data is called.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def write_both(path: Path, text: str, alone: bool = False) -> None:
    """Write a page, and the same as HTML beside it, which is to be read `alone` or among the files that it links."""
    write_text(path, text)
    write_text(path.with_suffix(".html"), page(text, path.parent, alone))


def page(text: str, folder: Path, alone: bool = False) -> str:
    """Return a page in Markdown as HTML.

    Args:
        text: the page.
        folder: its pictures lie below it.
        alone: the file is sent away without its neighbours: of a link out of the page its words and its target stay.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(text)
    title = next((_words(token) for before, token in pairwise(tokens) if before.tag == "h1"), "Scalewise")
    for token in tokens if alone else ():
        token.children = list(_unlinked(token.children or ()))
    for token in tokens:
        for child in token.children or ():
            if child.type == "image":
                _embed(child, folder)
    body = parser.renderer.render(list(_sortable(tokens)), parser.options, {})
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<title>{html.escape(title)}</title>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n<script>\n{SCRIPT}</script>\n</body>\n"
        "</html>\n"
    )


def ranks(cells: Sequence[str], names: bool = False) -> list[int | None]:
    """Return the place of each cell of a column in ascending order, equal ones share it; None stands last either way.

    A column with a cell that begins with a number is sorted by its numbers, the first one first: `+4.3 [+3.4, +5.2]`
    and `1.00x, 4.42x` by two and three of them. Its words (`not run`, `too few objects`) have no place.

    Args:
        cells: texts of the column.
        names: the column says what its rows are, and is sorted by words although some may begin with a number.
    """
    kept: list[tuple | None] = [numbers(cell) for cell in cells]
    if names or not any(kept):
        kept = [None if cell in ("", md.MISSING, md.NOT_RUN) else (cell.casefold(),) for cell in cells]
    order = {key: place for place, key in enumerate(sorted({key for key in kept if key}))}
    return [order[key] if key else None for key in kept]


def numbers(cell: str) -> tuple[float, ...] | None:
    """Return the numbers of a cell that begins with one."""
    if not LEADING.match(cell):
        return None
    return tuple(float(found.replace(",", "")) for found in NUMBER.findall(cell))


def _sortable(tokens: list[Token]) -> Iterator[Token]:
    """Give the tokens of a page, its tables in a box that scrolls, with a button a column and a rank a cell."""
    heading, cells = "", []
    for before, token in pairwise([Token("", "", 0), *tokens]):
        if before.type == "heading_open":
            heading = _words(token)
        if token.type == "table_open":
            cells = []
            yield Token("html_block", "", 0, content=_box(heading))
        if before.type == "th_open":
            before.attrs |= {"scope": "col", "aria-sort": "none"}
            button = [Token("html_inline", "", 0, content=text) for text in ('<button type="button">', "</button>")]
            token.children = [button[0], *(token.children or ()), button[1]]
        if before.type == "tr_open":
            cells.append([])
        if before.type == "td_open":
            cells[-1].append((before, _words(token)))
        if token.type == "table_close":
            _rank([row for row in cells if row])
        yield token
        if token.type == "table_close":
            yield Token("html_block", "", 0, content="</div>\n")


def _rank(rows: Sequence[Sequence[tuple[Token, str]]]) -> None:
    """Mark every cell of a table with its place in its column."""
    for number, column in enumerate(zip(*rows, strict=True)):
        for (cell, _), rank in zip(column, ranks([text for _, text in column], names=number == 0), strict=True):
            if rank is not None:
                cell.attrSet("data-rank", str(rank))


def _box(heading: str) -> str:
    return f'<div class="table" role="region" tabindex="0" aria-label="Table: {html.escape(heading)}">\n'


def _words(token: Token) -> str:
    """Return the text of inline Markdown, without marks and links."""
    return "".join(child.content for child in token.children or ()).strip()


def _unlinked(children: Iterable[Token]) -> Iterator[Token]:
    """Give the tokens of inline Markdown with `words (target)` in the place of links that lead out of the page."""
    target = "#"
    for child in children:
        if child.type == "link_open":
            target = str(child.attrs["href"])
        if not child.type.startswith("link_") or target.startswith("#"):
            yield child
        elif child.type == "link_close":
            yield Token("text", "", 0, content=f" ({target})")


def _embed(image: Token, folder: Path) -> None:
    """Put a picture's bytes into its place; words where it was not drawn yet."""
    path = folder / str(image.attrs["src"])
    if path.suffix != ".png" or not path.resolve().is_relative_to(folder.resolve()):
        image.type, image.content = "text", f"({image.content}: no picture of this report)"  # a word of a user's data
        return
    if not path.is_file():
        image.type, image.content = "text", f"({image.content}: not drawn yet)"
        return
    kind = mimetypes.guess_type(path.name)[0] or "image/png"
    image.attrs["src"] = f"data:{kind};base64,{base64.b64encode(read_bytes(path)).decode()}"
