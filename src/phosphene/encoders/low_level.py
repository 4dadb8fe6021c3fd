"""From EEG to the latents of an autoencoder: the published decoder, and a small one of our own.

Both map to a grid, not to a vector, and are built for a ``shape`` where an encoder is built for ``n_outputs``; so they
are no registered encoders, and are built by `low_level`.
"""

from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phosphene.encoders.base import Encoder
from phosphene.errors import PhospheneError, nearest
from phosphene.registry import ArgumentsOf, checked
from phosphene.settings import Count, DropoutRate, Hertz
from phosphene.utils.restricted import read_torch

#: losses of predicted and true latents by name: that of the paper's code, and that of its text
LATENT_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l1": F.l1_loss, "mse": F.mse_loss}

RELEASES = {"v3": "subject_linear", "v2": "subject_wise_linear"}  # and what their state dicts call the Linear


class LowLevel(Encoder):
    """Base of both: ``(batch, n_chans, n_times)`` -> ``(batch, channels, height, width)``.

    Parameters
    ----------
    n_chans, n_times, sfreq, chs_info : see `Encoder`.
    shape : (channels, height, width) of a latent.
    """

    def __init__(
        self,
        n_chans: int,
        n_times: int,
        shape: Sequence[int] = (4, 64, 64),
        sfreq: float | None = None,
        chs_info: Sequence[dict[str, Any]] | None = None,
    ):
        if len(shape) != 3 or min(shape) < 1:
            raise PhospheneError(f"shape is {tuple(shape)}: give (channels, height, width) of a latent")
        super().__init__(n_chans, n_times, prod(shape), sfreq, chs_info)
        self.shape = (int(shape[0]), int(shape[1]), int(shape[2]))

    def observe(self, latents: Tensor) -> None:
        """What a decoder must know of the training latents (n, *shape) before it is trained; nothing by default."""


class FromPoint(nn.ConvTranspose2d):
    """A transposed convolution (stride 2, padding 1) of one point, as one matrix product.

    The outermost taps of its kernel fall outside the output: of a 4 x 4 kernel 12 of 16 are never used.
    """

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(batch, width, 1, 1) -> (batch, n_filters, height, width)."""
        taps = self.weight[:, :, 1:-1, 1:-1]
        out = (x.flatten(1) @ taps.flatten(1)).unflatten(1, taps.shape[1:])
        return out if self.bias is None else out + self.bias[:, None, None]


class PublishedLowLevel(LowLevel):
    """ATM's low-level decoder (Li et al., NeurIPS 2024, arXiv 2403.07721), in the shapes of its code.

    (batch, n_chans, n_times) -> every channel's samples by one Linear to 128, dropout, flattened channel-major to one
    point -> transposed convolutions (kernel 4, stride 2, padding 1; batch norm, ReLU), each doubling the side, of
    ``width``, half of it, and so on -> 1 x 1 convolution(s).

    Parameters
    ----------
    n_chans, n_times, shape, sfreq, chs_info : see `LowLevel`. Sides are as often doubled as both allow;
        where an odd number is left of one (96 = 3 x 32), the first kernel is larger (ours).
    release : "v3", or "v2" of 2024: one more convolution at the end, and no dropout (declared and never applied).
    width : of the first convolution; 1024 as published.
    dropout : of v3, after the Linear; 0.5 as published.

    Notes
    -----
    State-dict names are the published ones. For 63 x 250 -> 4 x 64 x 64 there are 143,332,773 (v3) and 143,333,269 (v2)
    parameters, an unused `logit_scale` included, which is not here. 99,090,432 of them, the outer taps of the first
    kernel, never reach the output (`FromPoint`).
    """

    def __init__(
        self,
        n_chans: Count,
        n_times: Count,
        shape: Sequence[Count] = (4, 64, 64),
        sfreq: Hertz | None = None,
        chs_info: Sequence[dict[str, Any]] | None = None,
        *,
        release: str = "v3",
        width: Count = 1024,
        dropout: DropoutRate = 0.5,
    ):
        super().__init__(n_chans, n_times, shape, sfreq, chs_info)
        if release not in RELEASES:
            raise PhospheneError(f"unknown release '{release}' of the low-level decoder: {nearest(release, RELEASES)}")
        channels, *side = self.shape
        doublings = min((n & -n).bit_length() - 1 for n in side)
        if doublings < 1:
            raise PhospheneError(f"latents of {side[0]} x {side[1]}: give sides that are even (a power of two is best)")
        if width < 1 << doublings:
            raise PhospheneError(f"width is {width}: it is halved {doublings} times, give {1 << doublings} or more")
        self.release = release
        self.add_module(RELEASES[release], nn.ModuleList([nn.Linear(n_times, 128)]))
        self.dropout = nn.Dropout(dropout if release == "v3" else 0.0)
        first = (2 * (side[0] >> doublings) + 2, 2 * (side[1] >> doublings) + 2)
        layers = [FromPoint(128 * n_chans, width, first, 2, 1), nn.BatchNorm2d(width), nn.ReLU()]
        for _ in range(doublings - 1):
            layers += [nn.ConvTranspose2d(width, width // 2, 4, 2, 1), nn.BatchNorm2d(width // 2), nn.ReLU()]
            width //= 2
        if release == "v2":
            layers += [nn.ConvTranspose2d(width, width // 2, 1), nn.BatchNorm2d(width // 2), nn.ReLU()]
            width //= 2
        self.upsampler = nn.Sequential(*layers, nn.ConvTranspose2d(width, channels, 1))

    def forward(self, eeg: Tensor) -> Tensor:
        """(batch, n_chans, n_times) -> (batch, channels, height, width)."""
        self.check(eeg)
        tokens = self.dropout(self.get_submodule(f"{RELEASES[self.release]}.0")(eeg))
        latents: Tensor = self.upsampler(tokens.flatten(1)[:, :, None, None])
        return latents

    @classmethod
    def from_published(cls, path: str | Path) -> "PublishedLowLevel":
        """The decoder of a published checkpoint; release and every size are read from its state dict.

        Raises
        ------
        PhospheneError : the file holds no such decoder, or holds code.
        """
        state = read_torch(path)
        try:
            states = {str(key).removeprefix("module."): torch.tensor(value) for key, value in state.items()}
            states.pop("logit_scale", None)
            release = next(release for release, name in RELEASES.items() if f"{name}.0.weight" in states)
            kernels = [value.shape for key, value in states.items() if key.startswith("upsampler.") and value.ndim == 4]
            side = [(n - 2) << (sum(k[2] > 1 for k in kernels) - 1) for n in kernels[0][2:]]
            n_times = states[f"{RELEASES[release]}.0.weight"].shape[1]
            model = cls(kernels[0][0] // 128, n_times, (kernels[-1][1], *side), release=release, width=kernels[0][1])
            model.load_state_dict(states)
        except (ValueError, RuntimeError, TypeError, AttributeError, LookupError, StopIteration) as error:
            raise PhospheneError(
                f"{path} holds no low-level decoder ({error or 'other names'}): give the checkpoint of ATM's"
            ) from None
        return model.eval()


class SmallLowLevel(LowLevel):
    """A low-rank decoder (ours): what EEG says of the main ways in which the training pictures' latents differ.

    (batch, n_chans, n_times) -> every channel's samples by one Linear to ``n_steps``, flattened, dropout -> Linear to
    ``rank`` scores -> the mean of the training latents, and as many of their principal components, each scaled by its
    standard deviation; both are solved by `observe` and not trained.

    Parameters
    ----------
    n_chans, n_times, shape, sfreq, chs_info : see `LowLevel`; any sides.
    n_steps : what is kept of every channel's samples.
    rank : principal components, at most; fewer where there are fewer training latents.
    dropout : on the flattened steps.

    Notes
    -----
    63 x 250 -> 4 x 64 x 64 takes 266,176 trained parameters, and 2,113,536 numbers that are solved.
    """

    mean: Tensor
    basis: Tensor

    def __init__(
        self,
        n_chans: Count,
        n_times: Count,
        shape: Sequence[Count] = (4, 64, 64),
        sfreq: Hertz | None = None,
        chs_info: Sequence[dict[str, Any]] | None = None,
        *,
        n_steps: Count = 32,
        rank: Count = 128,
        dropout: DropoutRate = 0.5,
    ):
        super().__init__(n_chans, n_times, shape, sfreq, chs_info)
        self.steps = nn.Linear(n_times, n_steps, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.scores = nn.Linear(n_chans * n_steps, rank)
        self.register_buffer("mean", torch.zeros(self.shape))
        self.register_buffer("basis", torch.zeros(rank, self.n_outputs))

    def forward(self, eeg: Tensor) -> Tensor:
        """(batch, n_chans, n_times) -> (batch, channels, height, width); after `observe`, or with loaded weights."""
        self.check(eeg)
        if not self.basis.any():
            raise PhospheneError("the decoder has no latents yet: call observe(training latents) before training")
        scores = self.scores(self.dropout(self.steps(eeg).flatten(1)))
        return self.mean + (scores @ self.basis).unflatten(1, self.shape)

    @torch.no_grad()
    def observe(self, latents: Tensor) -> None:
        """Mean and principal components of the training latents, (n, *shape), each picture once.

        Raises
        ------
        PhospheneError : latents of another shape, or all alike.
        """
        from sklearn.decomposition import PCA

        if tuple(latents.shape[1:]) != self.shape or len(latents) < 2:
            raise PhospheneError(
                f"latents {tuple(latents.shape)}: give (n, {', '.join(map(str, self.shape))}), n above 1"
            )
        flat = latents.flatten(1).double().cpu().numpy()
        if np.ptp(flat, axis=0).max() < 1e-6:
            raise PhospheneError("the training latents are all alike: give those of different pictures")

        found = PCA(min(len(self.basis), len(flat) - 1, self.n_outputs), random_state=0).fit(flat)
        spread = np.sqrt(found.explained_variance_)
        self.mean.copy_(torch.from_numpy(found.mean_).unflatten(0, self.shape))
        self.basis.zero_()
        self.basis[: len(spread)] = torch.from_numpy(found.components_ * spread[:, None]).to(self.basis)


LOW_LEVEL: dict[str, type[LowLevel]] = {"small": SmallLowLevel, "published": PublishedLowLevel}
LowLevelArguments = Annotated[
    dict[str, Any] | None, ArgumentsOf("low_level", LOW_LEVEL.get, ("n_chans", "n_times", "shape", "sfreq", "chs_info"))
]


def low_level(name: str, **arguments: Any) -> LowLevel:
    """A low-level decoder by name: ``low_level("small", n_chans=63, n_times=250, shape=(4, 64, 64))``.

    Raises
    ------
    PhospheneError : an unknown name or argument; the message names the nearest valid one.
    """
    if name not in LOW_LEVEL:
        raise PhospheneError(f"unknown low-level decoder '{name}': {nearest(name, LOW_LEVEL)}")
    cls = LOW_LEVEL[name]
    return cls(**checked(cls, arguments, f"low-level decoder '{name}'"))
