"""What a gradient stage of a method is given: settings and samples."""

from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor
from torch.utils.data import Dataset

from phosphene.eeg.trials import Trials
from phosphene.settings import Count, Positive, Settings, Weight
from phosphene.targets.base import TargetTable


class Stage(Settings):
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

    epochs: Count = 40
    batch_size: int = Field(128, gt=1, le=10_000_000)
    accumulate: Count = 1
    lr: float = Field(1e-3, gt=0, le=1000)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: Weight = 1e-2
    decays: Literal["matrices", "all"] = "matrices"
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float = Field(0.05, ge=0, lt=1)
    patience: Count | None = None
    clip: Positive = 1.0
    precision: Literal["no", "bf16", "fp16"] = "no"
    ema: float | None = Field(None, gt=0, lt=1)
    checkpoint_every: Count | None = None

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


class Samples(Dataset[dict[str, Any]]):
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
