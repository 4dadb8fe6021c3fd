"""Captions by a vision-language model that runs here, through transformers: one row of a table for each model."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from PIL import Image

from phosphene import runtime
from phosphene.captions.base import Captioner
from phosphene.captions.slots import Slot
from phosphene.errors import PhospheneError, nearest
from phosphene.registry import register
from phosphene.settings import Count
from phosphene.utils.files import digest
from phosphene.utils.paths import only_regular
from phosphene.utils.pictures import upright
from phosphene.utils.progress import quiet


@dataclass(frozen=True)
class Model:
    """Where a model comes from, and how it is asked.

    Parameters
    ----------
    repo : Hub id.
    licence : as the model's card says.
    chat : True if it answers questions, so that it can fill every slot; False if it says one thing of a picture.
    revision : commit or tag.
    """

    name: str
    repo: str
    licence: str
    chat: bool
    revision: str = "main"


MODELS = {
    row.name: row
    for row in (
        Model("smolvlm-500m", "HuggingFaceTB/SmolVLM-500M-Instruct", "Apache-2.0", chat=True),
        Model("qwen2-vl-2b", "Qwen/Qwen2-VL-2B-Instruct", "Apache-2.0", chat=True),
        Model("llava-onevision-0.5b", "llava-hf/llava-onevision-qwen2-0.5b-ov-hf", "Apache-2.0", chat=True),
        Model("git-base-coco", "microsoft/git-base-coco", "MIT", chat=False),
        Model("blip-base", "Salesforce/blip-image-captioning-base", "BSD-3-Clause", chat=False),
        Model("blip2-flan-t5-xl", "Salesforce/blip2-flan-t5-xl", "MIT", chat=False),
    )
}


@register("captioner", "vision_language")
class VisionLanguage(Captioner):
    """Captions by a local vision-language model, the same ones at each call.

    Parameters
    ----------
    model : a row of `MODELS`.
    folder : a local folder with model and processor, in place of the Hub's.
    batch_size : pictures at a time.
    device : torch device; "auto" is that of the process (`phosphene.runtime`).
    beams : of the search for the likeliest caption; 1 takes the likeliest word at each step.
    rescale : "once", or "twice": the model sees pixels divided by 255 two times, a nearly black picture. So the
        released code of SYNAPSE (arXiv 2511.17547) makes its captions, by "blip2-flan-t5-xl" with 3 beams.
    """

    def __init__(
        self,
        model: str = "smolvlm-500m",
        folder: str = "",
        batch_size: Count = 8,
        device: str = "auto",
        beams: Count = 1,
        rescale: Literal["once", "twice"] = "once",
    ):
        if model not in MODELS:
            raise PhospheneError(f"unknown caption model '{model}': {nearest(model, MODELS)}")
        for name, value in (("batch_size", batch_size), ("beams", beams)):
            if value < 1:
                raise PhospheneError(f"{name} is {value}: give 1 or more")
        self.model, self.folder, self.batch_size, self.device = model, folder, batch_size, device
        self.beams, self.rescale, self.row = beams, rescale, MODELS[model]
        self._batches = runtime.Batches(batch_size, "batch_size of the captioner")

    @cached_property
    def _files(self) -> str:
        """Checksum of a local folder's files."""
        return digest({p.name: digest(p) for p in sorted(Path(self.folder).iterdir()) if p.is_file()})

    def identity(self) -> str:
        source = f"a local folder@{self._files}" if self.folder else f"{self.row.repo}@{self.row.revision}"
        more = f" beams={self.beams}" * (self.beams > 1) + f" rescale={self.rescale}" * (self.rescale != "once")
        return f"vision_language {self.model} {source}{more}"

    def check(self, stimuli: pd.DataFrame, slots: Sequence[Slot]) -> None:
        super().check(stimuli, slots)
        if self.folder and not Path(self.folder).is_dir():
            raise PhospheneError(f"{self.folder} is not a folder: set folder to one with the model and its processor")
        if self.folder:
            only_regular(Path(self.folder))
        if not self.row.chat and len(slots) != 1:
            able = next(row.name for row in MODELS.values() if row.chat)
            raise PhospheneError(
                f"{self.model} says one thing of a picture and takes no question: choose one slot, such as "
                f"--slot {slots[0].name}, or a model that answers, such as {able}"
            )

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        source = self.folder or self.row.repo
        dtype = runtime.dtype(self.device)
        where: dict[str, Any] = {"local_files_only": True} if self.folder else {"revision": self.row.revision}
        try:
            with quiet():
                from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

                AutoConfig.from_pretrained(source, **where)  # one file; where it cannot be had, no other is waited for
                processor = AutoProcessor.from_pretrained(source, **where)
                model: Any = AutoModelForImageTextToText.from_pretrained(source, dtype=dtype, **where)
        except (OSError, ValueError) as error:
            fix = "look at the folder" if self.folder else f"download it once with `hf download {self.row.repo}`"
            raise PhospheneError(
                f"caption model '{self.model}' ({source}) cannot be loaded: {fix}, or set folder to a local copy"
            ) from error
        processor.tokenizer.padding_side = "left"  # what is said comes after what is asked
        return runtime.frozen(model, self.device).eval().requires_grad_(False), processor

    def say(self, images: Sequence[Image.Image], slots: Sequence[Slot]) -> list[dict[str, str]]:
        def ask(part: slice) -> list[dict[str, str]]:
            said = {slot.name: self._ask(images[part], slot) for slot in slots}
            return [{name: captions[i] for name, captions in said.items()} for i in range(part.stop - part.start)]

        return [row for part in self._batches(ask, len(images)) for row in part]

    def _ask(self, pictures: Sequence[Image.Image], slot: Slot) -> list[str]:
        import torch

        model, processor = self._loaded
        images: list[Any] = [upright(picture) for picture in pictures]
        if self.rescale == "twice":  # 0 to 1 already, which the processor takes for 0 to 255
            images = [np.asarray(image, np.float32) / 255 for image in images]
        if self.row.chat:
            content = [{"type": "image"}, {"type": "text", "text": slot.question}]
            text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
            inputs = processor(
                text=[text] * len(images), images=[[image] for image in images], padding=True, return_tensors="pt"
            )
        else:
            inputs = processor(images=images, return_tensors="pt")
        inputs = inputs.to(model.device, dtype=model.dtype)
        with torch.inference_mode(), quiet():
            out = model.generate(**inputs, do_sample=False, num_beams=self.beams, max_new_tokens=slot.max_tokens - 2)
        asked = inputs["input_ids"].shape[1] if "input_ids" in inputs and not model.config.is_encoder_decoder else 0
        captions: list[str] = processor.batch_decode(out[:, asked:], skip_special_tokens=True)
        return captions
