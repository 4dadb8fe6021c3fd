"""One training by several processes (`accelerate launch`, torchrun): who writes, and what all of them have to know.

A process that is alone is the main one, waits for nobody and shares nothing.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from phosphene.errors import PhospheneError

if TYPE_CHECKING:
    from accelerate import PartialState

T = TypeVar("T")

_PATIENCE = timedelta(days=7)  # the others wait while the main process decodes


def _state() -> "PartialState":
    """This process's place among the others; the first call joins them."""
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    without = int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.accelerator.is_available()
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU") or without, timeout=_PATIENCE)


def count() -> int:
    """How many processes there are."""
    return int(_state().num_processes)


def rank() -> int:
    """Which of them this one is, from 0, the main one."""
    return int(_state().process_index)


def device() -> torch.device:
    """The device of this process, where accelerate trains."""
    found: torch.device = _state().device
    return found


@contextmanager
def training_on(where: torch.device) -> Iterator[None]:
    """Within it accelerate trains on this device.

    Raises
    ------
    PhospheneError : there are several processes, each with a device of its own, and this is another one.
    """
    state = _state()
    own = state.device
    if count() > 1 and where != own:
        raise PhospheneError(f"each of {count()} processes has a device of its own: leave runtime.device at auto")
    state.device = where  # what every later AcceleratorState takes over
    try:
        yield
    finally:
        state.device = own


def is_main() -> bool:
    """Whether this process is the one that writes files."""
    return rank() == 0


def main_first() -> AbstractContextManager[None]:
    """A block that the others enter when the main process has left it."""
    return _state().main_process_first()


def wait() -> None:
    """Go on when all have come here."""
    _state().wait_for_everyone()


def from_main(value: T) -> T:
    """The main process's value, in every process."""
    if count() == 1:
        return value
    from accelerate.utils import broadcast_object_list

    values = [value]
    broadcast_object_list(values)
    return values[0]


def share(module: nn.Module) -> None:
    """Give every process the main one's parameters and buffers."""
    if count() > 1:
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, 0)


class _Gather(torch.autograd.Function):
    """`all_gather` and its gradient: what all processes ask of a process's rows, summed.

    By hand: gathering in `torch.distributed.nn` is deprecated, and its successor is private.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]


def gathered(rows: Tensor) -> Tensor:
    """(n_processes * batch, ...) the rows of all processes in their order, (batch, ...) each; differentiable."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return rows
    found: Tensor = _Gather.apply(rows.contiguous())
    return found
