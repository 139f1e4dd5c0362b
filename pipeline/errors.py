"""The one exception for bad input: a sentence that names the rule, the value, the place and what to do."""

import difflib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

OTHER_STRUCTURE = (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)


class InputError(ValueError):
    """Bad input of a user: stages print its sentence and exit with code 2, without a traceback."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the known word closest to `word`, or an empty string."""
    match = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {match[0]!r}?" if match else ""


@contextmanager
def reading(path: str | os.PathLike, cure: str) -> Iterator[None]:
    """Turn what a file of the pipeline's own raises where it does not hold what it should into an InputError.

    Args:
        path: the file.
        cure: what to do, as the end of a sentence.
    """
    try:
        yield
    except InputError:
        raise
    except OTHER_STRUCTURE as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path} does not hold what it should ({type(error).__name__}: {reason}); {cure}.") from error
