"""Moving average of a network's weights, which is smoother than the last step's and almost free."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """Exponential moving average of all parameters and floating-point buffers; integer buffers are copied.

    At update n, the decay is min(decay, (1 + n) / (10 + n)): it grows from 0.1, so that short trainings forget their
    initial weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.average = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights after an optimiser step."""
        averages: list[Tensor] = []
        values: list[Tensor] = []
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                averages.append(self.average[name])
                values.append(value)
            else:
                self.average[name].copy_(value)
        get_ema_multi_avg_fn(min(self.decay, (1 + self.updates) / (10 + self.updates)))(averages, values, None)
        self.updates += 1

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Exchange a network's weights with the averaged ones inside the block, without copying."""
        tensors = model.state_dict(keep_vars=True)

        def exchange() -> None:
            for name, value in tensors.items():
                value.data, self.average[name] = self.average[name], value.data

        exchange()
        try:
            yield
        finally:
            exchange()

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "average": self.average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates = state["updates"]
        for name, value in self.average.items():
            value.copy_(state["average"][name])
