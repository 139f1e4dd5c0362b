"""Training: the loop, its schedule and checkpoints, and the papers' training methods.

Public names load on first use, so that planning a training never imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# No module may have the name of a function here: importing the module would replace the function.
_HOME = {
    "ScaleFeedback": "feedback",
    "label_anchors_snip": "scale_ranges",
    "small_loss_share": "feedback",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
