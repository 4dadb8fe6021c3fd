"""Losses as pure functions of tensors."""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene.errors import PhospheneError, nearest
from phosphene.utils.processes import gathered

SYNAPSE_SCALE = math.exp(2.6592)  # at which its released code stays: the parameter is in no optimiser


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


def signal_dice(rebuilt: Tensor, eeg: Tensor, steepness: float = 100.0) -> Tensor:
    """1 - the soft signal Dice coefficient of a reconstruction: overlap of amplitudes whose signs agree.

    Parameters
    ----------
    rebuilt, eeg : of one shape; sums are over all of it, the batch included, as in the released code.
    steepness : of the sigmoid that says whether signs agree; no gradient passes through it.

    Returns
    -------
    Scalar, 0 where both are alike and 1 where no sign agrees (SDSC, arXiv 2507.14516; SYNAPSE, arXiv 2511.17547).
    """
    agree = torch.sigmoid(steepness * eeg * rebuilt).detach()
    size, other = eeg.abs(), rebuilt.abs()
    return 1 - (2 * (torch.minimum(size, other) * agree).sum() + 1e-6) / ((size + other).sum() + 1e-6)


def token_cosine(latent: Tensor, target: Tensor, axis: str = "feature") -> Tensor:
    """Mean of 1 - cosine similarity of matched tokens.

    Parameters
    ----------
    latent, target : (batch, n_tokens, dim); a target of one row is that of all.
    axis : "feature" compares each token's features; "token" each feature over the tokens, as SYNAPSE's released code
        has it (arXiv 2511.17547).

    Raises
    ------
    PhospheneError : another axis.
    """
    if axis not in ("feature", "token"):
        raise PhospheneError(f"unknown axis '{axis}' of the cosine: {nearest(axis, ('feature', 'token'))}")
    return (1 - F.cosine_similarity(latent, target, dim=-1 if axis == "feature" else -2)).mean()


def uncertainty_weighted(losses: Sequence[Tensor], spreads: Tensor | None = None) -> Tensor:
    """Sum of 0.5 / w^2 * loss + ln(1 + w^2), each loss with a w of its own (Liebel & Körner 2018, arXiv 1805.06334).

    Parameters
    ----------
    losses : scalars.
    spreads : (n_losses,), the w, to be trained with the rest; None for ones, where those of SYNAPSE's released code
        stay, as no optimiser has them: 0.5 * sum + n_losses * ln 2.

    Raises
    ------
    PhospheneError : another number of spreads than losses.
    """
    values = torch.stack(list(losses))
    spreads = torch.ones_like(values) if spreads is None else spreads
    if spreads.shape != values.shape:
        raise PhospheneError(f"{len(values)} losses and spreads {tuple(spreads.shape)}: give one for each loss")
    return (0.5 / spreads.square() * values + (1 + spreads.square()).log()).sum()


def weighted(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Sum of scalar losses by name, each times its weight.

    Raises
    ------
    PhospheneError : a loss without a weight, or a weight without a loss.
    """
    odd = sorted(losses.keys() ^ weights.keys())
    if odd or not losses:
        raise PhospheneError(
            f"losses {', '.join(losses) or '(none)'} and weights {', '.join(weights) or '(none)'}: give one for each"
        )
    return torch.stack([weights[name] * value for name, value in losses.items()]).sum()
