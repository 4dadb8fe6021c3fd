"""Text states: what a caption is to a diffusion model's cross-attention, token by token."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor

from phosphene import runtime
from phosphene.backbones.table import backbone, load_clip, load_text_encoder, load_tokenizer, n_read
from phosphene.captions.tokens import shortened_sentence
from phosphene.errors import PhospheneError, nearest
from phosphene.registry import register
from phosphene.settings import Count
from phosphene.targets.base import Target, sentences

WHICH = ("conditioning", "unmasked")


@register("target", "text_states")
class TextStates(Target):
    """States of one caption of each stimulus: (n_stimuli, n_tokens, dim), not normalised.

    Parameters
    ----------
    slot : the stimulus table's caption column, such as "ObjectSnap"; "concept" with a ``template`` says the class.
    template : a sentence with {} for what the column holds.
    backbone : a row of the backbone table: of a diffusion model for "conditioning", of a CLIP for "unmasked".
    which : "conditioning" are the states that the U-Net was trained to read, by the diffusion model's own text encoder.
        "unmasked" are those of CLIP's last layer with the causal mask left out, to which SYNAPSE (arXiv 2511.17547)
        aligns EEG in its released code.
    batch_size : captions at a time.
    device : torch device; "auto" is that of the process (`phosphene.runtime`).
    """

    def __init__(
        self,
        slot: str = "ObjectSnap",
        template: str = "{}",
        backbone: str = "mini",
        which: Literal["conditioning", "unmasked"] = "conditioning",
        batch_size: Count = 64,
        device: str = "auto",
    ):
        if which not in WHICH:
            raise PhospheneError(f"unknown states '{which}': {nearest(which, WHICH)}")
        self.slot, self.template, self.backbone, self.which = slot, template, backbone, which
        self.batch_size, self.device = batch_size, device
        self._batches = runtime.Batches(batch_size, "batch_size of TextStates")
        self.row  # noqa: B018  an unknown row is refused at once

    @property
    def row(self) -> Any:
        return backbone(self.backbone, "diffusion" if self.which == "conditioning" else "clip")

    @property
    def shape(self) -> tuple[int, int]:
        """(n_tokens, dim) of a caption's states."""
        shape = self.row.shapes.tokens
        if shape is None:
            raise PhospheneError(f"backbone '{self.backbone}' reads no captions: choose another")
        return int(shape[0]), int(shape[1])

    def precision(self) -> str:
        return runtime.precision(self.device)

    def config(self) -> dict[str, Any]:
        return {"backbone": self.row.identity(), "which": self.which}

    def content(self, stimuli: pd.DataFrame) -> list[str]:
        return sentences(stimuli, self.slot, self.template)

    def shortened(self, stimuli: pd.DataFrame) -> str:
        return shortened_sentence(
            self.slot, self.content(stimuli), load_tokenizer(self.backbone), n_read(self.backbone)
        )

    def embed(self, stimuli: pd.DataFrame) -> Tensor:
        captions = self.content(stimuli)
        distinct = sorted(set(captions))
        place = {caption: i for i, caption in enumerate(distinct)}
        return self.states(distinct)[[place[caption] for caption in captions]]

    @cached_property
    def _text(self) -> tuple[Any, Any]:
        if self.which == "conditioning":
            model, tokenizer = load_text_encoder(self.backbone)
        else:
            clip, _, tokenizer = load_clip(self.backbone)
            model = clip.text_model
        return runtime.frozen(model, self.device), tokenizer

    @torch.inference_mode()
    def states(self, captions: Sequence[str]) -> Tensor:
        """(n, n_tokens, dim) of captions; one that is longer than the model reads is cut."""
        model, tokenizer = self._text

        def states(part: slice) -> Tensor:
            ids = tokenizer(
                list(captions[part]),
                padding="max_length",
                truncation=True,
                max_length=self.shape[0],
                return_tensors="pt",
            )["input_ids"].to(model.device)
            if self.which == "conditioning":
                found = model(input_ids=ids).last_hidden_state
            else:
                embedded = model.embeddings(input_ids=ids)
                whole = model.encoder(inputs_embeds=embedded, attention_mask=None, is_causal=False).last_hidden_state
                found = model.final_layer_norm(whole)
            return found.float().cpu()

        return torch.cat([torch.empty(0, *self.shape), *self._batches(states, len(captions))])
