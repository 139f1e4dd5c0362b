"""Ranges of numbers in presets, recipes and experiments: what lies outside is no size, share or rate of anything.

Upper ends are far above what any training needs; they keep a slip of the keyboard from taking all memory. Every number
is finite, since a bound holds for none that is not.
"""

from typing import Annotated

from msgspec import Meta

Count = Annotated[int, Meta(ge=1, le=10**9)]
CountOrZero = Annotated[int, Meta(ge=0, le=10**9)]  # 0: none of them
Few = Annotated[int, Meta(ge=1, le=1024)]  # dilations, groups, samples of a bin: memory grows with them
Samples = Annotated[int, Meta(ge=0, le=1024)]  # 0 has a meaning of its own
Channels = Annotated[int, Meta(ge=1, le=65_536)]
Candidates = Annotated[int, Meta(ge=1, le=1_000_000)]  # proposals, RoIs or detections of an image
Draws = Annotated[int, Meta(ge=1, le=100_000)]
Side = Annotated[int, Meta(ge=1, le=16_384)]  # pixels
Margin = Annotated[int, Meta(ge=0, le=16_384)]  # pixels
Stages = Annotated[int, Meta(ge=-1, le=4)]  # that are frozen: the stem and conv2_x to conv5_x; -1: not even the stem
Seed = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Threads = Annotated[int, Meta(ge=0, le=1024)]

Share = Annotated[float, Meta(ge=0, le=1)]
Part = Annotated[float, Meta(gt=0, le=1)]  # a share of more than nothing
Decay = Annotated[float, Meta(ge=0, lt=1)]
Average = Annotated[float, Meta(gt=0, lt=1)]
Rate = Annotated[float, Meta(gt=0, le=100)]
Factor = Annotated[float, Meta(gt=0, le=4)]
Positive = Annotated[float, Meta(gt=0, le=1e6)]
Pixels = Annotated[float, Meta(ge=0, le=1e9)]  # a length or an area
