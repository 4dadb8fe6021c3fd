"""`Encoder`: EEG to vectors, in braindecode's constructor words."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from phosphene.errors import PhospheneError


class Encoder(nn.Module):
    """Base of every encoder: ``(batch, n_chans, n_times)`` -> ``(batch, n_outputs)``.

    Parameters
    ----------
    n_chans : number of channels.
    n_times : number of samples.
    n_outputs : length of the vector.
    sfreq : sampling rate, Hz; for encoders whose kernels are given in seconds.
    chs_info : `mne.Info["chs"]`-like list; for encoders that use electrode positions.
    """

    def __init__(
        self,
        n_chans: int,
        n_times: int,
        n_outputs: int,
        sfreq: float | None = None,
        chs_info: Sequence[dict[str, Any]] | None = None,
    ):
        super().__init__()
        self.n_chans, self.n_times, self.n_outputs, self.sfreq = n_chans, n_times, n_outputs, sfreq

    def check(self, eeg: Tensor) -> None:
        """Refuse EEG of another shape than the encoder was built for."""
        if eeg.ndim != 3 or eeg.shape[1:] != (self.n_chans, self.n_times):
            raise PhospheneError(
                f"the encoder was built for (batch, {self.n_chans}, {self.n_times}) and was given {tuple(eeg.shape)}: "
                "use trials with the same channels, rate and window"
            )


class Residual(nn.Module):
    """``x + branch(x)``; ``name`` is what published checkpoints call the branch."""

    def __init__(self, branch: nn.Module, name: str = "fn"):
        super().__init__()
        self.name = name
        self.add_module(name, branch)

    def forward(self, x: Tensor) -> Tensor:
        moved: Tensor = x + self.get_submodule(self.name)(x)
        return moved


def projector(n_inputs: int, n_outputs: int, dropout: float, name: str = "fn") -> nn.Sequential:
    """Linear, residual (GELU, Linear, dropout), LayerNorm: the end of published encoders; ``name`` as in `Residual`."""
    return nn.Sequential(
        nn.Linear(n_inputs, n_outputs),
        Residual(nn.Sequential(nn.GELU(), nn.Linear(n_outputs, n_outputs), nn.Dropout(dropout)), name),
        nn.LayerNorm(n_outputs),
    )


class Dropout(nn.Dropout):
    """`torch.nn.Dropout` with a mask that costs a third as much on a CPU: 16 random bits for each entry.

    The rate is rounded to 1 / 65,536, and what is kept is scaled by that rate, so that the expectation stays.
    """

    def forward(self, x: Tensor) -> Tensor:
        cut = round(self.p * 65536)
        if not self.training or x.device.type != "cpu" or not 0 < cut < 65536:
            return super().forward(x)
        bits = torch.empty(x.numel() // 4 + 1, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
        keep = bits[: x.numel()].view(x.shape) >= cut - 32768
        return x * keep.to(x.dtype).mul_(65536 / (65536 - cut))


def trials_at_once(x: Tensor) -> int:
    """How many trials to multiply at a time: few on a CPU, where what lies between two products stays in the cache."""
    return 16 if x.device.type == "cpu" else max(len(x), 1)
