"""Numbers that a GPU computes and the host needs, copied while the GPU goes on."""

from typing import Any

import torch
from torch import Tensor


class Arriving:
    """The values of a tensor on their way to the host, whose copy starts at once.

    Whatever makes the host wait for the GPU in the meantime brings them too; then reading them waits no more.
    """

    def __init__(self, values: Tensor) -> None:
        self._values = values.to("cpu", non_blocking=values.is_cuda)
        self._copied: torch.cuda.Event | None = None
        if values.is_cuda:
            self._copied = torch.cuda.Event()
            self._copied.record()

    def tolist(self) -> Any:
        """Return the values, as `Tensor.tolist` does."""
        if self._copied is not None and not self._copied.query():
            self._copied.synchronize()
        return self._values.tolist()
