"""The projection encoder: all samples of all channels, one linear map, a residual block."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from phosphene.encoders.base import Encoder, projector
from phosphene.registry import register
from phosphene.settings import Count, DropoutRate, Hertz


@register("encoder", "projection")
class ProjectionEncoder(Encoder):
    """EEGProject of the Uncertainty-aware Blur Prior (Wu et al., CVPR 2025, arXiv 2503.04207).

    (batch, n_chans, n_times) -> flatten -> Linear -> residual (GELU, Linear, dropout) -> LayerNorm.

    Parameters
    ----------
    n_chans, n_times, n_outputs, sfreq, chs_info : see `Encoder`.
    dropout : within the residual branch; 0.3 as published.
    input_dropout : on the flattened samples before the first map (ours; 0 as published).

    Notes
    -----
    State-dict names follow the published ones (17,180,673 parameters for 63 x 250 -> 1024, its `logit_scale` included,
    which here belongs to the method).
    """

    def __init__(
        self,
        n_chans: Count,
        n_times: Count,
        n_outputs: Count,
        sfreq: Hertz | None = None,
        chs_info: Sequence[dict[str, Any]] | None = None,
        *,
        dropout: DropoutRate = 0.3,
        input_dropout: DropoutRate = 0.0,
    ):
        super().__init__(n_chans, n_times, n_outputs, sfreq, chs_info)
        self.input_dropout = nn.Dropout(input_dropout)
        self.model = projector(n_chans * n_times, n_outputs, dropout, name="f")

    def forward(self, eeg: Tensor) -> Tensor:
        self.check(eeg)
        embedding: Tensor = self.model(self.input_dropout(eeg.flatten(1)))
        return embedding
