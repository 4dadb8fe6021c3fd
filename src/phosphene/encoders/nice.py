"""The NICE encoder: temporal-spatial convolution and a residual projector."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from phosphene.encoders.base import Encoder, projector
from phosphene.encoders.tsconv import TSConv
from phosphene.registry import register
from phosphene.settings import Count, DropoutRate, Hertz


@register("encoder", "nice")
class NICEEncoder(Encoder):
    """NICE's TSConv encoder with its projector (Song et al., ICLR 2024, arXiv 2308.13234, section 3).

    (batch, n_chans, n_times) -> temporal convolution of 40 filters, average pooling, spatial convolution over all
    channels, 1x1 convolution (`TSConv`), flattened time-major -> Linear, residual (GELU, Linear, dropout), LayerNorm.

    Parameters
    ----------
    n_chans, n_times, n_outputs, sfreq, chs_info : see `Encoder`.
    kernel, pool, stride : samples. The published values (25, 51, 5) are for 250 samples at 250 Hz.
    dropout, projector_dropout : the published 0.5 and 0.5.

    Notes
    -----
    State-dict names and parameter counts are the published ones (1,802,496 for 63 x 250 -> 768), so that published
    checkpoints load.
    """

    def __init__(
        self,
        n_chans: Count,
        n_times: Count,
        n_outputs: Count,
        sfreq: Hertz | None = None,
        chs_info: Sequence[dict[str, Any]] | None = None,
        *,
        kernel: Count = 25,
        pool: Count = 51,
        stride: Count = 5,
        dropout: DropoutRate = 0.5,
        projector_dropout: DropoutRate = 0.5,
    ):
        super().__init__(n_chans, n_times, n_outputs, sfreq, chs_info)
        conv = TSConv(n_chans, n_times, kernel, pool, stride, dropout)
        self.enc_eeg = nn.Sequential(conv, nn.Flatten())
        self.proj_eeg = projector(conv.steps * conv.width, n_outputs, projector_dropout)

    def forward(self, eeg: Tensor) -> Tensor:
        self.check(eeg)
        embedding: Tensor = self.proj_eeg(self.enc_eeg(eeg))
        return embedding
