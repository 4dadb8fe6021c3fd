"""The classifier of generation accuracy: what the field's ViT says of drawings and of the pictures seen.

Generation accuracy has two targets, and papers seldom say which they took. `generation_accuracy` answers for both under
two names: "ga_50way_top1" takes what the classifier itself says of the picture seen (the published code does this), and
"ga_50way_top1_label" the data set's label. Where the classifier is wrong of a picture, only the first calls a drawing
right that shares its mistake.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
from torch import Tensor, nn

from phosphene import runtime
from phosphene.errors import PhospheneError, nearest
from phosphene.evaluation.metrics import nway
from phosphene.evaluation.metrics.networks import IMAGENET, torchvision
from phosphene.evaluation.metrics.paired import question
from phosphene.evaluation.metrics.pictures import Pictures, one_by_one
from phosphene.evaluation.scores import Question


@dataclass(frozen=True)
class Judge:
    """A classifier of torchvision.

    Parameters
    ----------
    model : torchvision's name of the architecture.
    weights : torchvision's name of the weights.
    side : pixels of its input: the shorter side becomes so long, and the middle is cut out.
    n_classes : ImageNet's.
    """

    model: str
    weights: str
    side: int
    n_classes: int = 1000


JUDGES = {"vit-h14": Judge("vit_h_14", "IMAGENET1K_SWAG_E2E_V1", 518)}

#: WordNet id of an EEGCVPR40 class -> its place among ImageNet's 1000 classes
IMAGENET_PLACE = {
    "n02106662": 235,
    "n02124075": 285,
    "n02281787": 326,
    "n02389026": 339,
    "n02492035": 378,
    "n02504458": 386,
    "n02510455": 388,
    "n02607072": 393,
    "n02690373": 404,
    "n02906734": 462,
    "n02951358": 472,
    "n02992529": 487,
    "n03063599": 504,
    "n03100240": 511,
    "n03180011": 527,
    "n03197337": 531,
    "n03272010": 546,
    "n03272562": 547,
    "n03297495": 550,
    "n03376595": 559,
    "n03445777": 574,
    "n03452741": 579,
    "n03584829": 606,
    "n03590841": 607,
    "n03709823": 636,
    "n03773504": 657,
    "n03775071": 658,
    "n03792782": 671,
    "n03792972": 672,
    "n03877472": 697,
    "n03888257": 701,
    "n03982430": 736,
    "n04044716": 755,
    "n04069434": 759,
    "n04086273": 763,
    "n04120489": 770,
    "n07753592": 954,
    "n07873807": 963,
    "n11939491": 985,
    "n13054560": 997,
}


def places(wnids: Sequence[str]) -> np.ndarray:
    """(n,) ImageNet class of each WordNet id of EEGCVPR40; `PhospheneError` names the first that is unknown."""
    for wnid in wnids:
        if wnid not in IMAGENET_PLACE:
            raise PhospheneError(
                f"'{wnid}' has no known place among ImageNet's classes: {nearest(str(wnid), IMAGENET_PLACE)}; "
                "for other pictures pass labels= as numbers from 0 to 999"
            )
    return np.array([IMAGENET_PLACE[wnid] for wnid in wnids], int)


def load_judge(name: str = "vit-h14") -> nn.Module:
    """The classifier, frozen; its weights (2.5 GB) are downloaded once.

    Raises
    ------
    MissingExtra
        Without torchvision.
    PhospheneError
        For an unknown name, or when the weights cannot be downloaded.
    """
    row = _row(name)
    try:
        model = torchvision().models.get_model(row.model, weights=row.weights)
    except (URLError, OSError) as error:
        raise PhospheneError(
            f"the weights of {row.model} ({row.weights}) cannot be downloaded ({error}): "
            "run once with a connection, or pass model="
        ) from error
    return model.eval().requires_grad_(False)


@torch.inference_mode()
def judged(
    pictures: Pictures,
    *,
    judge: str = "vit-h14",
    model: nn.Module | None = None,
    batch_size: int = 8,
    device: str = "auto",
) -> np.ndarray:
    """(n, n_classes) float32 logits of the classifier.

    Parameters
    ----------
    pictures : as for `pictures.pixels`.
    judge : one of `JUDGES`; it says how pictures are resized.
    model : the classifier, where it is not to be loaded by `load_judge`.
    batch_size : pictures at a time.
    device : torch device; "auto" is that of the process (`phosphene.runtime`).
    """
    row = _row(judge)
    net: Any = runtime.place((load_judge(judge) if model is None else model).eval(), device)
    mean, std = (torch.tensor(values)[:, None, None] for values in IMAGENET)

    def answer(part: slice) -> Tensor:
        batch = [(middle(picture, row.side) - mean) / std for picture in one_by_one(pictures[part])]
        found: Tensor = net(torch.cat(batch).to(runtime.home(net)))
        return found.float().cpu()

    parts = list(runtime.Batches(batch_size, "batch_size")(answer, len(pictures)))
    if not parts:
        raise PhospheneError("there are no pictures to compare: draw some first (generator in the recipe)")
    return torch.cat(parts).numpy()


def middle(picture: Tensor, side: int) -> Tensor:
    """(1, 3, side, side) of (1, 3, height, width): bicubic until the shorter side fits, then the middle; 0 to 1."""
    height, width = picture.shape[-2:]
    short = min(height, width)
    size = (side * height // short, side * width // short)
    if size != (height, width):
        picture = torch.nn.functional.interpolate(
            picture, size, mode="bicubic", align_corners=False, antialias=True
        ).clamp(0, 1)
    top, left = (round((length - side) / 2) for length in size)
    return picture[..., top : top + side, left : left + side]


def generation_accuracy(
    drawn: np.ndarray,
    real: np.ndarray,
    truth: np.ndarray,
    clusters: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    backbone: str = "",
) -> list[Question]:
    """50-way top-1 accuracy with the classifier's own target and, given ``labels``, with the data set's.

    Chance is not 1/50 where several pictures have one target: `Question.answer` deals the pictures and says what it is.

    Parameters
    ----------
    drawn : (n_drawn, n_classes) of `judged` for the drawings.
    real : (n_real, n_classes) of `judged` for the pictures, each once and at its true brightness.
    truth : (n_drawn,) picture of each drawing; every drawing counts.
    clusters : (n_drawn,) queries that are not independent share an entry.
    labels : (n_real,) the data set's class of each picture as ImageNet counts them (`places`), 0 to n_classes - 1.
    backbone : the classifier, where it is another than the published one.
    """
    if drawn.ndim != 2 or real.ndim != 2 or drawn.shape[1] != real.shape[1]:
        raise PhospheneError(
            f"outputs {drawn.shape} and {real.shape} do not fit: give (n_drawn, n_classes) and (n_real, n_classes)"
        )
    targets = {"ga_50way_top1": nway.judged(real)}
    if labels is not None:
        if len(labels) != len(real):
            raise PhospheneError(f"{len(labels)} labels for {len(real)} pictures: give one for each picture")
        targets["ga_50way_top1_label"] = np.asarray(labels)
    return [question(name, nway.n_way(drawn, target), truth, clusters, backbone) for name, target in targets.items()]


def _row(name: str) -> Judge:
    if name not in JUDGES:
        raise PhospheneError(f"unknown judge '{name}': {nearest(name, JUDGES)}")
    return JUDGES[name]
