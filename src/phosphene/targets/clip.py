"""CLIP's joint space: pictures and captions of the stimuli."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from phosphene import runtime
from phosphene.backbones.table import ClipRow, backbone, load_clip, load_tokenizer, n_read, n_tokens
from phosphene.captions.tokens import shortened_sentence
from phosphene.registry import register
from phosphene.settings import Count, Shift
from phosphene.targets.base import Target, picture_digests, sentences
from phosphene.utils.pictures import LARGEST, open_picture, upright


class CLIP(Target):
    """What both halves share: the model, loaded when first needed.

    Parameters
    ----------
    backbone : a CLIP row of the backbone table.
    batch_size : pictures or captions at a time.
    device : torch device; "auto" is that of the process (`phosphene.runtime`).
    """

    def __init__(self, backbone: str = "mini", batch_size: int = 128, device: str = "auto"):
        self.backbone, self.batch_size, self.device = backbone, batch_size, device
        self._batches = runtime.Batches(batch_size, f"batch_size of {type(self).__name__}")

    def precision(self) -> str:
        return runtime.precision(self.device)

    def config(self) -> dict[str, Any]:
        return {"backbone": backbone(self.backbone, "clip").identity()}

    @cached_property
    def _clip(self) -> tuple[Any, Any, Any]:
        model, processor, tokenizer = load_clip(self.backbone)
        return runtime.frozen(model, self.device), processor, tokenizer

    @property
    def dim(self) -> int:
        """Length of a vector; no model is loaded to know it."""
        image = backbone(self.backbone, "clip").shapes.image
        assert image is not None  # of every CLIP row
        return image

    shift: float = 0.0

    @torch.inference_mode()
    def images(self, images: Sequence[Image.Image]) -> Tensor:
        """(n, dim) un-normalised image embeddings."""
        model, processor, _ = self._clip

        def embed(part: slice) -> Tensor:
            pixels = processor([upright(image) for image in images[part]], return_tensors="pt")["pixel_values"]
            pooled = model.vision_model(pixel_values=(pixels + self.shift).to(model.device, model.dtype)).pooler_output
            return model.visual_projection(pooled).float().cpu()

        return torch.cat([torch.empty(0, self.dim), *self._batches(embed, len(images))])

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """(n, dim) un-normalised text embeddings; a caption longer than the model reads is cut."""
        model, _, tokenizer = self._clip

        def embed(part: slice) -> Tensor:
            tokens = tokenizer(
                list(texts[part]),
                padding="max_length",
                truncation=True,
                return_tensors="pt",
                max_length=model.config.text_config.max_position_embeddings,
            )
            ids, mask = (tokens[name].to(model.device) for name in ("input_ids", "attention_mask"))
            pooled = model.text_model(input_ids=ids, attention_mask=mask).pooler_output
            return model.text_projection(pooled).float().cpu()

        return torch.cat([torch.empty(0, self.dim), *self._batches(embed, len(texts))])

    def fits(self, text: str) -> bool:
        """Whether the model reads all of a caption."""
        model, _, tokenizer = self._clip
        return n_tokens(text, tokenizer) <= int(model.config.text_config.max_position_embeddings)


@register("target", "clip_image")
class CLIPImage(CLIP):
    """CLIP's embedding of the picture shown: (n_stimuli, dim), not normalised (Radford et al. 2021, section 2.3).

    Parameters
    ----------
    backbone, batch_size, device : see `CLIP`.
    shift : added to every normalised pixel; only a published fault (-0.5, see `phosphene.methods.synapse`) needs it.
    """

    def __init__(self, backbone: ClipRow = "mini", batch_size: Count = 128, device: str = "auto", shift: Shift = 0.0):
        super().__init__(backbone, batch_size, device)
        self.shift = shift

    def config(self) -> dict[str, Any]:
        return super().config() | ({"shift": self.shift} if self.shift else {})

    def content(self, stimuli: pd.DataFrame) -> list[str]:
        return picture_digests(stimuli)

    def embed(self, stimuli: pd.DataFrame) -> Tensor:
        parts, held, pixels = [], [], 0
        for path in stimuli["image"]:
            held.append(open_picture(path))
            pixels += held[-1].width * held[-1].height
            if len(held) == self.batch_size or pixels > LARGEST:  # a batch of large pictures is a small one
                parts.append(self.images(held))
                held, pixels = [], 0
        if held:
            parts.append(self.images(held))
        return torch.cat(parts) if parts else torch.empty(0, self.dim)


THIS_PICTURE = "This picture is {}"  # the sentence of a concept that ATM was published with
PHOTO = "a photo of a {}"  # the prompt of a label alone, ours


@register("target", "clip_text")
class CLIPText(CLIP):
    """CLIP's embedding of one caption of each stimulus: (n_stimuli, dim), not normalised.

    Parameters
    ----------
    slot : the stimulus table's caption column, such as "ObjectSnap".
    template : a sentence with {} for what the column holds, such as `THIS_PICTURE`.
    """

    def __init__(
        self,
        slot: str = "ObjectSnap",
        backbone: ClipRow = "mini",
        batch_size: Count = 128,
        device: str = "auto",
        template: str = "{}",
    ):
        super().__init__(backbone, batch_size, device)
        self.slot, self.template = slot, template

    def content(self, stimuli: pd.DataFrame) -> list[str]:
        return sentences(stimuli, self.slot, self.template)

    def shortened(self, stimuli: pd.DataFrame) -> str:
        return shortened_sentence(
            self.slot, self.content(stimuli), load_tokenizer(self.backbone), n_read(self.backbone)
        )

    def embed(self, stimuli: pd.DataFrame) -> Tensor:
        return self.texts(self.content(stimuli))
