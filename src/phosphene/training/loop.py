"""The one training loop, on accelerate: a gradient stage, its selection, checkpoints and resume, in one process or
several."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import DataLoaderConfiguration, GradientAccumulationPlugin, send_to_device, set_seed
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from phosphene import runtime
from phosphene.errors import PhospheneError
from phosphene.methods.base import Method
from phosphene.training.settings import Samples, Stage
from phosphene.utils import processes
from phosphene.utils.checksums import intact, kept
from phosphene.utils.files import read_json, write_json


def descend(
    method: Method,
    stage: str,
    train: Samples,
    val: Samples | None,
    settings: Stage,
    select_on: str,
    seed: int,
    folder: Path | None,
    log: Callable[[dict[str, Any]], None],
    progress: Callable[[str, int, int], None],
) -> None:
    """One gradient stage. What is random depends on (seed, epoch, step of the last checkpoint in it, process) alone, so
    that going on from a checkpoint changes nothing."""
    trained = [p for p in method.trained(stage) if p.requires_grad]
    less = (
        f"set training.batch_size below {settings.batch_size}, and training.accumulate (gradient accumulation) above "
        f"{settings.accumulate} to make up for it"
    )
    with (
        _alone(method, trained),
        processes.training_on(runtime.device()),
        runtime.memory(f"the training of stage '{stage}'", less),
    ):
        accelerator = _accelerator(method, settings, seed)
        loader = DataLoader(
            train,
            batch_size=share_of(settings, len(train)),
            shuffle=True,
            drop_last=True,
            collate_fn=lambda b: b,
            generator=torch.Generator().manual_seed(seed),
        )
        optimizer = torch.optim.AdamW(_groups(trained, settings), lr=settings.lr, betas=settings.betas)
        model, optimizer, loader = accelerator.prepare(_Wrapped(method, stage), optimizer, loader)
        average = None if settings.ema is None else _ema(trained, settings.ema)
        window, steps = settings.accumulate, math.ceil(len(loader) / settings.accumulate)
        rate = _rate(settings, settings.epochs * steps)
        state: dict[str, Any] = {"epoch": 0, "step": 0, "sums": {}, "best": math.inf, "best_epoch": 0}
        best: dict[str, Tensor] = {}
        if folder is not None and (folder / "state.json").is_file():
            best = _restore(accelerator, folder, state, trained, average, steps)

        def keep() -> None:
            if folder is not None and processes.is_main():
                _checkpoint(accelerator, folder, state, average, best)

        def due() -> bool:
            return (state["epoch"] * steps + state["step"]) % (settings.checkpoint_every or steps) == 0

        while state["epoch"] < settings.epochs and not _stalled(state, settings.patience):
            epoch, skipped = state["epoch"], state["step"] * window
            _seed(seed, epoch, state["step"])
            loader.set_epoch(epoch)
            model.train()
            for batch in accelerator.skip_first_batches(loader, skipped) if skipped else loader:
                for group in optimizer.param_groups:
                    group["lr"] = rate(epoch * steps + state["step"])
                with accelerator.accumulate(model):
                    losses = model(batch)
                    together = min(window, len(loader) - state["step"] * window)
                    accelerator.backward(losses["loss"] * (window / together))  # accelerate divides by the full window
                    if accelerator.sync_gradients:
                        accelerator.clip_grad_norm_(trained, settings.clip)
                    optimizer.step()
                    optimizer.zero_grad()
                _add(state["sums"], accelerator, losses, f"stage '{stage}'", epoch)
                if accelerator.sync_gradients:
                    if average is not None:
                        average.step(trained)
                    state["step"] += 1
                    if state["step"] < steps and due():
                        keep()
                        _seed(seed, epoch, state["step"])
            row = {key: value / len(loader) for key, value in state["sums"].items()}
            state |= {"epoch": epoch + 1, "step": 0, "sums": {}}
            if val is not None:
                with _averaged(average, trained):
                    row["val_loss"] = _validate(method, stage, val, settings.batch_size, accelerator)
                    if row["val_loss"] < state["best"]:
                        state |= {"best": row["val_loss"], "best_epoch": epoch + 1}
                        if processes.is_main():
                            best = {k: v.detach().cpu().clone() for k, v in method.state_dict().items()}
            log({"stage": stage, "epoch": epoch + 1, **row})
            progress(stage, epoch + 1, settings.epochs)
            if due() or epoch + 1 == settings.epochs or _stalled(state, settings.patience):
                keep()
        if average is not None:
            average.copy_to(trained)
        if select_on == "val" and best:
            method.load_state_dict(best)
    processes.share(method)


class _Wrapped(nn.Module):
    """A stage of a method, for accelerate to change and to wrap; the method itself stays what it is."""

    def __init__(self, method: Method, stage: str):
        super().__init__()
        self.method, self.stage = method, stage

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.method(batch, self.stage)
        return losses


def _accelerator(method: Method, settings: Stage, seed: int) -> Accelerator:
    """Of one stage; its checkpoints hold the method itself, not what wraps it."""
    AcceleratorState._reset_state()  # of another stage, whose precision may be another
    processes.count()  # joined before accelerate would, with its own patience
    try:
        accelerator = Accelerator(
            mixed_precision=settings.precision,
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=settings.accumulate),
            dataloader_config=DataLoaderConfiguration(split_batches=True, use_seedable_sampler=True, data_seed=seed),
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
    except ValueError as error:
        raise PhospheneError(
            f"training.precision {settings.precision} is not available here ({error}): set no"
        ) from None
    if settings.precision == "fp16" and accelerator.device.type == "cpu":
        raise PhospheneError("training.precision fp16 needs a GPU: set bf16 or no")
    accelerator.register_save_state_pre_hook(lambda models, weights, path: weights.__setitem__(0, method.state_dict()))
    accelerator.register_load_state_pre_hook(lambda models, path: models.__setitem__(0, method))
    return accelerator


def share_of(settings: Stage, n_trials: int) -> int:
    """Trials of a batch: no more than there are, and as many for each process."""
    n = processes.count()
    if settings.batch_size % n:
        raise PhospheneError(
            f"training.batch_size {settings.batch_size} cannot be split over {n} processes: set a multiple of {n}"
        )
    size = min(settings.batch_size, n_trials) // n * n
    if size == 0:
        raise PhospheneError(f"{n_trials} training trials cannot be split over {n} processes: start fewer")
    return size


def _rate(settings: Stage, total: int) -> Callable[[int], float]:
    """The learning rate of each of ``total`` steps; by hand, as a function of the step alone has nothing to restore."""
    warmup, falls = max(1, int(settings.warmup * total)), settings.schedule == "cosine"

    def rate(step: int) -> float:
        later = 0.5 * (1 + math.cos(math.pi * min(1.0, step / total))) if falls else 1.0
        return settings.lr * (min(1.0, (step + 1) / warmup) * later)

    return rate


def _seed(*parts: int) -> None:
    """All generators of this process."""
    set_seed(int(np.random.SeedSequence([*parts, processes.rank()]).generate_state(1)[0]))


def _add(sums: dict[str, float], accelerator: Accelerator, losses: dict[str, Tensor], where: str, epoch: int) -> None:
    """Add one batch's losses, the mean over processes."""
    values = accelerator.reduce(torch.stack([v.detach().float() for v in losses.values()]), reduction="mean").tolist()
    for key, value in zip(losses, values, strict=True):
        sums[key] = sums.get(key, 0.0) + value
    if not math.isfinite(sums["loss"]):
        raise PhospheneError(f"the loss of {where} is {sums['loss']} at epoch {epoch + 1}: lower training.lr")


def _ema(trained: list[nn.Parameter], decay: float) -> Any:
    from diffusers.training_utils import EMAModel  # seconds, and few need it

    return EMAModel(trained, decay=decay, foreach=True)


@contextmanager
def _averaged(average: Any, trained: list[nn.Parameter]) -> Iterator[None]:
    """The average in place of the parameters, if there is one."""
    if average is None:
        yield
        return
    average.store(trained)
    average.copy_to(trained)
    try:
        yield
    finally:
        average.restore(trained)


@contextmanager
def _alone(method: Method, trained: list[nn.Parameter]) -> Iterator[None]:
    """Only these parameters of the method get gradients."""
    chosen = {id(p) for p in trained}
    others = [p for p in method.parameters() if p.requires_grad and id(p) not in chosen]
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)


def _checkpoint(
    accelerator: Accelerator, folder: Path, state: dict[str, Any], average: Any, best: dict[str, Tensor]
) -> None:
    """Replace the stage's folder in one move: a kill leaves the old checkpoint or the new one, never a mixture."""
    with kept(folder) as part:
        accelerator.save_state(str(part / "last"))
        if average is not None:
            save_file(
                {f"{i:06d}": p.contiguous() for i, p in enumerate(average.shadow_params)}, part / "ema.safetensors"
            )
        if best:
            save_file(best, part / "best.safetensors")
        write_json(part / "state.json", state)


def _restore(
    accelerator: Accelerator, folder: Path, state: dict[str, Any], trained: list[nn.Parameter], average: Any, steps: int
) -> dict[str, Tensor]:
    """Go back to a checkpoint, in an epoch of ``steps``; the best weights so far, in the main process."""
    intact(folder, f"remove {folder} to train this stage again")
    try:
        state |= read_json(folder / "state.json")
        accelerator.load_state(str(folder / "last"))
        accelerator.step = 0  # a checkpoint lies between two steps
        if average is not None:
            shadow = load_file(folder / "ema.safetensors")
            average.shadow_params = [shadow[f"{i:06d}"].to(p.device) for i, p in enumerate(trained)]
            average.optimization_step = state["epoch"] * steps + state["step"]
        if processes.is_main() and (folder / "best.safetensors").is_file():
            return load_file(folder / "best.safetensors")
    except Exception as error:  # a damaged file leads each reader to errors of its own; weights are never unpickled
        line = " ".join(str(error).split())[:200] or type(error).__name__
        raise PhospheneError(f"{folder} cannot be read ({line}): remove it to train this stage again") from None
    return {}


def _stalled(state: dict[str, Any], patience: int | None) -> bool:
    return patience is not None and state["epoch"] - state["best_epoch"] >= patience and math.isfinite(state["best"])


@torch.no_grad()
def _validate(method: Method, stage: str, val: Samples, size: int, accelerator: Accelerator) -> float:
    """Mean loss over the validation trials, dropout off; the main process asks, all hear."""
    method.eval()
    sums, count = 0.0, 0
    for start in range(0, len(val) if processes.is_main() else 0, size):
        index = list(range(start, min(start + size, len(val))))
        batch = send_to_device(val.__getitems__(index), accelerator.device)
        with accelerator.autocast():
            sums += float(method.training_step(batch, stage)["loss"]) * len(index)
        count += len(index)
    return processes.from_main(sums / max(1, count))


def _groups(trained: list[nn.Parameter], settings: Stage) -> list[dict[str, Any]]:
    """Matrices decay; biases, norms and scales only where all do."""
    still = [] if settings.decays == "all" else [p for p in trained if p.ndim <= 1]
    left = {id(p) for p in still}
    return [
        {"params": [p for p in trained if id(p) not in left], "weight_decay": settings.weight_decay},
        {"params": still, "weight_decay": 0.0},
    ]
