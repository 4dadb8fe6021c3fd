"""Ridge regression on standardised inputs, its penalty chosen by generalised cross-validation.

By hand, since outputs may not fit in memory: scikit-learn's `RidgeCV` takes them whole. Golub, Heath & Wahba (1979),
Technometrics 21, 215-223.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

#: penalties to choose from, relative to the number of samples
ALPHAS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


@dataclass(frozen=True)
class Inputs:
    """Standardised inputs, decomposed; double precision.

    Parameters
    ----------
    mean, scale : (n_inputs,) of the training samples.
    u, s, vt : (n, k), (k,), (k, n_inputs), the singular value decomposition of the standardised inputs.
    """

    mean: Tensor
    scale: Tensor
    u: Tensor
    s: Tensor
    vt: Tensor

    @classmethod
    def of(cls, samples: Tensor) -> "Inputs":
        """Of (n, n_inputs) samples."""
        x = samples.double().cpu()
        mean, scale = x.mean(0), x.std(0).clamp_min(1e-6)
        return cls(mean, scale, *torch.linalg.svd((x - mean) / scale, full_matrices=False))

    def penalty(self, alphas: Sequence[float], power: Tensor, total: float, n_outputs: int) -> float:
        """The penalty with the smallest leave-one-out error, by generalised cross-validation.

        Parameters
        ----------
        power : (k,) sums of squares over outputs of `u.T @ outputs`, the outputs being centred.
        total : sum of squares of all centred outputs.
        """
        n, errors = len(self.u), {}
        for alpha in alphas:
            keep = self.s**2 / (self.s**2 + alpha * n)
            left = (total - float(((2 * keep - keep**2) * power).sum())) / (n * n_outputs)
            errors[alpha] = left / float((1 - (keep.sum() + 1) / n).clamp_min(1e-3)) ** 2
        return min(errors, key=lambda alpha: errors[alpha])

    def solve(self, alpha: float) -> Tensor:
        """(n_inputs, k) what `u.T @ outputs` is multiplied with to give the weights."""
        return self.vt.T * (self.s / (self.s**2 + alpha * len(self.u)))
