"""What a printed sentence allows a number to be: at least, above, about or almost what is printed."""

from __future__ import annotations

import math

from pipeline.options import Options

PRINTED = "printed"  # in the place of a number: the one that the sentence prints
ALMOST = 0.2  # "almost 20": short of it by no more than this share
LEVEL = 0.5  # "about" and "level", in the number's unit, where the entry says no `within`


class Bound(Options):
    """Limits of a number, each in its unit or the word `printed`; without any there is no bound."""

    least: float | str | None = None
    most: float | str | None = None
    above: float | str | None = None
    below: float | str | None = None
    about: float | str | None = None
    within: float = LEVEL  # of `about`
    almost: float | str | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for a word other than `printed`."""
        for name in WORDS:
            value = getattr(self, name)
            if isinstance(value, str) and value != PRINTED:
                raise ValueError(f"{name} must be a number or the word {PRINTED}, got {value!r}")

    def __bool__(self) -> bool:
        return any(getattr(self, name) is not None for name in WORDS)

    def of(self, printed: float) -> Bound:
        """Return this bound with the printed number in the place of its word."""
        given = {name: getattr(self, name) for name in WORDS}
        return Bound(**{n: printed if value == PRINTED else value for n, value in given.items()}, within=self.within)

    def holds(self, value: float) -> bool:
        """Whether a number keeps the bound."""
        low, high = self.ends()
        strict = (self.above is None or value > self.above) and (self.below is None or value < self.below)
        return strict and low - 1e-9 <= value <= high + 1e-9

    def ends(self) -> tuple[float, float]:
        """Return the least and the greatest number that the bound allows, infinite where it has no end."""
        lows = [self.least, self.above, *((self.about - self.within,) if self.about is not None else ())]
        highs = [self.most, self.below, *((self.about + self.within,) if self.about is not None else ())]
        if self.almost is not None:
            lows, highs = [*lows, (1 - ALMOST) * self.almost], [*highs, self.almost]
        known = [[end for end in ends if end is not None] for ends in (lows, highs)]
        return max(known[0], default=-math.inf), min(known[1], default=math.inf)

    def text(self) -> str:
        """Return the bound in words: `at least 2`, `above 41`, `1 to 1.5`, `0 ± 0.5`, `almost 20`."""
        if self.about is not None:
            return f"{self.about:g} ± {self.within:g}"
        if self.least is not None and self.most is not None:
            return f"{self.least:g} to {self.most:g}"
        words = {"least": "at least", "most": "at most"}
        return next(f"{words.get(n, n)} {getattr(self, n):g}" for n in WORDS if getattr(self, n) is not None)


WORDS = ("least", "most", "above", "below", "about", "almost")
