"""`Encoder`: EEG to vectors, in braindecode's constructor words."""

from collections.abc import Sequence
from typing import Any

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
        return x + self.get_submodule(self.name)(x)
