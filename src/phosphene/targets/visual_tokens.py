"""What a captioner sees of a picture: the last states of its vision tower, on disk and never all in memory."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from phosphene import runtime
from phosphene.backbones.table import CaptionRow, backbone, load_captioner
from phosphene.captions.git import TokenCaptioner
from phosphene.errors import PhospheneError
from phosphene.registry import register
from phosphene.settings import Count
from phosphene.targets.base import Target, TargetTable, picture_digests
from phosphene.utils.checksums import kept
from phosphene.utils.locks import once
from phosphene.utils.pictures import open_picture


@register("target", "visual_tokens")
class CaptionerTokens(Target):
    """Last states of a captioner's vision tower, the class token first (Li et al. 2024, arXiv 2403.07721, captions).

    (n_stimuli, n_tokens, dim). The picture is prepared by the captioner's own processor.

    Parameters
    ----------
    backbone : a caption row of the backbone table.
    batch_size : pictures at a time.
    device : torch device; "auto" is that of the process (`phosphene.runtime`).
    """

    def __init__(self, backbone: CaptionRow = "git-large-coco", batch_size: Count = 8, device: str = "auto"):
        self.row = _row(backbone)
        self.backbone, self.batch_size, self.device = backbone, batch_size, device

    def precision(self) -> str:
        return runtime.precision(self.device)

    def config(self) -> dict[str, Any]:
        return {"backbone": self.row.identity()}

    @property
    def shape(self) -> tuple[int, int]:
        """(n_tokens, dim) of a picture."""
        return self.row.shapes.patches

    @cached_property
    def captioner(self) -> TokenCaptioner:
        """Writes captions from these tokens, or from predicted ones."""
        model, processor, tokenizer = load_captioner(self.backbone)
        return TokenCaptioner(runtime.frozen(model, self.device), processor, tokenizer, self.batch_size)

    def content(self, stimuli: pd.DataFrame) -> list[str]:
        return picture_digests(stimuli)

    def embed(self, stimuli: pd.DataFrame) -> Tensor:
        return torch.cat([torch.empty(0, *self.shape), *self._parts(stimuli)])

    def table(self, stimuli: pd.DataFrame, cache: str | Path | None = None) -> TargetTable:
        """`embed` in half precision, kept on disk under the same kind of key, but written in batches and mapped.

        Of git-large-coco 0.53 MB a picture: 8.7 GB of the 16,540 training pictures of THINGS-EEG2.
        """
        path = self.kept(stimuli, cache, "npy")

        def make() -> None:
            header = {"descr": "<f2", "fortran_order": False, "shape": (len(stimuli), *self.shape)}
            with kept(path) as part, part.open("wb") as file:
                np.lib.format.write_array_header_2_0(file, header)
                for tokens in self._parts(stimuli):
                    file.write(tokens.half().numpy().astype("<f2").tobytes())

        once(path, make)
        # "c" is never written back, and torch wants arrays that may be written to
        return TargetTable([str(n) for n in stimuli.index], torch.from_numpy(np.load(path, mmap_mode="c")))

    def _parts(self, stimuli: pd.DataFrame) -> Iterator[Tensor]:
        images = list(stimuli["image"])
        for i in range(0, len(images), self.batch_size):
            tokens = self.captioner.tokens([open_picture(path) for path in images[i : i + self.batch_size]])
            if tuple(tokens.shape[1:]) != self.shape:
                raise PhospheneError(
                    f"captioner '{self.backbone}' gives tokens of shape {tuple(tokens.shape[1:])}, its row of the "
                    f"backbone table {self.shape}: correct the row"
                )
            self._check(tokens.half(), stimuli.iloc[i : i + self.batch_size])  # as they are kept
            yield tokens


def _row(name: str) -> Any:
    return backbone(name, "caption")
