"""Captions from what was decoded: stock GIT writes from visual tokens that stand in its vision tower's place.

The caption path of ATM (arXiv 2403.07721; see `docs/git-captions.md`). Nothing of the library is edited: one instance's
vision tower is set apart, and in its place stands a module that hands on the tokens given.

Models come as arguments, since the table of backbones is this layer's neighbour, and what predicts tokens from an image
embedding lies above (`phosphene.networks.caption_adapter`):

    captioner = TokenCaptioner(*load_captioner("git-large-coco"))
    prior = RidgeTokens().fit(embeds, captioner.tokens(pictures))
    captioner.say(prior(decoded))
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from phosphene import runtime
from phosphene.captions.quality import token_f1, words
from phosphene.errors import PhospheneError
from phosphene.utils.pictures import upright

Embed = Callable[[Sequence[str]], Any]


class GivenTokens(nn.Module):
    """Stands where GIT's vision tower stood: the "pictures" (batch, 1, n_tokens, dim) are its last states already."""

    def forward(self, pixel_values: Tensor, interpolate_pos_encoding: bool = False) -> BaseModelOutput:
        # a copy, since GIT adds the embedding of a frame in place
        states: Any = pixel_values.squeeze(1).clone()
        return BaseModelOutput(last_hidden_state=states)


class TokenCaptioner:
    """GIT that writes from visual tokens, given or its own, the likeliest words (Wang et al. 2022, arXiv 2205.14100).

    The model is this captioner's from then on: its tower is `tower`, and it no longer reads pictures itself.

    Parameters
    ----------
    model, processor, tokenizer : as `phosphene.backbones.table.load_captioner` gives them.
    batch_size : pictures at a time.
    max_new_tokens : the longest caption, in tokens of the model; 25 as published.
    num_beams : of the beam search; 1 takes the likeliest word at each step (ours).
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        tokenizer: Any,
        batch_size: int = 8,
        max_new_tokens: int = 25,
        num_beams: int = 1,
    ):
        for name, value in (("batch_size", batch_size), ("max_new_tokens", max_new_tokens), ("num_beams", num_beams)):
            if value < 1:
                raise PhospheneError(f"{name} is {value}: give 1 or more")
        if isinstance(model.git.image_encoder, GivenTokens):
            raise PhospheneError("the model's vision tower is in use by another captioner: load the model again")
        self.model, self.processor, self.tokenizer = model, processor, tokenizer
        self.batch_size, self.max_new_tokens, self.num_beams = batch_size, max_new_tokens, num_beams
        self._batches = runtime.Batches(batch_size, "batch_size of the captioner")
        self.tower = model.git.image_encoder
        model.git.image_encoder = GivenTokens()

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_tokens, dim) of a picture; (n_frames, n_tokens, dim) of a model that reads several."""
        vision, frames = self.model.config.vision_config, self.model.config.num_image_with_embedding
        one = ((vision.image_size // vision.patch_size) ** 2 + 1, vision.hidden_size)
        return one if frames is None else (frames, *one)

    @torch.no_grad()
    def tokens(self, images: Sequence[Image.Image]) -> Tensor:
        """(n, n_tokens, dim) last states of the model's own tower for RGB pictures: what a prior learns."""

        def seen(part: slice) -> Tensor:
            pixels = self.processor([upright(image) for image in images[part]], return_tensors="pt")["pixel_values"]
            states = self.tower(pixel_values=pixels.to(self.model.device, self.model.dtype)).last_hidden_state
            return states.float().cpu()

        return torch.cat([torch.empty(0, *self.shape[-2:]), *self._batches(seen, len(images))])

    def ids(self, tokens: Tensor) -> list[list[int]]:
        """n captions as token ids, without start, end and padding.

        Parameters
        ----------
        tokens : (n, n_tokens, dim), or (n, n_frames, n_tokens, dim) of a model that reads several pictures.

        Raises
        ------
        PhospheneError
            If the tokens are not of the model's shape, or not finite.
        """
        if tuple(tokens.shape[1:]) != self.shape:
            expected = ", ".join(map(str, self.shape))
            raise PhospheneError(
                f"visual tokens have shape {tuple(tokens.shape)} and the captioner reads (n, {expected}): train a "
                "prior for this captioner"
            )
        config = self.model.generation_config
        ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
        marks = {config.bos_token_id, config.pad_token_id, *ends}

        def write(part: slice) -> list[list[int]]:
            given = tokens[part].detach()
            if not bool(given.isfinite().all()):
                raise PhospheneError("visual tokens are not finite: look for NaN in what the prior was given")
            with torch.inference_mode():
                out = self.model.generate(
                    pixel_values=given.to(self.model.device, self.model.dtype).unsqueeze(-3),
                    do_sample=False,
                    num_beams=self.num_beams,
                    max_new_tokens=self.max_new_tokens,
                )
            return [[i for i in row if i not in marks] for row in out.tolist()]

        return [row for part in self._batches(write, len(tokens)) for row in part]

    def say(self, tokens: Tensor) -> list[str]:
        """n captions; ``tokens`` as for `ids`."""
        return [self.tokenizer.decode(row, skip_special_tokens=True).strip() for row in self.ids(tokens)]


def drift(said: Sequence[str], true: Sequence[str], embed: Embed | None = None) -> pd.DataFrame:
    """How far captions of predicted tokens are from captions of the true tokens (ours).

    Parameters
    ----------
    said, true : (n,) captions of the same pictures: `TokenCaptioner.say` of predicted and of true tokens.
    embed : captions -> (n, dim) embeddings, such as `CLIPText(backbone=...).texts`; without it there is no `clip`.

    Returns
    -------
    Columns `value`, the mean over pictures, and `chance`, the same with every other picture's true caption in place of
    its own (exact, not drawn). Rows `same` (the whole caption), `position` (words that are the same at the same place,
    as a share of the longer caption), `token_f1` (words in any order) and `clip` (cosine).

    Raises
    ------
    PhospheneError
        If there are fewer than two pairs.
    """
    n = len(said)
    if n != len(true) or n < 2:
        raise PhospheneError(f"{n} captions and {len(true)} true ones: give one of each for two or more pictures")
    ours, theirs = (np.array([" ".join(words(c)) for c in captions], object) for captions in (said, true))
    tables = {
        "same": (ours[:, None] == theirs).astype(float),
        "position": _pairs(ours, theirs, _position),
        "token_f1": _pairs(ours, theirs, token_f1),
    }
    if embed is not None:
        a, b = (F.normalize(torch.as_tensor(np.asarray(embed(list(c)))).double(), dim=-1) for c in (said, true))
        tables["clip"] = (a @ b.T).numpy()
    rows = {k: (t.trace() / n, (t.sum() - t.trace()) / (n * (n - 1))) for k, t in tables.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["value", "chance"])


def _position(a: str, b: str) -> float:
    x, y = a.split(), b.split()
    return sum(map(str.__eq__, x, y)) / max(len(x), len(y), 1)


def _pairs(a: np.ndarray, b: np.ndarray, score: Callable[[str, str], float]) -> np.ndarray:
    """(n, n) scores; captions that come again are compared once."""
    (x, i), (y, j) = np.unique(a, return_inverse=True), np.unique(b, return_inverse=True)
    return np.array([[score(one, other) for other in y] for one in x])[i][:, j]
