"""Whether a layer may choose how it computes, or must show its plain operations to something that observes them."""

import torch
from torch.utils._python_dispatch import is_in_torch_dispatch_mode


def is_traced() -> bool:
    """Tell whether the operations are observed (compiler, export, counter, function transform), not only the result."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or is_in_torch_dispatch_mode()
        or torch._C._are_functorch_transforms_active()
        or torch.autograd.forward_ad._current_level >= 0
    )
