"""Training: the loop, its schedule and checkpoints, and the papers' methods. Planning a training imports no torch."""

from pipeline.lazy import lazy

__getattr__, __all__ = lazy(
    __name__,
    {"ScaleFeedback": "feedback", "label_anchors_snip": "scale_ranges", "small_loss_share": "loss_share"},
)
