"""A prior: the rotation that brings decoded embeddings closest to true ones."""

import torch
from torch import Tensor

from phosphene.priors.base import Prior
from phosphene.registry import register
from phosphene.settings import Count


@register("prior", "rotation")
class Rotation(Prior):
    """Orthogonal Procrustes (Schoenemann 1966): distances between embeddings stay as they are.

    Parameters
    ----------
    n_inputs, n_outputs : lengths of the embeddings.
    """

    def __init__(self, n_inputs: Count, n_outputs: Count):
        super().__init__(n_inputs, n_outputs)
        for name, shape in (("mean_in", (n_inputs,)), ("mean_out", (n_outputs,)), ("turn", (n_inputs, n_outputs))):
            self.register_buffer(name, torch.zeros(shape))

    def fit(self, inputs: Tensor, targets: Tensor) -> "Rotation":
        self.mean_in.copy_(inputs.mean(0))
        self.mean_out.copy_(targets.mean(0))
        u, _, vt = torch.linalg.svd((inputs - self.mean_in).T @ (targets - self.mean_out), full_matrices=False)
        self.turn.copy_(u @ vt)
        return self

    def forward(self, embedding: Tensor) -> Tensor:
        return (embedding - self.mean_in) @ self.turn + self.mean_out
