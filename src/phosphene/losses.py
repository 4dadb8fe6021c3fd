"""Losses as pure functions of tensors."""

import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene.processes import gathered


def info_nce(
    a: Tensor,
    b: Tensor,
    logit_scale: Tensor | float,
    groups: Tensor | None = None,
    normalise: bool = True,
    gather: bool = True,
) -> Tensor:
    """Symmetric contrastive loss between matched rows (Radford et al. 2021, section 2.3).

    Parameters
    ----------
    a, b : (batch, dim); row i of ``a`` belongs to row i of ``b``.
    logit_scale : inverse temperature (already exponentiated).
    groups : (batch,) numbers, or (batch, dim) vectors, equal where rows share their target (repeats of one stimulus);
        such pairs are no negatives. Numbers mean the same in every process.
    normalise : compare by cosine; False by the product of rows with their norms, as in released code of ATM.
    gather : where several processes train, the negatives are those of all; False takes each process's own. Without
        gradients, as in validation, they are always its own.

    Returns
    -------
    Scalar: mean of both directions.
    """
    if gather and torch.is_grad_enabled():
        a, b = gathered(a), gathered(b)
        groups = None if groups is None else gathered(groups)
    if normalise:
        a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
    logits = logit_scale * a @ b.T
    if groups is not None:
        if groups.ndim > 1:
            groups = torch.unique(groups, dim=0, return_inverse=True)[1]
        same = groups[:, None] == groups[None, :]
        same.fill_diagonal_(False)
        logits = logits.masked_fill(same, float("-inf"))
    target = torch.arange(len(a), device=a.device)
    return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))


def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean of 1 - cosine similarity of matched rows, (batch, dim) each."""
    return (1 - F.cosine_similarity(a, b, dim=-1)).mean()
