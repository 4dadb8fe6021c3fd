"""A method: EEG to thumbnails by ridge regression, in closed form."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from my_lab.target import Thumbnail
from phosphene.eeg.trials import Trials
from phosphene.generators.base import Conditioning
from phosphene.methods.base import Method, in_batches
from phosphene.priors.ridge import RidgePrior
from phosphene.registry import register
from phosphene.settings import Count
from phosphene.targets.base import Target, TargetTable


@register("method", "thumbnails")
class Thumbnails(Method):
    """Every sample of every channel, one ridge regression, the pixels of a thumbnail.

    Parameters
    ----------
    n_chans, n_times : shape of a trial.
    side : of the thumbnail, pixels.
    """

    name = "thumbnails"
    stages = solved = ("fit",)
    citation = "an example"

    def __init__(self, n_chans: Count, n_times: Count, *, side: Count = 8):
        super().__init__()
        self.space = Thumbnail(side)
        self.map = RidgePrior(n_chans * n_times, 3 * side * side)

    @classmethod
    def drawn_from(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {"image_embeds": 3 * arguments["side"] ** 2}

    def targets(self) -> dict[str, Target]:
        return {"image": self.space}

    def solve(self, stage: str, trials: Trials, tables: dict[str, TargetTable]) -> None:
        eeg = torch.cat(list(in_batches(lambda part, _: part.flatten(1), trials, "cpu")))
        self.map.fit(eeg, tables["image"][trials.table["stimulus"]])

    def encode(self, trials: Trials) -> dict[str, Tensor]:
        parts = in_batches(lambda part, _: self.map(part.flatten(1)), trials, "cpu")
        return {"image": torch.cat(list(parts))}

    def condition(self, trials: Trials) -> Conditioning:
        return Conditioning(image_embeds=self.encode(trials)["image"])
