"""Sampling embeddings from a denoising network: stock schedulers, guidance in one batch, noise of a row's own."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phosphene.backbones.samplers import known
from phosphene.errors import PhospheneError, nearest
from phosphene.networks.denoisers import Denoiser

#: the noise schedule of training (ATM, arXiv 2403.07721, released code)
SCHEDULE = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}

CLIPPING = ("ddpm", "ddim")  # those that can clip
PREDICTS = ("epsilon", "v_prediction")


def scheduler_of(
    sampler: str,
    steps: int,
    clip_sample: bool = False,
    predicts: str = "epsilon",
    device: torch.device | str | None = None,
) -> Any:
    """The stock scheduler of a sampler, its timesteps set.

    Parameters
    ----------
    sampler : one of `phosphene.backbones.samplers.SAMPLERS`.
    steps : 1 to 1000.
    clip_sample : clip the predicted embedding to -1 to 1 in each step; "ddpm" and "ddim" only.
    predicts : what the network gives, one of `PREDICTS`.

    Raises
    ------
    PhospheneError : an unknown sampler, one that cannot clip, or an impossible number of steps.
    """
    check_schedule(sampler, steps, clip_sample, predicts)
    import diffusers

    name, options = known(sampler)
    clip = {"clip_sample": clip_sample} if sampler in CLIPPING else {}
    scheduler = getattr(diffusers, name)(**SCHEDULE, **options, **clip, prediction_type=predicts)
    scheduler.set_timesteps(steps, device=device)
    return scheduler


def check_schedule(sampler: str, steps: int, clip_sample: bool, predicts: str) -> None:
    """Refuse what `scheduler_of` refuses, without making one."""
    known(sampler)
    if not 1 <= steps <= 1000:
        raise PhospheneError(f"steps is {steps}: give 1 to 1000")
    if predicts not in PREDICTS:
        raise PhospheneError(f"a prior cannot predict '{predicts}': {nearest(predicts, PREDICTS)}")
    if clip_sample and sampler not in CLIPPING:
        raise PhospheneError(f"sampler '{sampler}' cannot clip: set clip_sample: false, or sampler: ddpm")


def row_generators(seed: int, numbers: Sequence[int]) -> list[torch.Generator]:
    """The noise source of each row: a function of seed and number alone, whatever the batching."""
    if seed < 0 or min(numbers, default=0) < 0:
        raise PhospheneError(f"seed {seed} and the numbers of the rows: give 0 or more")
    states = (np.random.SeedSequence([seed, int(n)]).generate_state(1, np.uint64)[0] for n in numbers)
    return [torch.Generator().manual_seed(int(state) >> 1) for state in states]


def guided(network: Denoiser, condition: Tensor, timesteps: Tensor, guidance: float) -> Callable[[Tensor, int], Tensor]:
    """The guided noise prediction, what does not change between steps or rows computed once.

    Classifier-free guidance u + g (c - u) (Ho & Salimans 2022, arXiv 2207.12598), c with and u without the condition,
    in one doubled batch. The input layer comes before the two differ and the output layer is linear: each runs once.

    Parameters
    ----------
    condition : (batch, n_inputs).
    timesteps : (steps,) of the scheduler.
    guidance : g; 1 is the conditional prediction, 0 the unconditional one.

    Returns
    -------
    Call of (x (batch, n_outputs), number of the step) -> (batch, n_outputs).
    """
    timing = network.timing(timesteps)
    given = network.conditioning(condition) if guidance != 0 else []
    double = guidance not in (0, 1)
    if double:
        given = [torch.cat([c, torch.zeros_like(c)]) for c in given]

    def predict(x: Tensor, step: int) -> Tensor:
        added = [t[step : step + 1] for t in timing]
        if given:
            added = [t + c for t, c in zip(added, given, strict=True)]
        x = network.input_layer(x)
        x = network.body(torch.cat([x, x]) if double else x, added)
        if double:
            with_condition, without = x.chunk(2)
            x = without + guidance * (with_condition - without)
        noise: Tensor = network.output_layer(x)
        return noise

    return predict


def denoise(
    predict: Callable[[Tensor, int], Tensor], scheduler: Any, start: Tensor, generators: list[torch.Generator]
) -> Tensor:
    """Run a scheduler from noise to embeddings.

    Parameters
    ----------
    predict : see `guided`.
    start : (batch, n_outputs) standard normal noise.
    generators : one for each row, of the noise that stochastic samplers add.

    Returns
    -------
    (batch, n_outputs)
    """
    noisy = "generator" in inspect.signature(scheduler.step).parameters
    options: dict[str, Any] = {"generator": generators} if noisy else {}
    x = start * scheduler.init_noise_sigma
    for step, timestep in enumerate(scheduler.timesteps):
        x = scheduler.step(predict(x, step), timestep, x, return_dict=False, **options)[0]
    return x
