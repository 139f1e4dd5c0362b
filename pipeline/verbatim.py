"""A user's words in a page: names of classes and files as Markdown that shows them as they are."""

import re
import unicodedata

LONGEST = 60  # characters of a name: a longer one would make a table that nobody can read
MARKUP = re.compile(
    r"[\\`*<~$]|\](?=[(\[:])|\[(?=\^)|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)"  # code, stress, links, tags, `&lt;`
    r"|^[#>+=\[-]|(?<=^\d)[.)]|(?<=^\d\d)[.)]"  # at the start: headings, quotes, lists
)
RIGHT_TO_LEFT = ("R", "AL")
ISOLATED = "\u2068{}\u2069"  # else the words and numbers behind such a name change their order


def verbatim(text: str, most: int | None = None) -> str:
    """Return text as Markdown in one line that shows it, in a table too; what cannot be printed is a replacement mark.

    Args:
        text: a name, or a sentence with names in it.
        most: characters that are shown; of a longer text the middle is left out, since names often differ at the end.
    """
    words = "".join(mark if mark.isprintable() else "\ufffd" for mark in " ".join(text.split()))
    if most is not None and len(words) > most:
        end = most // 3
        words = f"{words[: most - end - 1]}…{words[-end:]}"
    marked = MARKUP.sub(r"\\\g<0>", words).replace("|", "&#124;")
    return (
        ISOLATED.format(marked) if any(unicodedata.bidirectional(mark) in RIGHT_TO_LEFT for mark in words) else marked
    )


def short(text: str) -> str:
    """Return a name of a class or a file as `verbatim`, cut to a length that tables bear."""
    return verbatim(text, LONGEST)
