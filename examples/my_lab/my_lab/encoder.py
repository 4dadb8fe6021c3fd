"""An encoder: spatial filters, power in time windows, its logarithm, a linear map."""

import torch
from torch import Tensor, nn

from phosphene.encoders.base import Encoder
from phosphene.registry import register
from phosphene.settings import Count, Hertz


@register("encoder", "log_power")
class LogPower(Encoder):
    """The logarithm of the power of learned spatial filters, in windows of time.

    Parameters
    ----------
    n_chans, n_times, n_outputs, sfreq, chs_info : see `Encoder`.
    n_filters : spatial filters.
    n_windows : windows of equal length.
    """

    def __init__(
        self,
        n_chans: Count,
        n_times: Count,
        n_outputs: Count,
        sfreq: Hertz | None = None,
        chs_info: list | None = None,
        *,
        n_filters: Count = 16,
        n_windows: Count = 8,
    ):
        super().__init__(n_chans, n_times, n_outputs, sfreq, chs_info)
        self.filters = nn.Conv1d(n_chans, n_filters, 1, bias=False)
        self.windows = nn.AdaptiveAvgPool1d(min(n_windows, n_times))
        self.out = nn.Linear(n_filters * min(n_windows, n_times), n_outputs)

    def forward(self, eeg: Tensor) -> Tensor:
        """(batch, n_chans, n_times) -> (batch, n_outputs)."""
        self.check(eeg)
        power = self.windows(self.filters(eeg).square())
        return self.out(torch.log(power + 1e-6).flatten(1))
