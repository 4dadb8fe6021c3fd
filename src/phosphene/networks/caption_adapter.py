"""A captioner's visual tokens from a pooled image embedding: ATM's published adapter, and ridge regression.

Both learn from pictures, never from EEG. On drawn scenes the closed form is much the better of the two
(`docs/git-captions.md`).
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phosphene import runtime
from phosphene.errors import PhospheneError
from phosphene.networks.ridge import ALPHAS, Inputs
from phosphene.utils.finite import check_finite

Tokens = Tensor | np.ndarray


class _Swap(nn.Module):
    """(batch, a, b) -> (batch, b, a)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


class VisualTokens(nn.Sequential):
    """The adapter of ATM's released code (arXiv 2403.07721), for the tokens of git-large-coco.

    One Linear 1 -> n_tokens spreads every number of the embedding over the tokens, with a LayerNorm over these; then
    come Linear n_inputs -> dim and a LayerNorm at each token. Published: 1,052,676 parameters, named by the positions
    1, 2, 4 and 5.

    Parameters
    ----------
    n_inputs : length of the image embedding; 1024 of CLIP ViT-H/14.
    n_tokens, dim : of the tower's last states, the class token first; 257 and 1024 of git-large-coco. The paper's text
        says 256.
    """

    losses_: list[float]

    def __init__(self, n_inputs: int = 1024, n_tokens: int = 257, dim: int = 1024):
        super().__init__(
            _Swap(),
            nn.Linear(1, n_tokens),
            nn.LayerNorm(n_tokens),
            _Swap(),
            nn.Linear(n_inputs, dim),
            nn.LayerNorm(dim),
        )
        self.n_inputs, self.n_tokens, self.dim = n_inputs, n_tokens, dim

    def forward(self, embedding: Tensor) -> Tensor:
        """(batch, n_inputs) or (batch, 1, n_inputs) -> (batch, n_tokens, dim).

        Raises
        ------
        PhospheneError
            If the embedding is of another shape.
        """
        tokens: Tensor = super().forward(_pooled(embedding, self.n_inputs)[:, None])
        return tokens

    def fit(
        self,
        embeds: Tensor,
        tokens: Tokens,
        *,
        epochs: int = 30,
        batch_size: int = 32,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        seed: int = 0,
    ) -> "VisualTokens":
        """Mean squared error, AdamW, with the published defaults; `losses_` is each epoch's mean.

        By hand: the training loop takes a method and its trials; here are pairs of vectors, and nothing is selected.

        The weight decay and the constant learning rate are ours: the published ones are not known.

        Parameters
        ----------
        embeds : (n, n_inputs) image embeddings of the training pictures, not normalised.
        tokens : (n, n_tokens, dim) the tower's tokens of the same pictures; may be a memory-mapped array of half
            precision, of which a batch is read at a time.
        epochs, batch_size, lr, weight_decay : of the training.
        seed : of the order of the pictures.

        Raises
        ------
        PhospheneError
            If the two do not fit each other or the adapter.
        """
        _matched(embeds, tokens, (self.n_inputs, self.n_tokens, self.dim))
        here = next(runtime.place(self).parameters())
        optimiser = torch.optim.AdamW(self.parameters(), lr=lr, weight_decay=weight_decay)
        order = torch.Generator().manual_seed(seed)
        self.losses_ = []
        for _ in range(epochs):
            total = 0.0
            for rows in torch.randperm(len(embeds), generator=order).split(batch_size):
                with runtime.memory("the training of visual tokens", f"set batch_size below {batch_size}"):
                    loss = F.mse_loss(self(embeds[rows].to(here)), _read(tokens, rows).to(here))
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                total += len(rows) * float(loss.detach())
            self.losses_.append(total / len(embeds))
        return self


class RidgeTokens(nn.Module):
    """The same map by ridge regression, in closed form and one pass over the tokens (ours).

    What `RidgePrior` solves, without its stretch, for outputs that do not fit in memory. For git-large-coco its weights
    are 1024 x 257 x 1024 numbers, 1.08 GB, where the adapter has 0.4 % of that; before `fit` there are none.

    Parameters
    ----------
    n_inputs, n_tokens, dim : as for `VisualTokens`.
    alphas : penalties on standardised inputs, relative to the number of pictures; the one with the smallest
        leave-one-out error is taken (generalised cross-validation).
    """

    mean_in: Tensor
    scale_in: Tensor
    weight: Tensor
    mean_out: Tensor
    alpha_: float

    def __init__(
        self,
        n_inputs: int = 1024,
        n_tokens: int = 257,
        dim: int = 1024,
        alphas: tuple[float, ...] = ALPHAS,
    ):
        super().__init__()
        self.n_inputs, self.n_tokens, self.dim, self.alphas = n_inputs, n_tokens, dim, tuple(alphas)
        self.register_buffer("mean_in", torch.zeros(n_inputs))
        self.register_buffer("scale_in", torch.ones(n_inputs))
        # empty until solved: checkpoints of earlier stages of a method shall not hold a gigabyte of zeros
        self.register_buffer("weight", torch.empty(0, n_tokens * dim))
        self.register_buffer("mean_out", torch.zeros(n_tokens * dim))
        self.register_load_state_dict_pre_hook(_as_loaded)

    def fit(self, embeds: Tensor, tokens: Tokens, *, batch_size: int = 256) -> "RidgeTokens":
        """Learn from matched rows, as `VisualTokens.fit` takes them; `alpha_` is the penalty that was taken.

        Raises
        ------
        PhospheneError
            If the two do not fit each other or the map, or there are fewer than three pictures.
        """
        n = _matched(embeds, tokens, (self.n_inputs, self.n_tokens, self.dim), least=3)
        x = Inputs.of(embeds)
        self.mean_in.copy_(x.mean)
        self.scale_in.copy_(x.scale)
        start = _read(tokens, torch.arange(min(n, batch_size))).flatten(1).mean(0)  # near the mean: sums stay exact
        uty, first, total = torch.zeros(len(x.s), len(start)), torch.zeros(len(start), dtype=torch.float64), 0.0
        for rows in torch.arange(n).split(batch_size):
            y = _read(tokens, rows).flatten(1) - start
            uty.addmm_(x.u[rows].T.float(), y)
            first += y.sum(0, dtype=torch.float64)
            total += float(y.square().sum(dtype=torch.float64))
        total -= float(first.square().sum()) / n
        power = torch.stack([row.double().square().sum() for row in uty])  # a copy of all would be gigabytes
        self.alpha_ = x.penalty(self.alphas, power, total, len(start))
        self.weight = (x.solve(self.alpha_).float() @ uty).to(self.mean_out)
        self.mean_out.copy_(start + first / n)
        return self

    def forward(self, embedding: Tensor) -> Tensor:
        """(batch, n_inputs) or (batch, 1, n_inputs) -> (batch, n_tokens, dim).

        Raises
        ------
        PhospheneError
            If the embedding is of another shape, or nothing was fitted.
        """
        if not len(self.weight):
            raise PhospheneError("these visual tokens were not learned: call fit(embeds, tokens) first")
        x = (_pooled(embedding, self.n_inputs) - self.mean_in) / self.scale_in
        return (x @ self.weight + self.mean_out).unflatten(1, (self.n_tokens, self.dim))


def _as_loaded(module: RidgeTokens, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """As many weights as will be loaded: all of them, or none of one that was not solved."""
    held = state.get(f"{prefix}weight")
    if held is not None and len(held) in (0, module.n_inputs):
        module.weight = module.weight.new_empty(len(held), module.weight.shape[1])


def _pooled(embedding: Tensor, n_inputs: int) -> Tensor:
    shape = tuple(embedding.shape)
    if shape[1:] not in ((n_inputs,), (1, n_inputs)):
        raise PhospheneError(
            f"visual tokens are predicted from (batch, {n_inputs}) and not from {shape}: decode into the space that "
            "they were learned from, or set n_inputs"
        )
    check_finite(embedding, "the embedding of trial")
    # targets are made in inference mode, and such tensors cannot be trained on as they are
    return (embedding.clone() if embedding.is_inference() else embedding).reshape(-1, n_inputs)


def _matched(embeds: Tensor, tokens: Tokens, sizes: tuple[int, int, int], least: int = 1) -> int:
    if len(embeds) != len(tokens) or len(embeds) < least:
        raise PhospheneError(
            f"{len(embeds)} embeddings and {len(tokens)} token arrays: give both of every picture, {least} or more"
        )
    _pooled(embeds, sizes[0])
    if tuple(tokens.shape[1:]) != sizes[1:]:
        raise PhospheneError(
            f"tokens have shape {tuple(tokens.shape)} and (n, {sizes[1]}, {sizes[2]}) was expected: set n_tokens and "
            "dim to the captioner's"
        )
    return len(embeds)


def _read(tokens: Tokens, rows: Tensor) -> Tensor:
    """(len(rows), n_tokens, dim) float32."""
    part = tokens[rows.to(tokens.device)] if isinstance(tokens, Tensor) else torch.from_numpy(tokens[rows.numpy()])
    return check_finite(part.float().cpu(), "the tokens of picture", "leave it out", rows.tolist())
