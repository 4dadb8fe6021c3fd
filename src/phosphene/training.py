"""How methods are trained: the settings of their stages, and `fit`, which runs them in order."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from torch import Tensor

from phosphene import processes
from phosphene.descent import descend
from phosphene.errors import PhospheneError, nearest
from phosphene.methods.base import Method
from phosphene.targets.base import TargetTable
from phosphene.trials import Trials


class Stage(BaseModel):
    """How a gradient stage is trained.

    Parameters
    ----------
    epochs : passes over the training trials.
    batch_size : trials at a time, in all processes together.
    accumulate : batches whose mean gradient makes one step; an epoch's last step is of those that are left.
    lr, betas, weight_decay : AdamW.
    decays : what decays: "matrices" (biases, norms and scales do not) or "all".
    schedule : of the rate after ``warmup``, the share of all steps in which it rises: a "cosine" to 0, or "constant".
    patience : stop after so many epochs without a better validation loss; None never stops early.
    clip : largest gradient norm.
    precision : "no" is float32; "bf16" or "fp16" (on a GPU) computes in mixed precision, weights stay float32.
    ema : decay of an average of the trained parameters over the steps (diffusers' `EMAModel`, whose decay rises to
        this value). The average is what is validated, selected and left in the method; None keeps none.
    checkpoint_every : steps from one checkpoint to the next; None writes one after each epoch.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(40, gt=0)
    batch_size: int = Field(128, gt=1)
    accumulate: int = Field(1, gt=0)
    lr: float = Field(1e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(1e-2, ge=0)
    decays: Literal["matrices", "all"] = "matrices"
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float = Field(0.05, ge=0, lt=1)
    patience: int | None = Field(None, gt=0)
    clip: float = Field(1.0, gt=0)
    precision: Literal["no", "bf16", "fp16"] = "no"
    ema: float | None = Field(None, gt=0, lt=1)
    checkpoint_every: int | None = Field(None, gt=0)

    @field_validator("betas")
    @classmethod
    def _below_one(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError("each of the two should be at least 0 and below 1")
        return betas

    @field_validator("precision", mode="before")
    @classmethod
    def _spelled(cls, precision: Any) -> Any:
        """YAML reads a bare no as false."""
        return "no" if precision is False else precision


class Training(Stage):
    """How a method is trained.

    Parameters
    ----------
    epochs, batch_size, accumulate, lr, betas, weight_decay, decays, schedule, warmup, patience, clip, precision, ema,
    checkpoint_every : of every gradient stage, see `Stage`.
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


class Samples(torch.utils.data.Dataset):
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
    log : hears a dict for each epoch, again for one that was not yet in a checkpoint; only in the main process.
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
    with processes.main_first():  # it fills the cache
        tables = {name: target.table(stimuli, cache) for name, target in method.targets().items()}
    log = log if processes.is_main() else lambda row: None
    for stage in method.stages:
        if stage in method.solved:
            method.solve(stage, train, tables)
            log({"stage": stage, "epoch": 1})
            continue
        own = {name: tables[name] for name in method.wanted(stage)}
        samples = Samples(train, own, method.inputs(stage, train))
        held = None if val is None or len(val) == 0 else Samples(val, own, method.inputs(stage, val))
        method.begin(stage, train, tables, samples.inputs)
        descend(
            method, stage, samples, held, settings.of(stage), select_on, seed,
            None if folder is None else Path(folder) / stage, log, progress,
        )  # fmt: skip
    return method.eval()
