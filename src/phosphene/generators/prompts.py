"""Text states of prompts and of blends of captions, by a pipeline's own text encoders."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from phosphene import runtime
from phosphene.captions.tokens import cut, shortened_sentence
from phosphene.generators.base import Prompt, blended
from phosphene.utils.progress import quiet

KEPT = 1024  # captions; at half precision 120 MB for a text width of 768, 330 MB for one of 2048
TOKENS, POOLED = "prompt_embeds", "pooled_prompt_embeds"


class Wording:
    """What the U-Net reads in place of prompts. A caption that comes again is not encoded again.

    Parameters
    ----------
    pipe : a stock text-to-image pipeline.
    guided : whether the states of the unconditional branch are wanted too.
    batch_size : captions at a time.
    """

    def __init__(self, pipe: Any, guided: bool, batch_size: int = 32):
        self.pipe, self.guided = pipe, guided
        self._batches = runtime.Batches(batch_size, "generator.batch_size")
        self._known: dict[str, dict[str, Tensor]] = {}
        self._nothing: dict[str, Tensor] = {}

    def arguments(self, prompts: Sequence[Prompt]) -> dict[str, Tensor]:
        """The pipeline's arguments for these prompts.

        Returns
        -------
        prompt_embeds : (n_prompts, n_tokens, dim) weighted means of the captions' states.
        pooled_prompt_embeds : (n_prompts, dim) the same of the pooled embeddings, where the pipeline reads one.
        negative_prompt_embeds, negative_pooled_prompt_embeds : those of no prompt, if guided.
        """
        blends = [blended(prompt) for prompt in prompts]
        states = self._states(list(dict.fromkeys(caption for blend in blends for caption, _ in blend)))
        first = states[blends[0][0][0]]
        made = {}
        for name, one in first.items():
            sums = [torch.zeros_like(one, dtype=torch.float32) for _ in blends]
            for total, blend in zip(sums, blends, strict=True):
                for caption, weight in blend:
                    total += weight * states[caption][name].float()
            made[name] = torch.stack(sums).to(one.dtype)
        none = {name: part.expand(len(prompts), *part.shape[1:]) for name, part in self._nothing.items()}
        return made | none

    @property
    def limit(self) -> int:
        """How many tokens of a caption are read."""
        return int(self.pipe.tokenizer.model_max_length)

    def long(self, prompts: Sequence[Prompt]) -> list[str]:
        """Captions that the tokenizer will cut."""
        return cut(_captions(prompts), self.pipe.tokenizer, self.limit)[0]

    def shortened(self, prompts: Sequence[Prompt]) -> str:
        """A sentence on the captions that the tokenizer will cut; empty where there are none."""
        return shortened_sentence("prompts", _captions(prompts), self.pipe.tokenizer, self.limit)

    def _states(self, captions: list[str]) -> dict[str, dict[str, Tensor]]:
        """Of each caption its (n_tokens, dim) states and, where the pipeline reads one, its (dim,) pooled embedding."""
        states = {caption: self._known[caption] for caption in captions if caption in self._known}
        new = [caption for caption in captions if caption not in states]

        def encode(part: slice) -> None:
            with torch.inference_mode(), quiet():
                made = self.pipe.encode_prompt(
                    prompt=new[part],
                    device=self.pipe.device,
                    num_images_per_prompt=1,
                    do_classifier_free_guidance=self.guided,
                )
            names = (TOKENS, f"negative_{TOKENS}", POOLED, f"negative_{POOLED}")  # the last two of SDXL alone
            encoded = dict(zip(names, made, strict=False))
            own = [name for name in (TOKENS, POOLED) if name in encoded]
            states.update({c: {name: encoded[name][i] for name in own} for i, c in enumerate(new[part])})
            if self.guided and not self._nothing:
                self._nothing = {f"negative_{name}": encoded[f"negative_{name}"][:1] for name in own}

        for _ in self._batches(encode, len(new)):
            pass
        self._known |= {caption: states[caption] for caption in new}
        for caption in list(self._known)[: max(0, len(self._known) - KEPT)]:
            del self._known[caption]
        return states


def _captions(prompts: Sequence[Prompt]) -> list[str]:
    return list(dict.fromkeys(caption for prompt in prompts for caption, _ in blended(prompt)))
