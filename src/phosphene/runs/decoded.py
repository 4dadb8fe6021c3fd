"""What a method decoded of a run's test samples: how it is kept, and the pictures nearest to it."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file

from phosphene.errors import PhospheneError
from phosphene.evaluation.retrieval import cosine
from phosphene.generators.base import Conditioning
from phosphene.methods.base import Classifier, Method
from phosphene.utils.checksums import kept
from phosphene.utils.files import write_json
from phosphene.utils.finite import check_finite


class Decoded(NamedTuple):
    """What a method decoded of a fold's test samples.

    Parameters
    ----------
    table : (n_samples, columns) the samples, as in the trial table.
    heads : head -> (n_samples, dim) float32.
    """

    table: pd.DataFrame
    heads: dict[str, torch.Tensor]


def keep_decoded(
    folder: Path, table: pd.DataFrame, heads: Mapping[str, torch.Tensor], drawn: Conditioning | None = None
) -> None:
    """Write what `Experiment.decoded` and `conditioning` read: the samples' table, their heads, what they are drawn
    from; whole or not at all.

    Raises
    ------
    PhospheneError
        If anything of it is not finite: it would be drawn and scored as if it were a vector.
    """
    check_heads(heads)
    if drawn is not None:
        drawn.check_finite()
    fields, words = ({}, {}) if drawn is None else drawn.packed()
    tensors = {f"head.{name}": vectors for name, vectors in heads.items()}
    tensors |= {f"condition.{name}": value for name, value in fields.items()}
    with kept(folder) as part:
        part.mkdir()
        save_file({name: value.contiguous() for name, value in tensors.items()}, part / "decoded.safetensors")
        if words:
            write_json(part / "condition.json", words)
        table.to_csv(part / "table.csv", index=False)


def check_heads(heads: Mapping[str, torch.Tensor]) -> None:
    """Refuse decoded vectors that are not finite."""
    for name, vectors in heads.items():
        check_finite(vectors, f"head '{name}' of test sample")


def nearest_pictures(
    method: Method, table: pd.DataFrame, heads: Mapping[str, torch.Tensor], stimuli: pd.DataFrame, k: int = 5
) -> pd.DataFrame:
    """The table with the ``k`` most similar pictures of ``stimuli`` for each row; ties in the stimuli's order."""
    pictures = stimuli[pictured(stimuli)]
    if isinstance(method, Classifier) and "concept" in pictures:  # of others, it knows nothing
        pictures = pictures[pictures["concept"].isin(method.concepts)]
    if len(pictures) == 0:
        raise PhospheneError("the stimuli hold no picture to retrieve: add an 'image' column to the stimulus table")
    if isinstance(method, Classifier):
        similarity = cosine(heads["concept"].numpy(), method.targets()["concept"].table(pictures).vectors.numpy())
    else:
        similarity = cosine(np.asarray(method.points(heads)), np.asarray(method.pictures(pictures)))
    best = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    table = table.reset_index(drop=True)
    for place in range(best.shape[1]):
        table[f"picture_{place + 1}"] = pictures.index[best[:, place]].to_numpy()
        table[f"similarity_{place + 1}"] = similarity[np.arange(len(best)), best[:, place]]
    return table


def pictured(stimuli: pd.DataFrame) -> np.ndarray:
    """(n_stimuli,) which stimuli have a picture."""
    known = stimuli["image"].fillna("").astype(str) if "image" in stimuli else [""] * len(stimuli)
    return np.array([path != "" for path in known], bool)


def stand_for_categories(gallery: pd.DataFrame) -> bool:
    """Whether no picture of the gallery is known, but only one entry for each concept: then categories are found, and
    a trial is one of its own, not one more look at a picture."""
    return not pictured(gallery).any() and bool(gallery["concept"].is_unique)
