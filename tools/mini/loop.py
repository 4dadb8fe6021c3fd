"""One training loop for every stage: checkpoints of small files, resumption, averages of weights, shared batches."""

from __future__ import annotations

import copy
import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

PART = 15_000_000  # bytes, the most that one file of a checkpoint holds


@dataclass
class Processes:
    """Which of how many processes this is; they share each batch."""

    rank: int = 0
    world: int = 1

    def wait(self) -> None:
        if self.world > 1:
            dist.barrier()


def save(folder: Path, step: int, seconds: float, tensors: dict[str, Tensor]) -> None:
    """Writes a checkpoint into files of at most `PART` bytes, whole or not at all; the ones before it go."""
    work, final = folder / "unfinished", folder / f"{step:08d}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    part: dict[str, Tensor] = {}
    n, size = 0, 0
    for key, value in tensors.items():
        if part and size + value.nbytes > PART:
            save_file(part, work / f"{n:02d}.safetensors")
            part, n, size = {}, n + 1, 0
        part[key] = value.detach().cpu().contiguous().clone()
        size += value.nbytes
    save_file(part, work / f"{n:02d}.safetensors")
    (work / "state.json").write_text(json.dumps({"step": step, "seconds": seconds}) + "\n")
    shutil.rmtree(final, ignore_errors=True)
    work.rename(final)
    for old in folder.iterdir():
        if old != final:
            shutil.rmtree(old)


def load(folder: Path) -> tuple[int, float, dict[str, Tensor]] | None:
    """Step, seconds and tensors of the newest checkpoint, or None."""
    steps = sorted(p.parent for p in folder.glob("[0-9]*/state.json"))
    if not steps:
        return None
    state = json.loads((steps[-1] / "state.json").read_text())
    tensors: dict[str, Tensor] = {}
    for path in sorted(steps[-1].glob("*.safetensors")):
        tensors |= load_file(path)
    return state["step"], state["seconds"], tensors


def part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries of `state` under `prefix`, without it."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def fit(
    folder: Path,
    model: nn.Module,
    loss: Callable[[np.random.Generator], Tensor],
    *,
    seed: tuple[int, int],
    steps: int,
    stop: int,
    deadline: float,
    processes: Processes,
    lr: float,
    warmup: int = 100,
    every: int = 200,
    weight_decay: float = 0.01,
    start: Callable[[], None] | None = None,
) -> bool:
    """Trains `model` by AdamW, warm-up and cosine, going on from its checkpoint; says whether it is finished.

    `loss` gets a generator seeded by (seed, step, rank); torch's own generator is seeded from it. So a resumed run
    equals an uninterrupted one. `start` is called before the first step that is not yet done. The weights' running
    average is kept under "mean." in the checkpoint.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, betas=(0.9, 0.99))
    mean = copy.deepcopy(model)
    step, seconds = 0, 0.0
    if (found := load(folder)) is not None:
        step, seconds, tensors = found
        model.load_state_dict(part(tensors, "model."))
        mean.load_state_dict(part(tensors, "mean."))
        kept: dict[int, dict[str, Tensor]] = {}
        for key, value in part(tensors, "optimizer.").items():
            index, _, name = key.partition(".")
            kept.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict({"state": kept, "param_groups": optimizer.state_dict()["param_groups"]})
    if step < min(stop, steps) and start is not None:
        start()
    warmup, begun, recent, late = min(warmup, steps // 4 + 1), time.time() - seconds, [], False
    while step < min(stop, steps) and not late:
        rng = np.random.default_rng((*seed, step, processes.rank))
        torch.manual_seed(int(rng.integers(2**62)))
        rate = min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
        for group in optimizer.param_groups:
            group["lr"] = lr * rate
        value = loss(rng)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        late = time.time() > deadline
        if processes.world > 1:
            grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
            flag = torch.tensor([float(late)], device=grads[0].device)
            flat = torch.cat([*(g.flatten() for g in grads), flag])
            dist.all_reduce(flat)
            late = bool(flat[-1] > 0)
            for p, g in zip(parameters, flat[:-1].split([p.numel() for p in parameters]), strict=True):
                p.grad = (g / processes.world).view_as(p)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        decay = min(0.999, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_([p for p in mean.parameters() if p.requires_grad], parameters, 1 - decay)
        recent.append(float(value.detach()))
        if (step % every == 0 or late or step == min(stop, steps)) and processes.rank == 0:
            tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
            tensors |= {f"mean.{k}": v for k, v in mean.state_dict().items()}
            for index, slots in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{index}.{k}": v for k, v in slots.items()}
            save(folder, step, time.time() - begun, tensors)
            print(f"{folder.name} {step}/{steps} loss {np.mean(recent):.4f} {time.time() - begun:.0f} s", flush=True)
            recent = []
    processes.wait()
    return step >= steps
