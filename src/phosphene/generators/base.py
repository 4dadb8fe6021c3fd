"""`Conditioning` and `Generator`: from what was decoded to pictures. Knows nothing of EEG."""

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from phosphene.errors import PhospheneError
from phosphene.utils.finite import check_finite
from phosphene.utils.pictures import upright

#: one trial's prompt: a caption, or captions with their weights
Prompt = str | Sequence[tuple[str, float]]


def blended(prompt: Prompt) -> list[tuple[str, float]]:
    """Captions of one trial with weights that sum to 1; a plain caption is a blend of one.

    Raises
    ------
    PhospheneError : the prompt is neither a caption nor (caption, weight) pairs, or a weight is not above 0.

    >>> blended([("a dog", 3), ("a cat", 1)])
    [('a dog', 0.75), ('a cat', 0.25)]
    """
    if isinstance(prompt, str):
        return [(prompt, 1.0)]
    pairs: list[Any] = list(prompt) if isinstance(prompt, Sequence) else []
    for pair in pairs:
        if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2 or not isinstance(pair[0], str):
            pairs = []
            break
    if not pairs:
        raise PhospheneError(
            f"prompt {prompt!r} is not a caption: give a string, or pairs such as [('a dog', 0.7), ('a cat', 0.3)]"
        )
    for caption, weight in pairs:
        if not isinstance(weight, Real) or not 0 < float(weight) < math.inf:
            raise PhospheneError(f"the weight of caption '{caption}' is {weight!r}: give a number above 0, or drop it")
    weights = [float(weight) for _, weight in pairs]
    return [(caption, weight / math.fsum(weights)) for (caption, _), weight in zip(pairs, weights, strict=True)]


@dataclass(frozen=True)
class Conditioning:
    """What a picture is drawn from; every field that is given has one entry for each trial.

    Parameters
    ----------
    prompt : (n_trials,) captions; an entry may be a blend, (caption, weight) pairs with weights above 0, whose text
        states are averaged by weight. Only the ratio of weights counts.
    tokens : (n_trials, n_tokens, dim) cross-attention states in place of an encoded prompt.
    negative_tokens : what guidance leads away from, with ``tokens`` only: (n_trials, n_tokens, dim), or (n_tokens, dim)
        of all trials. None leaves it to the generator.
    image_embeds : (n_trials, dim) CLIP image embeddings, not normalised.
    init : (n_trials,) RGB pictures from which the drawing starts.
    strength : share of the noise laid over ``init``, 0 to 1; with ``init`` only.
    """

    prompt: Sequence[Prompt] | None = None
    tokens: Tensor | None = None
    negative_tokens: Tensor | None = None
    image_embeds: Tensor | None = None
    init: Sequence[Image.Image] | None = None
    strength: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.prompt, str):
            raise PhospheneError(f"prompt is one string: give one for each trial, such as [{self.prompt!r}]")
        for name in ("tokens", "negative_tokens", "image_embeds"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, Tensor):
                raise PhospheneError(f"{name} is a {type(value).__name__}: give a torch tensor (torch.as_tensor)")
        if self.negative_tokens is not None:
            if self.tokens is None or self.negative_tokens.shape[-2:] != self.tokens.shape[-2:]:
                raise PhospheneError("negative_tokens belong to tokens of the same n_tokens and dim: give both so")
            if self.negative_tokens.ndim == 2:
                object.__setattr__(self, "negative_tokens", self.negative_tokens.expand_as(self.tokens))
        lengths = {name: len(getattr(self, name)) for name in self.given() if name != "strength"}
        if not lengths:
            raise PhospheneError("nothing to draw from: give prompt, tokens or image_embeds")
        if len(set(lengths.values())) > 1:
            raise PhospheneError(f"the fields describe different numbers of trials: {lengths}")
        if self.prompt is not None and self.tokens is not None:
            raise PhospheneError("prompt and tokens both fill the cross-attention: give one")
        if (self.strength is not None) != (self.init is not None):
            raise PhospheneError("init and strength belong together: give both or neither")
        if self.strength is not None and not 0 < self.strength <= 1:
            raise PhospheneError(f"strength is {self.strength}: give a number above 0 and up to 1")
        for entry in () if self.prompt is None else self.prompt:
            blended(entry)

    def given(self) -> set[str]:
        """Names of the fields that are set."""
        return {f.name for f in fields(self) if getattr(self, f.name) is not None}

    def check_finite(self) -> None:
        """Refuse NaN and infinity.

        Raises
        ------
        PhospheneError
            Names the field and the first such trial.
        """
        for name in ("tokens", "negative_tokens", "image_embeds"):
            if (value := getattr(self, name)) is not None:
                check_finite(value, f"{name} of trial")

    def __len__(self) -> int:
        return next(len(getattr(self, n)) for n in ("prompt", "tokens", "image_embeds", "init") if n in self.given())

    def packed(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The fields to be kept: tensors (pictures as (n_trials, height, width, 3) uint8), and what JSON takes."""
        tensors: dict[str, Tensor] = {}
        words: dict[str, Any] = {}
        for name in sorted(self.given()):
            value = getattr(self, name)
            if name == "negative_tokens" and bool((value == value[:1]).all()):
                value = value[0]  # of all trials alike, kept once
            if name == "init":
                value = torch.from_numpy(np.stack([np.asarray(upright(picture)) for picture in value]))
            (tensors if isinstance(value, Tensor) else words)[name] = value
        return {name: value.contiguous() for name, value in tensors.items()}, words

    @classmethod
    def unpacked(cls, tensors: Mapping[str, Tensor], words: Mapping[str, Any]) -> "Conditioning":
        """What `packed` gave, put together again."""
        fields: dict[str, Any] = {**tensors, **words}
        if "init" in fields:
            fields["init"] = [Image.fromarray(picture.numpy()) for picture in fields["init"]]
        return cls(**fields)

    def rows(self, index: Sequence[int]) -> "Conditioning":
        """The conditioning of these trials, in this order; repeats allowed."""
        index = [int(i) for i in index]
        return replace(
            self,
            prompt=None if self.prompt is None else [self.prompt[i] for i in index],
            tokens=None if self.tokens is None else self.tokens[index],
            negative_tokens=None if self.negative_tokens is None else self.negative_tokens[index],
            image_embeds=None if self.image_embeds is None else self.image_embeds[index],
            init=None if self.init is None else [self.init[i] for i in index],
        )


def noise_generator(seed: int, trial: int, sample: int) -> torch.Generator:
    """The noise source of one picture, of the CPU: a function of seed, trial and sample alone, whatever the batching.

    Whatever the device too; and at half precision torch rounds the noise of float32.
    """
    state = np.random.SeedSequence([seed, trial, sample]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) >> 1)


class Generator(ABC):
    """Base of every generator. A field of `Conditioning` outside ``accepts`` is refused, never ignored, and so is one
    that is not finite, of which every generator would draw something."""

    accepts: ClassVar[frozenset[str]]

    @classmethod
    def reads(cls, given: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
        """Refuse, without loading a model, what a generator of these arguments cannot draw from.

        Parameters
        ----------
        given : what `Method.drawn_from` says.
        """
        cls._accepted(given.keys() - {"unet"})

    @classmethod
    def _accepted(cls, given: Collection[str]) -> None:
        if extra := set(given) - cls.accepts:
            raise PhospheneError(
                f"{cls.__name__} cannot use '{min(extra)}': leave it out, or choose a generator that does"
            )

    def check(self, conditioning: Conditioning) -> None:
        self._accepted(conditioning.given())
        conditioning.check_finite()

    def shortened(self, prompts: Sequence[Prompt]) -> str:
        """A sentence on captions that are longer than the generator reads; empty where there are none."""
        return ""

    @abstractmethod
    def __call__(
        self, conditioning: Conditioning, *, n: int = 1, seed: int = 0, numbers: Sequence[int] | None = None
    ) -> list[list[Image.Image]]:
        """Draw ``n`` pictures for each trial: ``[trial][sample]``, RGB.

        ``numbers`` are those of the trials (0, 1, ... by default): the noise of a picture depends on seed, number and
        sample alone, so that a long job may be cut into pieces, and two conditions be drawn from the same noise.
        """
