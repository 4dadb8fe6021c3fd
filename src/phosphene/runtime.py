"""Where models run and in what precision: the one place that decides.

A device is the one that a class was given, else that of the program (`use`, ``--device``), else that of the recipe
(`follow`). "auto" is the device on which accelerate trains: CUDA where there is one, else MPS, else the CPU. A process
of several has its own.

The precision is that of frozen models and of drawing; what is trained has `training.precision`.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeVar, cast

from phosphene.errors import PhospheneError, nearest

if TYPE_CHECKING:
    import torch
    from torch import nn

Precision = Literal["auto", "fp32", "fp16", "bf16"]
PRECISIONS: dict[str, str] = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
Module = TypeVar("Module", bound="nn.Module")
T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Asked:
    device: str | None = None
    precision: str | None = None


_program, _recipe = _Asked(), _Asked()


def use(device: str | None = None, precision: str | None = None) -> None:
    """Ask for a device and a precision for the whole process, whatever a recipe says; None asks for nothing.

    Raises
    ------
    PhospheneError : no such device here, or no such precision.
    """
    global _program
    _program = _checked(device, precision)


def follow(device: str, precision: str) -> None:
    """What a recipe says; it holds for the process where `use` asked for nothing."""
    global _recipe
    _recipe = _Asked(device, precision)


@contextmanager
def using(device: str | None = None, precision: str | None = None) -> Iterator[None]:
    """`use` within a block; what is None stays as it was."""
    global _program
    before, asked = _program, _checked(device, precision)
    given = {key: value for key, value in vars(asked).items() if value is not None}
    _program = replace(before, **given)
    try:
        yield
    finally:
        _program = before


def device(asked: "torch.device | str" = "auto") -> "torch.device":
    """The torch device of what asks.

    Parameters
    ----------
    asked : "auto" takes that of the process.

    Raises
    ------
    PhospheneError : no such device here; names those that are.
    """
    import torch

    from phosphene.utils import processes

    name = named(asked)
    if name == "auto":
        return processes.device()
    found, own = torch.device(name), processes.device()
    return own if found.index is None and found.type == own.type else found


def named(asked: "torch.device | str" = "auto") -> str:
    """The name of the device of what asks, which may be "auto": `device` without looking for a GPU; errors as there."""
    name = str(asked) if str(asked) != "auto" else _program.device or _recipe.device or "auto"
    if not is_here(name):
        n = len(present()) - 1
        count = "no GPU" if n == 0 else "1 GPU" if n == 1 else f"{n} GPUs"
        *others, last = ["auto", *present()]
        fix = f"give {', '.join(others)} or {last}"
        raise PhospheneError(f"device '{name}' is not available here ({count}): {fix}")
    return name


def present() -> list[str]:
    """Names of the devices of this machine."""
    import torch

    if not torch.accelerator.is_available():
        return ["cpu"]
    kind = cast(torch.device, torch.accelerator.current_accelerator()).type
    return ["cpu", *(f"{kind}:{i}" for i in range(torch.accelerator.device_count()))]


def is_here(name: str) -> bool:
    """Whether there is such a device; "auto" always is, and so is "meta", on which tensors have shapes alone."""
    import torch

    if name == "auto":
        return True
    try:
        found = torch.device(name)
    except RuntimeError:
        return False
    kinds = {"cpu", "meta", *(one.partition(":")[0] for one in present())}
    return found.type in kinds if found.index is None else name in present()


def precision(asked: "torch.device | str" = "auto") -> str:
    """In what frozen models compute on a device: "fp32", "fp16" or "bf16"; unless told otherwise fp16 on CUDA alone."""
    name = _program.precision or _recipe.precision or "auto"
    if name != "auto":
        return name
    return "fp16" if device(asked).type == "cuda" else "fp32"


def dtype(asked: "torch.device | str" = "auto") -> "torch.dtype":
    """`precision` as torch has it."""
    import torch

    found: torch.dtype = getattr(torch, PRECISIONS[precision(asked)])
    return found


def place(model: T, asked: "torch.device | str" = "auto") -> T:
    """The model, moved to the device; its numbers stay as they are.

    A module that holds double precision stays where it is if the device has none (MPS), and so does what is no module.
    """
    from torch import nn

    where = device(asked)
    if not isinstance(model, nn.Module):
        return model
    if where.type == "mps" and any(value.itemsize == 8 and value.is_floating_point() for value in _tensors(model)):
        return model
    return model.to(where)


def home(model: object) -> "torch.device":
    """The device of a model's weights, where its inputs go; the CPU for one without any."""
    import torch
    from torch import nn

    tensors = _tensors(model) if isinstance(model, nn.Module) else []
    return tensors[0].device if tensors else torch.device("cpu")


def frozen(module: Module, asked: "torch.device | str" = "auto") -> Module:
    """The module, moved to the device, in the precision of frozen models there."""
    return module.to(device(asked), dtype(asked))


def used() -> dict[str, str]:
    """The device, with its name, and the precision of frozen models, for the record."""
    import torch

    found = device()
    if found.type == "cuda":
        return {"device": f"{found} ({torch.cuda.get_device_name(found)})", "precision": precision()}
    return {"device": str(found), "precision": precision()}


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a batch is too large for the device."""
    import torch
    from accelerate.utils.memory import should_reduce_batch_size

    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, Exception) and should_reduce_batch_size(error)
    )


@contextmanager
def memory(of: str, fix: str) -> Iterator[None]:
    """Within it "out of memory" is one line that says of what, and the fix."""
    try:
        yield
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        raise PhospheneError(f"out of memory in {of}: {fix}") from None


class Batches:
    """Runs a model batch by batch. Where memory does not suffice, at half the batch size, and so from then on.

    Parameters
    ----------
    size : items at a time.
    setting : what sets it, for messages, such as "generator.batch_size".
    """

    def __init__(self, size: int, setting: str):
        if size < 1:
            raise PhospheneError(f"{setting} is {size}: give 1 or more")
        self.size, self.setting = size, setting

    def __call__(self, run: Callable[[slice], T], n: int) -> Iterator[T]:
        """What ``run`` gives of each part of ``n`` items, in their order.

        Raises
        ------
        PhospheneError : memory does not suffice for one item.
        """
        from accelerate.utils.memory import clear_device_cache

        start = 0
        while start < n:
            part, full = slice(start, min(start + self.size, n)), False
            try:
                made = run(part)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                full = True
            if not full:
                yield made
                start = part.stop
                continue
            clear_device_cache(garbage_collection=True)  # what the failed attempt held is free by now
            size = part.stop - part.start
            if size == 1:
                raise PhospheneError(
                    f"out of memory even with {self.setting} 1: choose a smaller model, or another device (--device)"
                )
            self.size = size // 2
            log.warning(
                "out of memory with %s %d: continuing with %d; set it to that value", self.setting, size, self.size
            )


def _checked(where: str | None, how: str | None) -> _Asked:
    if how not in (None, "auto", *PRECISIONS):
        raise PhospheneError(f"unknown precision '{how}': {nearest(how, ['auto', *PRECISIONS])}")
    if where is not None:
        device(where)
    return _Asked(where, how)


def _tensors(module: "nn.Module") -> "list[torch.Tensor]":
    return [*module.parameters(), *module.buffers()]
