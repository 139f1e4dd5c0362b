"""Data: readers, checks, the synthetic data set, collages and chips. Reading annotations imports no torch."""

from pipeline.lazy import lazy

__getattr__, __all__ = lazy(
    __name__, {"greedy_chip_cover": "chips", "make_collage": "collage", "sample_chips": "chips"}
)
