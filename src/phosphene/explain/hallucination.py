"""Hallucination: a sharp picture of the wrong thing.

A judge names what a drawn picture shows and how sure it is. A picture that it names with the confidence that it has of
real pictures, and that shows something else than was seen, is a hallucination. A blurred picture is a failure too, but
not this one. How sure is sure is not chosen: it is read from the judge's confidence on the true pictures.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from phosphene.errors import PhospheneError, nearest
from phosphene.evaluation.statistics import bootstrap, permutation
from phosphene.utils.pictures import upright

TOLERATED = 0.1  # more than one picture in ten; our choice
QUANTILE = 0.05  # of the judge's confidence on true pictures: it is this sure, or surer, of 95 % of them

Pictures = Sequence[Image.Image]


class Judged(NamedTuple):
    """What a judge says of pictures.

    Parameters
    ----------
    labels : (n,) names.
    confidence : (n,) probability that it gives the name.
    """

    labels: np.ndarray
    confidence: np.ndarray


@dataclass(frozen=True)
class Hallucination:
    """How many drawn pictures are sharp and wrong.

    Parameters
    ----------
    rate, ci_low, ci_high : share of drawn pictures, and its 95 % interval over stimuli.
    shuffled : the rate if the drawings were dealt to the stimuli at random, over all pairings.
    p : one-sided, of a rate as low as this by dealing at random: small where drawings know of their stimulus.
    sharp : share of drawn pictures that the judge is sure of.
    wrong_if_sharp : share of those that show something else; NaN where none is sharp.
    judge_error : the same rate on the true pictures: what the judge itself gets wrong.
    judge_error_high : upper end of its 95 % interval.
    threshold : confidence from which a picture is sharp.
    hallucinates : whether ``ci_low`` is above both the tolerated rate and ``judge_error_high``.
    table : one row a drawing: stimulus, truth, label, confidence, sharp, hallucinated.
    """

    rate: float
    ci_low: float
    ci_high: float
    shuffled: float
    p: float
    sharp: float
    wrong_if_sharp: float
    judge_error: float
    judge_error_high: float
    threshold: float
    hallucinates: bool
    table: pd.DataFrame

    def facts(self) -> dict[str, Any]:
        """The verdict and its rule, JSON-able."""
        facts = {k: v for k, v in asdict(self).items() if k != "table"}
        return {**facts, "n": len(self.table), "rule": "ci_low > tolerated rate and > judge_error_high"}


def hallucination(
    drawn: Judged,
    seen: Sequence[str] | np.ndarray,
    real: Judged,
    real_labels: Sequence[str] | np.ndarray,
    *,
    stimulus: Sequence[str] | np.ndarray | None = None,
    quantile: float = QUANTILE,
    tolerated: float = TOLERATED,
    n_perm: int = 2000,
    seed: int = 0,
) -> Hallucination:
    """The rate of confident wrong pictures, and whether it is a fault.

    Parameters
    ----------
    drawn : the judge's word on n drawings.
    seen : (n,) what was seen, in the judge's words.
    real : the judge's word on true pictures, never those that it was trained on.
    real_labels : what these show.
    stimulus : (n,) the picture behind each drawing; several drawings of one stay together. None: each its own.
    quantile : the threshold is this quantile of the judge's confidence on true pictures.
    tolerated : rate above which it is a fault.
    """
    seen, labels, confidence = np.asarray(seen), np.asarray(drawn.labels), np.asarray(drawn.confidence, float)
    if len(seen) != len(labels) or len(seen) == 0:
        raise PhospheneError(f"{len(labels)} drawings were judged and {len(seen)} seen: give one for each")
    if len(real.labels) != len(real_labels) or len(real_labels) == 0:
        raise PhospheneError("the true pictures calibrate the judge: give one at least, and a label for each")
    clusters = np.arange(len(seen)) if stimulus is None else np.asarray(stimulus)
    sure_of_real = np.asarray(real.confidence, float)
    threshold = float(np.quantile(sure_of_real, quantile))
    sharp = confidence >= threshold
    fault = sharp & (labels != seen)
    low, high = bootstrap(fault.astype(float), clusters, seed=seed)
    missed = ((sure_of_real >= threshold) & (np.asarray(real.labels) != np.asarray(real_labels))).astype(float)
    error_high = _wilson_high(missed)
    names, counts = np.unique(seen, return_counts=True)
    match = np.array([dict(zip(names, counts / len(seen), strict=True)).get(label, 0.0) for label in labels])
    p = permutation(
        lambda order: float(np.mean(sharp & (labels != seen[order]))),
        len(seen),
        clusters=clusters,
        higher_is_better=False,
        n_perm=n_perm,
        seed=seed,
    )
    table = pd.DataFrame(
        {
            "stimulus": clusters,
            "truth": seen,
            "label": labels,
            "confidence": confidence,
            "sharp": sharp,
            "hallucinated": fault,
        }
    )
    return Hallucination(
        rate=float(fault.mean()),
        ci_low=low,
        ci_high=high,
        shuffled=float(np.mean(sharp * (1 - match))),
        p=p,
        sharp=float(sharp.mean()),
        wrong_if_sharp=float(fault[sharp].mean()) if sharp.any() else float("nan"),
        judge_error=float(missed.mean()),
        judge_error_high=error_high,
        threshold=threshold,
        hallucinates=low > max(tolerated, error_high),
        table=table,
    )


def _wilson_high(missed: np.ndarray) -> float:
    """Upper end of Wilson's 95 % interval of a share, which is not 0 where no miss was seen (Wilson 1927)."""
    n, p, z = len(missed), missed.mean(), 1.96
    return float((p + z**2 / (2 * n) + z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))) / (1 + z**2 / n))


def scene_judge(attribute: str = "object", folder: str | None = None) -> Callable[[Pictures], Judged]:
    """A judge of drawn scenes: `phosphene.simulate.judge`; ``attribute`` is what it names."""
    from phosphene.simulate.judge import load_judge

    judge = load_judge(folder)
    if attribute not in judge.attributes:
        raise PhospheneError(f"the judge names no '{attribute}': {nearest(attribute, judge.attributes)}")
    names = np.array(judge.attributes[attribute])

    @torch.inference_mode()
    def say(pictures: Pictures) -> Judged:
        size = (judge.size, judge.size)
        arrays = [np.asarray(upright(p).resize(size), np.float32) / 255 for p in pictures]
        share = judge.logits(torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2))[attribute].softmax(dim=1)
        best = share.max(dim=1)
        return Judged(names[best.indices.numpy()], best.values.numpy().astype(float))

    return say


def zero_shot_judge(
    embed: Callable[[Pictures], Tensor], names: Sequence[str], texts: Tensor, scale: float = 100.0
) -> Callable[[Pictures], Judged]:
    """A judge of any picture: CLIP's zero-shot labels (Radford et al. 2021, section 3.1).

    Parameters
    ----------
    embed : pictures -> (n, dim) image vectors, such as `CLIPImage(...).images`.
    names : (n_names,) the labels to choose from.
    texts : (n_names, dim) vectors of their captions. A judge that shares its CLIP with the decoder's targets is
        partial to it: take another backbone.
    scale : inverse temperature of the softmax over cosines; 100 is CLIP's.
    """
    known = np.array(names)
    if len(known) != len(texts) or len(known) < 2:
        raise PhospheneError(f"{len(known)} names and {len(texts)} caption vectors: give one for each, two at least")

    def say(pictures: Pictures) -> Judged:
        image = F.normalize(embed(pictures).float(), dim=-1)
        share = (scale * image @ F.normalize(texts.float(), dim=-1).T).softmax(dim=1)
        best = share.max(dim=1)
        return Judged(known[best.indices.cpu().numpy()], best.values.cpu().numpy().astype(float))

    return say
