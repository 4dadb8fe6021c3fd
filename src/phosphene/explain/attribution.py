"""Gradients of each head's agreement with the caption shown, with respect to the EEG that the model reads.

For every trial: by how much would the head's similarity to this trial's own caption rise, if the signal of this channel
at this sample rose? A gradient is a *filter*, not a place: a channel that carries only noise gets weight where it helps
to cancel noise elsewhere. `phosphene.explain.topography` turns it into a pattern on the scalp.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phosphene import runtime
from phosphene.errors import PhospheneError, nearest

#: EEG (batch, n_chans, n_times) -> {head: (batch, dim)}; differentiable, no trial depends on another
Heads = Callable[..., Mapping[str, Tensor]]
#: decoded (batch, dim), target (batch, dim) -> (batch,), higher is better
Objective = Callable[[Tensor, Tensor], Tensor]
#: EEG of a batch and the number of its first trial -> weights and inputs at which gradients are taken
Points = Callable[[Tensor, int], Iterator[tuple[float, Tensor]]]


def cosine(decoded: Tensor, target: Tensor) -> Tensor:
    """(batch,) cosine similarity of each decoded vector with the vector of the caption shown, both (batch, dim)."""
    return F.cosine_similarity(decoded, target, dim=-1)


def against(others: Tensor, temperature: float = 0.07) -> Objective:
    """The objective log p(caption shown) among it and ``others``: minus InfoNCE (van den Oord et al. 2018, eq. 4).

    Parameters
    ----------
    others : (n_others, dim) vectors of other captions; those equal to the caption shown are left out.
    temperature : of the softmax over cosines.
    """
    unit = F.normalize(others, dim=-1)

    def objective(decoded: Tensor, target: Tensor) -> Tensor:
        bank = unit.to(decoded)
        shown = F.normalize(target, dim=-1)
        logits = F.normalize(decoded, dim=-1) @ bank.T / temperature
        logits = logits.masked_fill(shown @ bank.T > 1 - 1e-5, float("-inf"))
        own = cosine(decoded, target)[:, None] / temperature
        return torch.log_softmax(torch.cat([own, logits], dim=1), dim=1)[:, 0]

    return objective


def here(eeg: Tensor, first: int) -> Iterator[tuple[float, Tensor]]:
    """The gradient at the trial itself (Simonyan et al. 2014)."""
    yield 1.0, eeg


def smooth(n: int = 16, noise: float = 0.2, seed: int = 0) -> Points:
    """The mean gradient at ``n`` noisy copies (SmoothGrad, Smilkov et al. 2017, arXiv 1706.03825, section 3).

    Parameters
    ----------
    noise : SD of the noise, as a share of the trial's own SD. Draws depend on ``seed`` and the trial's number alone.
    """

    def points(eeg: Tensor, first: int) -> Iterator[tuple[float, Tensor]]:
        streams = [np.random.default_rng([seed, first + i]) for i in range(len(eeg))]
        scale = noise * eeg.std(dim=(1, 2), keepdim=True)
        for _ in range(n):
            drawn = np.stack([stream.standard_normal(tuple(eeg.shape[1:])) for stream in streams])
            yield 1 / n, eeg + scale * torch.from_numpy(drawn).to(eeg)

    return points


def integrated(baseline: np.ndarray, n: int = 16) -> Points:
    """The mean gradient on the straight way from a baseline to the trial (Sundararajan et al. 2017, section 3).

    It is not multiplied by (trial - baseline), so that it stays a filter; the sum of that product is the objective's
    gain over the baseline.

    Parameters
    ----------
    baseline : (n_chans, n_times) or (1, 1), in the unit of the EEG. Zero is a poor one for a cosine: along a ray from
        zero the output of a linear encoder does not turn. The mean of the training trials is a better one.
    n : points of the Gauss-Legendre rule.
    """
    nodes, weights = np.polynomial.legendre.leggauss(n)

    def points(eeg: Tensor, first: int) -> Iterator[tuple[float, Tensor]]:
        start = torch.as_tensor(np.asarray(baseline)).to(eeg)
        for node, weight in zip(nodes, weights, strict=True):
            yield float(weight / 2), start + float((node + 1) / 2) * (eeg - start)

    return points


def attribute(
    heads: Heads,
    eeg: Any,
    targets: Mapping[str, Tensor],
    *,
    subject: Any = None,
    objective: Objective | Mapping[str, Objective] = cosine,
    points: Points = here,
    batch_size: int = 64,
    device: torch.device | str = "auto",
) -> dict[str, np.ndarray]:
    """Gradient of each head's objective with respect to its input, trial by trial.

    Parameters
    ----------
    heads : such as a method's `heads`, in evaluation mode.
    eeg : (n_trials, n_chans, n_times) as the model reads it: whitened where it was trained so.
    targets : head -> (n_trials, dim), the vector of the caption shown in each trial; heads left out are not asked.
    subject : (n_trials,) given to ``heads`` batch by batch as ``subject=``; None gives nothing.
    objective : one for all heads, or one for each.
    points : where gradients are taken: `here`, `smooth(...)` or `integrated(...)`.
    batch_size : trials at a time.
    device : where trials go; "auto" is where the model of ``heads`` lies.

    Returns
    -------
    head -> (n_trials, n_chans, n_times), units of the objective per unit of the EEG.

    Raises
    ------
    PhospheneError
        For an unknown head, targets of other length, a model in training mode, or vectors without a gradient.
    """
    owner = getattr(heads, "__self__", heads)
    if isinstance(owner, nn.Module) and owner.training:
        raise PhospheneError("the model is in training mode, where trials change each other: call its eval() first")
    for name, target in targets.items():
        if len(target) != len(eeg):
            raise PhospheneError(f"head '{name}' has {len(target)} targets for {len(eeg)} trials: give one for each")
    where = runtime.home(owner) if str(device) == "auto" else runtime.device(device)

    def gradients(part: slice) -> dict[str, np.ndarray]:
        batch = torch.tensor(np.asarray(eeg[part]), device=where)
        extra = {} if subject is None else {"subject": subject[part]}
        wanted = {name: target[part].to(where) for name, target in targets.items()}
        total = {name: torch.zeros_like(batch) for name in targets}
        for weight, x in points(batch, part.start):
            for name, gradient in _gradients(heads, x, wanted, objective, extra).items():
                total[name] += weight * gradient
        return {name: value.cpu().numpy() for name, value in total.items()}

    found = list(runtime.Batches(batch_size, "batch_size")(gradients, len(eeg)))
    return {name: np.concatenate([f[name] for f in found]) if found else np.empty(np.shape(eeg)) for name in targets}


def _gradients(
    heads: Heads,
    x: Tensor,
    targets: Mapping[str, Tensor],
    objective: Objective | Mapping[str, Objective],
    extra: dict[str, Any],
) -> dict[str, Tensor]:
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        decoded = heads(x, **extra)
        out = {}
        for i, (name, target) in enumerate(targets.items()):
            if name not in decoded:
                raise PhospheneError(f"the model has no head '{name}': {nearest(name, decoded)}")
            goal = objective[name] if isinstance(objective, Mapping) else objective
            score = goal(decoded[name], target.to(decoded[name]))
            if not score.requires_grad:
                raise PhospheneError(
                    f"head '{name}' gives vectors without a gradient: give the differentiable `heads`, not `encode`"
                )
            keep = i < len(targets) - 1
            gradient = torch.autograd.grad(score.sum(), x, retain_graph=keep, allow_unused=True)[0]
            out[name] = torch.zeros_like(x) if gradient is None else gradient
    return out
