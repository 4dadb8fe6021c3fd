"""The NICE encoder: temporal-spatial convolution and a residual projector."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from phosphene.encoders.base import Encoder, Residual
from phosphene.errors import PhospheneError
from phosphene.registry import register


class PatchEmbedding(nn.Module):
    """Temporal convolution, pooling, spatial convolution: (batch, 1, n_chans, n_times) -> (batch, steps, 40)."""

    def __init__(self, n_chans: int, kernel: int, pool: int, stride: int, dropout: float, width: int = 40):
        super().__init__()
        self.tsconv = nn.Sequential(
            nn.Conv2d(1, width, (1, kernel)),
            nn.AvgPool2d((1, pool), (1, stride)),
            nn.BatchNorm2d(width),
            nn.ELU(),
            nn.Conv2d(width, width, (n_chans, 1)),
            nn.BatchNorm2d(width),
            nn.ELU(),
            nn.Dropout(dropout),
        )
        self.projection = nn.Sequential(nn.Conv2d(width, width, (1, 1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(self.tsconv(x)).squeeze(2).transpose(1, 2)


@register("encoder", "nice")
class NICEEncoder(Encoder):
    """NICE's TSConv encoder with its projector (Song et al., ICLR 2024, arXiv 2308.13234, section 3).

    (batch, n_chans, n_times) -> temporal convolution of 40 filters, average pooling, spatial convolution over all
    channels, 1x1 convolution, flattened time-major -> Linear, residual (GELU, Linear, dropout), LayerNorm.

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
        n_chans: int,
        n_times: int,
        n_outputs: int,
        sfreq: float | None = None,
        chs_info: Sequence[dict[str, Any]] | None = None,
        *,
        kernel: int = 25,
        pool: int = 51,
        stride: int = 5,
        dropout: float = 0.5,
        projector_dropout: float = 0.5,
    ):
        super().__init__(n_chans, n_times, n_outputs, sfreq, chs_info)
        steps = (n_times - kernel + 1 - pool) // stride + 1
        if n_times - kernel + 1 < pool:
            raise PhospheneError(
                f"{n_times} samples are too few for kernel {kernel} and pool {pool}: lower them or lengthen the window"
            )
        self.enc_eeg = nn.Sequential(PatchEmbedding(n_chans, kernel, pool, stride, dropout), nn.Flatten())
        self.proj_eeg = nn.Sequential(
            nn.Linear(40 * steps, n_outputs),
            Residual(nn.Sequential(nn.GELU(), nn.Linear(n_outputs, n_outputs), nn.Dropout(projector_dropout))),
            nn.LayerNorm(n_outputs),
        )

    def forward(self, eeg: Tensor) -> Tensor:
        self.check(eeg)
        embedding: Tensor = self.proj_eeg(self.enc_eeg(torch.unsqueeze(eeg, 1)))
        return embedding
