"""Adam without torch's compiler, which takes a second to load."""

from collections.abc import Callable
from inspect import unwrap
from typing import Any

import torch
from torch.optim import Optimizer

_STEP = unwrap(torch.optim.Adam.step)


class Adam(torch.optim.Adam):
    """torch's Adam, step for step; the methods here import torch's compiler there, only to keep it away from them."""

    add_param_group = unwrap(Optimizer.add_param_group)
    zero_grad = unwrap(Optimizer.zero_grad)
    state_dict = unwrap(Optimizer.state_dict)
    load_state_dict = unwrap(Optimizer.load_state_dict)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Follow the gradients that the parameters hold."""
        return _STEP(self, closure)
