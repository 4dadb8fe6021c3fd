"""What a denoising network is trained on: noisy latents, what it shall predict of them, weights. Pure functions.

Times, noise and drops are drawn on the CPU, from the generator that is given or torch's own, so that they are the same
whatever the device.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from phosphene.errors import PhospheneError, nearest

TIMES = ("uniform", "late")


def scaled(latents: Tensor, autoencoder: Any) -> Tensor:
    """Latents as a denoising network reads them, from those that the autoencoder gives: shifted, then multiplied."""
    config = autoencoder.config
    moved = latents - (config.get("shift_factor") or 0.0)
    return moved * config.scaling_factor


def noised(clean: Tensor, noise: Tensor, time: Tensor, scheduler: Any) -> tuple[Tensor, Tensor]:
    """Latents with noise, and what the network shall predict of them.

    Parameters
    ----------
    clean, noise : (batch, channels, height, width)
    time : (batch,) of the scheduler's training: steps, or for flow_prediction any number up to their count.
    scheduler : a stock one; its ``prediction_type`` says what is predicted: the noise (epsilon), ``v_prediction``
        (Salimans and Ho 2022, arXiv 2202.00512, section 4) or ``flow_prediction`` (Lipman et al. 2023, arXiv
        2210.02747, section 4: noise less picture, along straight paths).

    Returns
    -------
    noisy, target : (batch, channels, height, width)

    Raises
    ------
    PhospheneError : a scheduler that predicts something else.
    """
    kept, laid = (part.to(clean)[:, None, None, None] for part in _shares(time, scheduler))
    target = {"epsilon": noise, "v_prediction": kept * noise - laid * clean, "flow_prediction": noise - clean}
    return kept * clean + laid * noise, target[_predicts(scheduler)]


def min_snr(time: Tensor, scheduler: Any, gamma: float) -> Tensor:
    """Weights of the squared error at each time: min(SNR, gamma), of the error of the clean latents (Hang et al. 2023,
    arXiv 2303.09556, section 3.4).

    Said of the prediction, that is min(SNR, gamma) / SNR for epsilon, min(SNR, gamma) / (SNR + 1) for v_prediction and,
    by the same argument (ours), min(SNR, gamma) times the squared share of noise for flow_prediction.

    Parameters
    ----------
    time : (batch,)
    gamma : above 0; SYNAPSE's 0.5 leaves weights of at most a third.

    Returns
    -------
    (batch,)
    """
    if not gamma > 0:
        raise PhospheneError(f"gamma is {gamma}: give a number above 0, or None for equal weights")
    kept, laid = (part.square() for part in _shares(time, scheduler))
    if _predicts(scheduler) == "epsilon":
        return (gamma * laid / kept).clamp(max=1)
    return torch.minimum(kept, gamma * laid)


def denoising_loss(
    predict: Callable[[Tensor, Tensor], Tensor],
    clean: Tensor,
    scheduler: Any,
    gamma: float | None = None,
    generator: torch.Generator | None = None,
    times: Literal["uniform", "late"] = "uniform",
) -> Tensor:
    """Mean squared error of what a network predicts at random times.

    Parameters
    ----------
    predict : noisy latents (batch, channels, height, width) and times (batch,) -> the prediction.
    clean : (batch, channels, height, width) latents, `scaled`.
    scheduler : a stock one of the network's backbone.
    gamma : of `min_snr`; None weighs all times alike.
    generator : of the CPU.
    times : "late" ones are as frequent as they are late (ours): where noise covers the picture, the condition decides.

    Returns
    -------
    Scalar: weighted mean over the batch, in float32.
    """
    if times not in TIMES:
        raise PhospheneError(f"unknown times '{times}': {nearest(times, TIMES)}")
    steps = int(scheduler.config.num_train_timesteps)
    share = torch.rand(len(clean), generator=generator)
    time = steps * (share.sqrt() if times == "late" else share)
    if _predicts(scheduler) != "flow_prediction":
        time = time.long().clamp(max=steps - 1)
    time, noise = time.to(clean.device), torch.randn(clean.shape, generator=generator).to(clean)
    noisy, target = noised(clean, noise, time, scheduler)
    error = (predict(noisy, time).float() - target.float()).square().mean((1, 2, 3))
    return (error if gamma is None else min_snr(time, scheduler, gamma) * error).mean()


def dropped(latent: Tensor, p: float, generator: torch.Generator | None = None) -> Tensor:
    """Latents of EEG (batch, n_tokens, dim), each all zeros with probability ``p``, which is no condition."""
    if not 0 <= p <= 1:
        raise PhospheneError(f"the probability of no condition is {p}: give 0 to 1")
    drop = torch.rand(len(latent), generator=generator) < p
    return latent.masked_fill(drop.to(latent.device)[:, None, None], 0.0)


def _shares(time: Tensor, scheduler: Any) -> tuple[Tensor, Tensor]:
    """What is kept of the picture and laid over it as noise: (batch,) each."""
    if _predicts(scheduler) == "flow_prediction":
        share = time.float() / scheduler.config.num_train_timesteps
        return 1 - share, share
    kept = scheduler.alphas_cumprod.to(time.device)[time]
    return kept.sqrt(), (1 - kept).sqrt()


def _predicts(scheduler: Any) -> str:
    predicts = str(scheduler.config.get("prediction_type"))
    if predicts not in ("epsilon", "v_prediction", "flow_prediction"):
        raise PhospheneError(f"a scheduler that predicts '{predicts}' trains nothing here: take a backbone's own")
    return predicts
