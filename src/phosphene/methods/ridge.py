"""Ridge regression into CLIP's image space: the linear baseline of every picture decoder."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene import runtime
from phosphene.backbones.table import ClipRow, width_of
from phosphene.eeg.trials import Trials
from phosphene.errors import PhospheneError
from phosphene.generators.base import Conditioning
from phosphene.methods.base import Method, in_batches
from phosphene.priors.ridge import RidgePrior
from phosphene.registry import register
from phosphene.settings import Count, Hertz, Penalties
from phosphene.targets.base import Target, TargetTable
from phosphene.targets.clip import CLIPImage


@register("method", "ridge")
class Ridge(Method):
    """Mean amplitudes in time bins, a shrunk linear map to image embeddings, in closed form (ours).

    What was decoded and pictures are compared as they differ from the mean picture of the training, since the shrunk
    answer is close to that mean.

    Parameters
    ----------
    n_chans, n_times, sfreq : the trials' shape and rate (Hz).
    backbone : CLIP row of the backbone table, the target space.
    bin_samples : samples averaged into one feature; a remainder at the end is left out.
    alphas : penalties to choose from, see `RidgePrior`.
    """

    name = "ridge"
    stages: tuple[str, ...] = ("align",)
    solved: tuple[str, ...] = ("align",)
    citation = (
        "Hoerl & Kennard (1970). Ridge regression: biased estimation for nonorthogonal problems. Technometrics 12, "
        "55-67."
    )

    def __init__(
        self,
        n_chans: Count,
        n_times: Count,
        sfreq: Hertz | None = None,
        *,
        backbone: ClipRow = "mini",
        bin_samples: Count = 3,
        alphas: Penalties = (0.01, 0.1, 1.0, 10.0, 100.0),
    ):
        super().__init__()
        if not 1 <= bin_samples <= n_times:
            raise PhospheneError(f"bin_samples is {bin_samples}: choose 1 to {n_times}, the samples of a trial")
        self.space, self.bin_samples = CLIPImage(backbone), bin_samples
        self.map = RidgePrior(n_chans * (n_times // bin_samples), self.space.dim, tuple(alphas))

    @classmethod
    def drawn_from(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {"image_embeds": width_of(arguments["backbone"])}

    def targets(self) -> dict[str, Target]:
        return {"image": self.space}

    def heads(self, eeg: Tensor, subject: Sequence[str] | None = None) -> dict[str, Tensor]:
        """``{"image": (batch, dim)}`` of (batch, n_chans, n_times), differentiable."""
        return {"image": self.map(self._binned(eeg))}

    def _binned(self, eeg: Tensor) -> Tensor:
        return F.avg_pool1d(eeg, self.bin_samples).flatten(1)

    def solve(self, stage: str, trials: Trials, tables: dict[str, TargetTable]) -> None:
        features = torch.cat(list(in_batches(lambda eeg, _: self._binned(eeg), trials, "cpu")))
        self.map.fit(features, tables["image"][trials.table["stimulus"]])

    @torch.inference_mode()
    def encode(self, trials: Trials) -> dict[str, Tensor]:
        """``{"image": (n_trials, dim)}``, full image embeddings."""
        parts = in_batches(lambda eeg, _: self.heads(eeg)["image"].cpu(), trials, runtime.home(self))
        return {"image": torch.cat([torch.empty(0, self.space.dim), *parts])}

    def points(self, heads: Mapping[str, Tensor]) -> Tensor:
        return heads["image"] - self.map.mean_out.cpu()

    def pictures(self, stimuli: pd.DataFrame) -> Tensor:
        return self.space.table(stimuli).vectors - self.map.mean_out.cpu()

    def condition(self, trials: Trials) -> Conditioning:
        return Conditioning(image_embeds=self.encode(trials)["image"])
