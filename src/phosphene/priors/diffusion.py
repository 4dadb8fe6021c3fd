"""Diffusion prior: image embeddings drawn at random, given an EEG embedding."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from phosphene import runtime
from phosphene.backbones.samplers import Sampler
from phosphene.errors import PhospheneError, nearest
from phosphene.networks.denoisers import NETWORKS, default_widths, published_shape
from phosphene.networks.sampling import check_schedule, denoise, guided, row_generators, scheduler_of
from phosphene.priors.base import Prior
from phosphene.registry import register
from phosphene.settings import Count, DropoutRate, Guidance, Steps
from phosphene.utils.finite import check_finite

log = logging.getLogger(__name__)
DROPS = ("sample", "batch")


@register("prior", "diffusion")
class DiffusionPrior(Prior):
    """Diffusion over whole embeddings (ATM: Li et al., NeurIPS 2024, arXiv 2403.07721, stage I; details of its code).

    A network learns to predict the noise in image embeddings; sampling starts from noise and ends in an embedding. As
    published: 1000 DDPM timesteps, linear beta of 1e-4 to 0.02, mean squared error of the noise at uniform timesteps.
    Ours: targets and conditions are standardised, conditions dropped sample by sample, the sampler, its guidance.
    `DiffusionPrior.published` gives the published configuration.

    Parameters
    ----------
    n_inputs, n_outputs : lengths of the condition and of the embedding.
    network : "unet" or "mlp", both published.
    widths : of its levels or blocks; by default the published 1024 to 64, scaled to the embedding but none below 64.
    time_dim : length of the time features; by default half an embedding (512 at 1024).
    dropout : of the network; 0.1 as published.
    predicts : what the network learns: "epsilon", the noise (published), or "v_prediction" (Salimans & Ho 2022, arXiv
        2202.00512, appendix D), whose errors do not grow where nearly all is noise.
    standardise : targets and conditions by the mean and SD that `observe` finds; False takes them raw (published).
    clip_sample : clip the predicted embedding to -1 to 1 in each step (published; raw targets lie outside).
    condition_drop : probability that training hides a condition; 0.1 as published.
    drop_rule : "sample" draws for each sample, "batch" for the batch as a whole (published).
    sampler, steps : see `phosphene.backbones.samplers.SAMPLERS`; "ddpm" and 50 as published.
    guidance : of `phosphene.networks.sampling.guided`; 5 as published, 1 draws from what was learned.
    keep_norm : with guidance above 1, which lengthens embeddings, bring those that are longer than real ones are in the
        mean back to that length, in standardised units (ours); False as published.
    batch_size : embeddings sampled at a time.
    """

    mean_in: Tensor
    scale_in: Tensor
    mean_out: Tensor
    scale_out: Tensor
    n_observed: Tensor
    solved: ClassVar[bool] = False

    def __init__(
        self,
        n_inputs: Count,
        n_outputs: Count,
        network: Literal["unet", "mlp"] = "unet",
        widths: Sequence[Count] | None = None,
        time_dim: Count | None = None,
        dropout: DropoutRate = 0.1,
        predicts: Literal["epsilon", "v_prediction"] = "v_prediction",
        standardise: bool = True,
        clip_sample: bool = False,
        condition_drop: DropoutRate = 0.1,
        drop_rule: Literal["sample", "batch"] = "sample",
        sampler: Sampler = "dpmsolver++",
        steps: Steps = 8,
        guidance: Guidance = 5.0,
        keep_norm: bool = True,
        batch_size: Count = 1024,
    ):
        super().__init__(n_inputs, n_outputs)
        if network not in NETWORKS:
            raise PhospheneError(f"unknown network '{network}' of a diffusion prior: {nearest(network, NETWORKS)}")
        if drop_rule not in DROPS:
            raise PhospheneError(f"unknown drop_rule '{drop_rule}': {nearest(drop_rule, DROPS)}")
        if not 0 <= condition_drop < 1:
            raise PhospheneError(f"condition_drop is {condition_drop}: give 0 up to, not including, 1")
        if batch_size < 1:
            raise PhospheneError(f"batch_size is {batch_size}: give 1 or more")
        self.sound(
            sampler=sampler, steps=steps, clip_sample=clip_sample, standardise=standardise, predicts=predicts
        )  # refused now, not after the training
        self.predicts, self.standardise, self.clip_sample = predicts, standardise, clip_sample
        self.condition_drop, self.drop_rule = condition_drop, drop_rule
        self.sampler, self.steps, self.guidance, self.keep_norm = sampler, steps, guidance, keep_norm
        self.batch_size = batch_size
        self.network = NETWORKS[network](
            n_inputs,
            n_outputs,
            default_widths(network, n_outputs) if widths is None else tuple(widths),
            2 * max(1, n_outputs // 4) if time_dim is None else time_dim,
            dropout,
        )
        self.register_buffer("mean_in", torch.zeros(n_inputs))
        self.register_buffer("scale_in", torch.ones(n_inputs))
        self.register_buffer("mean_out", torch.zeros(n_outputs))
        self.register_buffer("scale_out", torch.ones(n_outputs))
        self.register_buffer("n_observed", torch.zeros((), dtype=torch.long))
        self.schedule = scheduler_of("ddpm", 1000)

    @classmethod
    def sound(
        cls, *, sampler: str, steps: int, clip_sample: bool, standardise: bool, predicts: str, **others: Any
    ) -> None:
        """Refuse arguments that do not go together."""
        if clip_sample and standardise:
            raise PhospheneError("clip_sample is of raw targets: set standardise: false, or clip_sample: false")
        check_schedule(sampler, steps, clip_sample, predicts)
        if (others.get("time_dim") or 2) % 2:
            raise PhospheneError(f"time_dim is {others['time_dim']}: give an even number")

    @classmethod
    def published(cls, n_inputs: int = 1024, n_outputs: int = 1024, **changes: Any) -> "DiffusionPrior":
        """The released configuration: raw targets, clipped samples, whole-batch drop, 50 DDPM steps, guidance 5."""
        config: dict[str, Any] = {
            "predicts": "epsilon",
            "standardise": False,
            "clip_sample": True,
            "drop_rule": "batch",
            "sampler": "ddpm",
            "steps": 50,
            "guidance": 5.0,
            "keep_norm": False,
        }
        return cls(n_inputs, n_outputs, **(config | changes))

    @classmethod
    def from_published(cls, path: str | Path, **changes: Any) -> "DiffusionPrior":
        """Read a published `diffusion_prior.pt`, without running what it may hold; `published` with its shape.

        Raises
        ------
        PhospheneError : the file holds other weights.
        """
        from phosphene.utils.restricted import read_torch

        state = read_torch(path)
        try:
            weights = {str(key): torch.as_tensor(value) for key, value in state.items()}
            network, shape = published_shape(weights)
            prior = cls.published(network=network, **(shape | changes))
            prior.network.load_state_dict(weights)
        except (AttributeError, TypeError, RuntimeError, PhospheneError) as error:
            raise PhospheneError(f"{path} is not a published diffusion prior: {error}") from None
        log.info("%s: %s of widths %s, %d -> %d", path, network, shape["widths"], prior.n_inputs, prior.n_outputs)
        return prior.eval()

    def observe(self, targets: Tensor, conditions: Tensor) -> Self:
        """Take mean and SD of training ``targets`` (n, n_outputs) and ``conditions`` (n, n_inputs), before training."""
        if min(len(targets), len(conditions)) < 2:
            raise PhospheneError(f"a diffusion prior needs 2 training samples or more, not {len(targets)}")
        for part, what in ((conditions, "condition"), (targets, "target")):
            check_finite(part, f"{what} of training sample", "leave it out")
        if self.standardise:
            for x, mean, scale in (
                (self._fits(conditions, self.n_inputs, "conditions"), self.mean_in, self.scale_in),
                (self._fits(targets, self.n_outputs, "targets"), self.mean_out, self.scale_out),
            ):
                spread, centre = torch.std_mean(x.detach().double(), dim=0)
                mean.copy_(centre)
                scale.copy_(spread.clamp_min(1e-6))
        self.n_observed.fill_(len(targets))
        return self

    def loss(self, condition: Tensor, target: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Mean squared error of what is predicted from ``target`` with noise, at random timesteps, conditions dropped.

        In evaluation mode nothing is dropped, timesteps are spread evenly and the noise is the same in every call, so
        that epochs can be compared (ours).

        Parameters
        ----------
        condition : (batch, n_inputs).
        target : (batch, n_outputs).
        generator : of timesteps, noise and drops; None takes torch's own.

        Returns
        -------
        Scalar.
        """
        if generator is None and not self.training:
            generator = torch.Generator().manual_seed(0)
        device = target.device if generator is None else generator.device
        n, total = len(target), len(self.schedule.alphas_cumprod)
        if self.training:
            timesteps = torch.randint(0, total, (n,), generator=generator, device=device)
            draws = torch.rand(n if self.drop_rule == "sample" else 1, generator=generator, device=device)
            keep: Tensor | None = (draws >= self.condition_drop).expand(n).to(target.device)
        else:
            order = torch.randperm(n, generator=generator, device=device)
            timesteps, keep = (order + 0.5).mul(total / max(n, 1)).long(), None
        noise = torch.randn(target.shape, generator=generator, device=device)
        return self.error(condition, target, noise.to(target.device), timesteps.to(target.device), keep)

    def error(
        self,
        condition: Tensor | None,
        target: Tensor,
        noise: Tensor,
        timesteps: Tensor,
        keep: Tensor | None = None,
    ) -> Tensor:
        """The training loss at given ``noise`` (batch, n_outputs) and ``timesteps`` (batch,), see `loss`.

        ``keep`` (batch,) is False where a condition is dropped; ``condition`` None drops all.
        """
        self._observed()
        target = (self._fits(target, self.n_outputs, "target") - self.mean_out) / self.scale_out
        noisy = self.schedule.add_noise(target, noise, timesteps)
        given = None if condition is None else self._given(condition)
        wanted = noise if self.predicts == "epsilon" else self.schedule.get_velocity(target, noise, timesteps)
        return (self.network(noisy, timesteps, given, keep) - wanted).square().mean()

    @torch.no_grad()
    def forward(self, condition: Tensor, *, seed: int = 0, numbers: Sequence[int] | None = None) -> Tensor:
        """One embedding for each condition, drawn in batches.

        Parameters
        ----------
        condition : (batch, n_inputs).
        seed : of the noise; another one draws other embeddings of the same conditions.
        numbers : those of the rows (0, 1, ... by default): a row's noise depends on seed and number alone.

        Returns
        -------
        (batch, n_outputs), at the scale of the targets.

        Raises
        ------
        PhospheneError : conditions of another length or not finite, other numbers than rows, a prior that was not
            trained, or embeddings of NaN.
        """
        self._observed()
        given = self._given(check_finite(condition, "the condition of trial"))
        numbers = range(len(given)) if numbers is None else numbers
        if len(numbers) != len(given):
            raise PhospheneError(f"{len(numbers)} numbers for {len(given)} conditions: give one for each")
        training = self.training
        self.eval()
        try:
            batches = runtime.Batches(self.batch_size, "batch_size of the prior")
            parts = list(batches(lambda cut: self._sample(given[cut], row_generators(seed, numbers[cut])), len(given)))
        finally:
            self.train(training)
        standard = torch.cat(parts) if parts else given.new_empty(0, self.n_outputs)
        check_finite(standard, "the embedding drawn of trial", "lower guidance, or train the prior again")
        if self.keep_norm and self.standardise and self.guidance > 1:
            norm = standard.norm(dim=1, keepdim=True)
            standard = standard * (self.n_outputs**0.5 / norm.clamp_min(1e-9)).clamp(max=1)
        return standard * self.scale_out + self.mean_out

    def _sample(self, given: Tensor, generators: list[torch.Generator]) -> Tensor:
        scheduler = scheduler_of(self.sampler, self.steps, self.clip_sample, self.predicts, given.device)
        start = torch.cat([torch.randn(1, self.n_outputs, generator=g) for g in generators]).to(given)
        return denoise(guided(self.network, given, scheduler.timesteps, self.guidance), scheduler, start, generators)

    def _given(self, condition: Tensor) -> Tensor:
        return (self._fits(condition, self.n_inputs, "condition") - self.mean_in) / self.scale_in

    def _observed(self) -> None:
        if self.standardise and not self.n_observed:
            raise PhospheneError("this prior has no training data: call observe(targets, conditions) first")

    @staticmethod
    def _fits(x: Tensor, length: int, name: str) -> Tensor:
        if x.ndim != 2 or x.shape[1] != length:
            raise PhospheneError(f"{name} of shape {tuple(x.shape)}: this prior was built for (batch, {length})")
        return x
