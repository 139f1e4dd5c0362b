"""Data: readers, checks, the synthetic data set, collages and chips.

Public names load on first use, so that reading annotations never imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# No module may have the name of a function here: importing the module would replace the function.
_HOME = {
    "greedy_chip_cover": "chips",
    "make_collage": "collage",
    "sample_chips": "chips",
    "shrink_batch": "collage",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
