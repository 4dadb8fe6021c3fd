"""`Target`: a frozen space in which stimuli are vectors. Knows nothing of EEG."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from phosphene.errors import PhospheneError, nearest
from phosphene.utils.checksums import kept
from phosphene.utils.files import cache_folder, digest
from phosphene.utils.finite import check_finite
from phosphene.utils.locks import once
from phosphene.utils.paths import regular
from phosphene.utils.pictures import oddities


@dataclass
class TargetTable:
    """Vectors of stimuli by name.

    Parameters
    ----------
    names : (n_stimuli,) stimulus names.
    vectors : (n_stimuli, *shape) float32.
    """

    names: list[str]
    vectors: Tensor

    def __post_init__(self) -> None:
        self._row = {name: i for i, name in enumerate(self.names)}

    def rows(self, names: Iterable[str]) -> Tensor:
        """(n,) row of each name."""
        try:
            return torch.tensor([self._row[n] for n in names], dtype=torch.long)
        except KeyError as error:
            raise PhospheneError(f"stimulus {error} has no target vector: add it to the stimulus table") from None

    def __getitem__(self, names: Iterable[str]) -> Tensor:
        """(n, *shape) vectors of these stimuli."""
        return self.vectors[self.rows(names)]


class Target(ABC):
    """Base of every target space."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Everything that the vectors depend on besides the stimuli, revisions included."""

    @abstractmethod
    def content(self, stimuli: pd.DataFrame) -> list[str]:
        """(n_stimuli,) what is embedded: a digest of each picture's bytes, or each caption."""

    @abstractmethod
    def embed(self, stimuli: pd.DataFrame) -> Tensor:
        """(n_stimuli, *shape) float32 vectors, in the table's order."""

    def precision(self) -> str:
        """In what the target's model computes, see `phosphene.runtime`; a target without one gives exact vectors."""
        return "fp32"

    def shortened(self, stimuli: pd.DataFrame) -> str:
        """A sentence on captions that are longer than a text encoder reads; empty where there are none."""
        return ""

    def table(self, stimuli: pd.DataFrame, cache: str | Path | None = None) -> TargetTable:
        """`embed`, kept on disk under a key of configuration, revision, content and, if not "fp32", precision.

        Parameters
        ----------
        cache : folder; default `$PHOSPHENE_CACHE`, else `~/.cache/phosphene`.

        Raises
        ------
        PhospheneError
            If the vector of a stimulus is not finite.
        """
        path = self.kept(stimuli, cache, "safetensors")

        def make() -> None:
            vectors = self.embed(stimuli).float().cpu().contiguous()
            self._check(vectors, stimuli)
            with kept(path) as part:
                save_file({"vectors": vectors}, part)

        once(path, make)
        vectors = load_file(path)["vectors"]
        self._check(vectors, stimuli)
        return TargetTable([str(n) for n in stimuli.index], vectors)

    def _check(self, vectors: Tensor, stimuli: pd.DataFrame) -> None:
        """Refuse NaN and infinity, of which nothing can be learned; names the stimulus and its picture."""
        images = stimuli["image"] if "image" in stimuli else [""] * len(stimuli)
        names = [f"'{n}'" + f" ({image})" * bool(image) for n, image in zip(stimuli.index, images, strict=True)]
        fix = "replace the picture, or check the backbone and its device"
        check_finite(vectors, f"the {type(self).__name__} target of stimulus", fix, names)

    def kept(self, stimuli: pd.DataFrame, cache: str | Path | None, suffix: str) -> Path:
        """Where the table of these stimuli lies, once it is made."""
        parts = [type(self).__name__, self.config(), self.content(stimuli)]
        if self.precision() != "fp32":  # its vectors are not taken for exact ones
            parts.append(self.precision())
        key = digest(parts, 24)
        return cache_folder(cache, "targets") / f"{key}.{suffix}"


def picture_digests(stimuli: pd.DataFrame) -> list[str]:
    """(n_stimuli,) a digest of each picture's bytes, for targets that are made of pictures.

    Raises
    ------
    PhospheneError
        If the table has no pictures, or one is missing.
    """
    if "image" not in stimuli:
        raise PhospheneError("the stimuli have no column 'image': add the picture's path to the stimulus table")
    for path in stimuli["image"]:
        regular(path, "is missing: restore it or drop its trials", "picture")
    # what is not read as it is stored was read otherwise once: its vectors of then are not taken for those of now
    return [digest(Path(p)) + ("-read" if oddities(p) & {"turned", "deep"} else "") for p in stimuli["image"]]


def sentences(stimuli: pd.DataFrame, slot: str, template: str) -> list[str]:
    """(n_stimuli,) a caption of each, in a sentence with {} for it, for targets that are made of captions.

    Raises
    ------
    PhospheneError
        If the table has no such column, or a missing value in it.
    """
    if slot not in stimuli:
        raise PhospheneError(f"the stimuli have no caption column '{slot}': {nearest(slot, stimuli.columns)}")
    if (gaps := stimuli[slot].isna()).any():
        raise PhospheneError(f"stimulus '{stimuli.index[gaps][0]}' has no {slot} ({int(gaps.sum())} such): write it")
    return [template.format(caption) for caption in stimuli[slot]]
