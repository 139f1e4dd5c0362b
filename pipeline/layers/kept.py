"""What is computed from weights once and kept between calls without gradients, until one of the weights changes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


class Kept:
    """A copy of weights in another order, remade when a weight changes.

    A change is seen by a tensor's identity, address and version counter, which every in-place operation raises.
    Writing through `weight.data` raises none; no optimiser or loader does so.
    """

    def __init__(self) -> None:
        self.drop()

    def drop(self) -> None:
        """Forget the copy: training changes the weights in every step, and needs the memory."""
        self._sources, self._key, self._value = [], None, None

    def of(self, sources: Sequence[Tensor], dtype: torch.dtype, make: Callable[[], Any]) -> Any:
        """Return what `make` returned for these sources and this type, calling it if one of them has changed."""
        if any(source.is_inference() for source in sources):  # such a tensor has no version counter
            return make()
        key = (dtype, *((source._version, source.data_ptr(), source.stride()) for source in sources))
        known = key == self._key and all(kept() is source for kept, source in zip(self._sources, sources, strict=True))
        if not known:
            self._sources, self._key, self._value = [weakref.ref(source) for source in sources], key, make()
        return self._value

    def __reduce__(self) -> tuple[Any, ...]:
        return Kept, ()  # copies and pickles start empty
