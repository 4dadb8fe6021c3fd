"""Ridge prior: from an EEG embedding to a full image embedding, in closed form."""

import torch
from torch import Tensor

from phosphene.errors import PhospheneError
from phosphene.networks.ridge import ALPHAS, Inputs
from phosphene.priors.base import Prior
from phosphene.registry import register
from phosphene.settings import Count, Penalties, Stretch
from phosphene.utils.finite import check_finite


@register("prior", "ridge")
class RidgePrior(Prior):
    """Linear map with shrinkage, and the scale of real embeddings given back.

    A least-squares estimate shrinks towards the mean, and generators draw the mean as grey mush. So each dimension of
    the training predictions is stretched to the standard deviation of the training targets (ours), within a bound.

    Parameters
    ----------
    n_inputs, n_outputs : lengths of the embeddings.
    alphas : penalties on standardised inputs, relative to the number of samples; the one with the smallest
        leave-one-out error is taken (generalised cross-validation).
    stretch : largest factor of the stretch; 1 leaves the least-squares estimate.
    """

    mean_in: Tensor
    scale_in: Tensor
    weight: Tensor
    mean_out: Tensor

    def __init__(
        self,
        n_inputs: Count,
        n_outputs: Count,
        alphas: Penalties = ALPHAS,
        stretch: Stretch = 3.0,
    ):
        super().__init__(n_inputs, n_outputs)
        self.alphas, self.stretch = tuple(alphas), stretch
        self.register_buffer("mean_in", torch.zeros(n_inputs))
        self.register_buffer("scale_in", torch.ones(n_inputs))
        self.register_buffer("weight", torch.zeros(n_inputs, n_outputs))
        self.register_buffer("mean_out", torch.zeros(n_outputs))

    def fit(self, inputs: Tensor, targets: Tensor) -> "RidgePrior":
        """Learn from matched rows: ``inputs`` (n, n_inputs) and ``targets`` (n, n_outputs)."""
        if len(inputs) < 3:
            raise PhospheneError(f"a ridge prior needs at least 3 training samples, not {len(inputs)}")
        for part, what in ((inputs, "input"), (targets, "target")):
            check_finite(part, f"{what} of training sample", "leave it out")
        x, y = Inputs.of(inputs), targets.double().cpu()
        self.mean_in.copy_(x.mean)
        self.scale_in.copy_(x.scale)
        self.mean_out.copy_(y.mean(0))
        centred = y - y.mean(0)
        coded = x.u.T @ centred
        alpha = x.penalty(self.alphas, coded.square().sum(1), float(centred.square().sum()), y.shape[1])
        weight = x.solve(alpha) @ coded
        fitted = (inputs.double().cpu() - x.mean) / x.scale @ weight
        stretch = (centred.std(0) / fitted.std(0).clamp_min(1e-9)).clamp(1.0, self.stretch)
        self.weight.copy_(weight * stretch)
        return self

    def forward(self, embedding: Tensor) -> Tensor:
        """(batch, n_inputs) -> (batch, n_outputs)."""
        check_finite(embedding, "the embedding of trial")
        return (embedding - self.mean_in) / self.scale_in @ self.weight + self.mean_out
