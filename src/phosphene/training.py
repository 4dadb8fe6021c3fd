"""The one training loop, on accelerate: stages, selection, checkpoints, resume."""

import math
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, send_to_device, set_seed
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from phosphene.errors import PhospheneError, nearest
from phosphene.files import read_json, whole, write_json
from phosphene.methods.base import Method
from phosphene.targets.base import TargetTable
from phosphene.trials import Trials


class Stage(BaseModel):
    """How a gradient stage is trained.

    Parameters
    ----------
    epochs : passes over the training trials.
    batch_size : trials at a time.
    lr, weight_decay : AdamW.
    schedule : of the rate after ``warmup``, the share of all steps in which it rises: a "cosine" to 0, or "constant".
    patience : stop after so many epochs without a better validation loss; None never stops early.
    clip : largest gradient norm.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(40, gt=0)
    batch_size: int = Field(128, gt=1)
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float = Field(0.05, ge=0, lt=1)
    patience: int | None = Field(None, gt=0)
    clip: float = Field(1.0, gt=0)


class Training(Stage):
    """How a method is trained.

    Parameters
    ----------
    epochs, batch_size, lr, weight_decay, warmup, patience, clip : of every gradient stage, see `Stage`.
    stages : by the name of a stage, what is otherwise there.
    """

    stages: dict[str, dict[str, Any]] = Field(default_factory=dict)

    def of(self, stage: str) -> Stage:
        """The settings of one stage."""
        try:
            return Stage(**{**self.model_dump(exclude={"stages"}), **self.stages.get(stage, {})})
        except ValidationError as error:
            fault = error.errors()[0]
            key = str(fault["loc"][0])
            fix = nearest(key, Stage.model_fields) if fault["type"] == "extra_forbidden" else fault["msg"]
            raise PhospheneError(f"training.stages.{stage}.{key}: {fix}") from None

    def check(self, stages: Collection[str], method: str) -> None:
        """Refuse settings of a stage that the method does not train."""
        for stage in self.stages:
            if stage not in stages:
                raise PhospheneError(f"training.stages: '{method}' trains no '{stage}': {nearest(stage, stages)}")
            self.of(stage)


class _Samples(torch.utils.data.Dataset):
    """Trials with their target vectors, fetched by whole batches of indices; ``inputs`` stand in place of the EEG."""

    def __init__(self, trials: Trials, tables: dict[str, TargetTable], inputs: Tensor | None = None):
        self.eeg, self.tables, self.inputs = trials.eeg, tables, inputs
        names = trials.table["stimulus"].to_list()
        self.subject = trials.table["subject"].to_list()
        order = {name: i for i, name in enumerate(dict.fromkeys(names))}
        self.stimulus = torch.tensor([order[n] for n in names])
        self.rows = {key: table.rows(names) for key, table in tables.items()}

    def __len__(self) -> int:
        return len(self.eeg)

    def __getitems__(self, index: list[int]) -> dict[str, Any]:
        batch = {key: table.vectors[self.rows[key][index]] for key, table in self.tables.items()}
        if self.inputs is None:
            batch["eeg"] = torch.from_numpy(np.asarray(self.eeg[index]))
        else:
            batch["inputs"] = self.inputs[index]
        return {"stimulus": self.stimulus[index], "subject": [self.subject[i] for i in index], **batch}


def fit(
    method: Method,
    train: Trials,
    val: Trials | None = None,
    *,
    settings: Training | None = None,
    select_on: str = "val",
    seed: int = 0,
    folder: str | Path | None = None,
    cache: str | Path | None = None,
    log: Callable[[dict[str, Any]], None] = lambda row: None,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Method:
    """Fit every stage of a method, in order.

    Parameters
    ----------
    train, val : disjoint trials; ``val`` may only select the epoch, and no test trial ever comes here.
    settings : see `Training`.
    select_on : "val" keeps the epoch with the smallest validation loss, "last" the last one. "test" does not exist.
    seed : of initialisation-independent randomness: order of the trials and dropout.
    folder : where checkpoints go; a call with the same folder continues where the last one stopped, to the same end.
    cache : folder of target tables, see `Target.table`.
    log : hears a dict for each epoch.
    progress : hears (stage, epochs done, epochs in all).

    Returns
    -------
    The method, in evaluation mode.
    """
    if select_on not in ("val", "last"):
        raise PhospheneError(f"select_on is '{select_on}': valid: val, last")
    if len(train) == 0:
        raise PhospheneError("there is no training trial: check protocol.split")
    settings = settings or Training()
    settings.check([stage for stage in method.stages if stage not in method.solved], method.name)
    used = set(train.table["stimulus"]) | (set() if val is None else set(val.table["stimulus"]))
    stimuli = train.stimuli[train.stimuli.index.isin(used)]
    tables = {name: target.table(stimuli, cache) for name, target in method.targets().items()}
    for stage in method.stages:
        if stage in method.solved:
            method.solve(stage, train, tables)
            log({"stage": stage, "epoch": 1})
            continue
        samples = _Samples(train, tables, method.inputs(stage, train))
        held = None if val is None or len(val) == 0 else _Samples(val, tables, method.inputs(stage, val))
        method.begin(stage, train, tables, samples.inputs)
        _descend(
            method, stage, samples, held, settings.of(stage), select_on, seed,
            None if folder is None else Path(folder) / stage, log, progress,
        )  # fmt: skip
    return method.eval()


def _descend(
    method: Method,
    stage: str,
    train: _Samples,
    val: _Samples | None,
    settings: Stage,
    select_on: str,
    seed: int,
    folder: Path | None,
    log: Callable[[dict[str, Any]], None],
    progress: Callable[[str, int, int], None],
) -> None:
    """One gradient stage. Each epoch's randomness depends on (seed, epoch) alone, so that resuming changes nothing."""
    accelerator = Accelerator(dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True))
    loader = DataLoader(
        train, batch_size=min(settings.batch_size, len(train)), shuffle=True, drop_last=True, collate_fn=lambda b: b,
        generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(_groups(method.trained(stage), settings.weight_decay), lr=settings.lr)
    model, optimizer, loader = accelerator.prepare(method, optimizer, loader)
    total = settings.epochs * len(loader)
    warmup, falls = max(1, int(settings.warmup * total)), settings.schedule == "cosine"

    def rate(step: int) -> float:
        later = 0.5 * (1 + math.cos(math.pi * min(1.0, step / total))) if falls else 1.0
        return min(1.0, (step + 1) / warmup) * later

    state: dict[str, Any] = {"epoch": 0, "best": math.inf, "best_epoch": 0}
    best: dict[str, Tensor] = {}
    if folder is not None and (folder / "state.json").is_file():
        state = read_json(folder / "state.json")
        try:
            accelerator.load_state(str(folder / "last"))
            if (folder / "best.safetensors").is_file():
                best = load_file(folder / "best.safetensors")
        except Exception as error:  # a damaged file leads each reader to errors of its own; weights are never unpickled
            line = " ".join(str(error).split())[:200] or type(error).__name__
            raise PhospheneError(f"{folder} cannot be read ({line}): remove it, and this stage trains anew") from None
    while state["epoch"] < settings.epochs and not _stalled(state, settings.patience):
        epoch = state["epoch"]
        set_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))
        loader.set_epoch(epoch)
        model.train()
        sums: dict[str, float] = {}
        for i, batch in enumerate(loader):
            for group in optimizer.param_groups:
                group["lr"] = settings.lr * rate(epoch * len(loader) + i)
            losses = model(batch, stage)
            accelerator.backward(losses["loss"])
            accelerator.clip_grad_norm_(model.parameters(), settings.clip)
            optimizer.step()
            optimizer.zero_grad()
            for key, value in losses.items():
                sums[key] = sums.get(key, 0.0) + float(value.detach())
        row = {key: value / len(loader) for key, value in sums.items()}
        if not math.isfinite(row["loss"]):
            raise PhospheneError(
                f"the loss of stage '{stage}' is {row['loss']} at epoch {epoch + 1}: lower training.lr"
            )
        if val is not None:
            row["val_loss"] = _validate(method, stage, val, settings.batch_size, accelerator.device)
            if row["val_loss"] < state["best"]:
                state.update(best=row["val_loss"], best_epoch=epoch + 1)
                best = {k: v.detach().cpu().clone() for k, v in method.state_dict().items()}
        state["epoch"] = epoch + 1
        log({"stage": stage, "epoch": epoch + 1, **row})
        progress(stage, epoch + 1, settings.epochs)
        if folder is not None and accelerator.is_main_process:
            _checkpoint(accelerator, folder, state, best)
    if select_on == "val" and best:
        method.load_state_dict(best)


def _checkpoint(accelerator: Accelerator, folder: Path, state: dict[str, Any], best: dict[str, Tensor]) -> None:
    """Replace the stage's folder in one move: a kill leaves the old checkpoint or the new one, never a mixture."""
    with whole(folder) as part:
        accelerator.save_state(str(part / "last"))
        if best:
            save_file(best, part / "best.safetensors")
        write_json(part / "state.json", state)


def _stalled(state: dict[str, Any], patience: int | None) -> bool:
    return patience is not None and state["epoch"] - state["best_epoch"] >= patience and math.isfinite(state["best"])


@torch.no_grad()
def _validate(method: Method, stage: str, val: _Samples, size: int, device: torch.device) -> float:
    """Mean loss over the validation trials, dropout off."""
    method.eval()
    sums, count = 0.0, 0
    for start in range(0, len(val), size):
        index = list(range(start, min(start + size, len(val))))
        batch = send_to_device(val.__getitems__(index), device)
        sums += float(method.training_step(batch, stage)["loss"]) * len(index)
        count += len(index)
    return sums / count


def _groups(trained: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; biases, norms and scales do not."""
    parameters = [p for p in trained if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
