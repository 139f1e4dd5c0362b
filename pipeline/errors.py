"""The one exception for bad input: a sentence that names the rule, the value, the place and what to do."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input of a user: stages print its sentence and exit with code 2, without a traceback."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the known word closest to `word`, or an empty string."""
    match = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {match[0]!r}?" if match else ""
