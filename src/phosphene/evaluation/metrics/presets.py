"""Published evaluations under their own name, faults included: to repeat a paper's figure, never to make a new one.

Each fault is one line with the grade of what is known: C or V, read in the code; D, derived from it. What could not be
found out is listed as unknown, and our choice is named there. Nothing here is used by a run of its own accord.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from phosphene import runtime
from phosphene.errors import PhospheneError, nearest
from phosphene.evaluation import retrieval
from phosphene.evaluation.metrics import distributions, pixels
from phosphene.evaluation.metrics.nway import drawn_n_way, judged
from phosphene.evaluation.metrics.pictures import Pictures
from phosphene.evaluation.metrics.pictures import pixels as as_pixels

NSD_PICTURES = 982


class Fault(NamedTuple):
    """Where a published evaluation departs from the metric's definition; ``grade`` says how that is known."""

    text: str
    grade: str


@dataclass(frozen=True)
class Preset:
    """How one paper's code evaluates.

    Parameters
    ----------
    name : "as-in-..."
    source : paper and code.
    measures : metric -> function; each says what it takes.
    faults : what differs from the definition.
    unknown : what could not be found out, with our choice.
    """

    name: str
    source: str
    measures: dict[str, Callable[..., Any]]
    faults: tuple[Fault, ...]
    unknown: tuple[str, ...] = ()

    def note(self) -> str:
        """One line to stand beside every value."""
        return f"{self.name} ({self.source}): " + "; ".join(fault.text for fault in self.faults)


def clamped(drawn: np.ndarray | Tensor) -> Tensor:
    """(n, 3, height, width) drawings of 0 to 255 cut to 0 to 1 without division: all but black becomes 1."""
    return torch.as_tensor(drawn).float().clamp(0, 1)


def atm_pixcorr(drawn: np.ndarray | Tensor, real: Pictures) -> float:
    """Mean PixCorr of `clamped` drawings (n, 3, height, width) 0 to 255 with real[i], over the first 982 pairs."""
    n = min(NSD_PICTURES, len(drawn))
    return float(pixels.pixcorr(clamped(drawn[:n]), real[:n], np.arange(n)).mean())


def atm_k_way(similarity: np.ndarray, k: int, *, top: int = 1, seed: int = 0) -> float:
    """Share of queries whose own item is among the ``top`` of itself and k - 1 items drawn at random, once for each.

    Parameters
    ----------
    similarity : (n, n); item i is the answer to query i.
    k : 2 to n.
    seed : the published draws have none, so that their figure differs from run to run.
    """
    n = len(similarity)
    if not 2 <= k <= n:
        raise PhospheneError(f"{k}-way identification needs 2 to {n} candidates")
    rng = np.random.default_rng(seed)
    others = [np.delete(np.arange(n), i) for i in range(n)]
    better = [np.sum(similarity[i, rng.choice(others[i], k - 1, replace=False)] > similarity[i, i]) for i in range(n)]
    return float(np.mean(np.array(better) < top))


def darkened(pictures: Pictures, side: int = 512) -> Tensor:
    """(n, 3, side, side) 0 to 1: pictures as SYNAPSE saves them, a quarter of the range darker; white becomes 191."""
    return (as_pixels(pictures, side) - 0.25).clamp(0, 1)


def synapse_ga(probabilities: np.ndarray, real: np.ndarray, *, trials: int = 40, seed: int = 0) -> float:
    """50-way top-1 accuracy with the same draws for all samples of an item, and the last item left out.

    Parameters
    ----------
    probabilities : (n_items, n_samples, n_classes) of the drawings.
    real : (n_items, n_classes) of the pictures seen; their argmax is the target.
    trials : draws for each item.
    seed : the published draws have none.
    """
    rng = np.random.default_rng(seed)
    hits = []
    for samples, target in zip(probabilities[:-1], judged(real)[:-1], strict=True):
        others = np.delete(np.arange(samples.shape[1]), target)
        for _ in range(trials):
            drawn = rng.choice(others, 49, replace=False)
            hits.append(samples[:, [target]] > samples[:, drawn])
    if not hits:
        raise PhospheneError("the last item is left out as published: give two or more items")
    return float(np.mean([np.all(hit, axis=1) for hit in hits]))


def synapse_fid(drawn: np.ndarray, real: np.ndarray, samples: int = 5) -> float:
    """Frechet distance of torchvision's Inception features, the real ones of `darkened` pictures.

    Parameters
    ----------
    drawn : (n_items * samples, 2048) of the drawings.
    real : (n_items, 2048), one for each trial: a picture that several people saw is there several times.
    """
    if len(drawn) != samples * len(real):
        raise PhospheneError(f"{len(drawn)} drawings of {len(real)} trials are not {samples} each: say samples=")
    return distributions.frechet(drawn, real)


def lpips_in_unit_range(drawn: Pictures, real: Pictures, model: Any, side: int = 512) -> np.ndarray:
    """(n,) LPIPS of drawn[i] and real[i] given in 0 to 1, where the network expects -1 to 1."""
    model = runtime.place(model)
    with torch.inference_mode():
        pair = (as_pixels(pictures, side).to(runtime.home(model)) for pictures in (drawn, real))
        return model(*pair).reshape(-1).cpu().numpy().astype(float)


def synapse_retrieval(eeg: np.ndarray, pictures: np.ndarray, k: int = 1) -> float:
    """Top-k of the whole split with both lists exchanged: each picture (n, dim) seeks its EEG among all, (n, dim)."""
    found = retrieval.ranks(retrieval.cosine(pictures, eeg)).of(np.arange(len(eeg)))
    return float(retrieval.top_k(found, k).mean())


def own_maximum(signal: np.ndarray) -> np.ndarray:
    """(n_trials, n_chans, n_times) of any unit -> each trial by its own largest value, (x - max / 2) / (max / 2)."""
    half = np.asarray(signal, float).max(axis=(1, 2), keepdims=True) / 2
    return (signal - half) / half


def fid_64(drawn: np.ndarray, real: np.ndarray) -> float:
    """Frechet distance of the 64 features after Inception's first pooling, (n, 64) of each side."""
    if drawn.shape[1] != 64:
        raise PhospheneError(f"FID with feature=64 takes 64 features, not {drawn.shape[1]}: read layer '64'")
    return distributions.frechet(drawn, real)


def unsplit_is(logits: np.ndarray) -> float:
    """IS without splits, (n, 1000) logits of torchvision's Inception on 0 to 1 without mean and deviation."""
    return distributions.inception_score(logits, splits=1, seed=None)[0]


def answers_gallery(captions: Sequence[str]) -> list[str]:
    """The distinct captions of the test pictures, in order: the gallery is made of the answers."""
    return list(dict.fromkeys(captions))


_OLD_IS = (
    Fault("IS by torchvision's Inception in place of the TensorFlow one", "V"),
    Fault("IS inputs are 0 to 1: the declared mean and deviation are never applied", "V"),
    Fault("IS without the 10 splits", "V"),
)
_TARGET = Fault("GA's target is the classifier's argmax on the picture, not the data set's label", "V")
_FEW = Fault("FID of some hundred pictures is strongly biased", "D")

PRESETS = {
    row.name: row
    for row in (
        Preset(
            "as-in-atm",
            "ATM, arXiv 2403.07721, first notebook and retrieval scripts",
            {"pixcorr": atm_pixcorr, "image_top1_of_k": atm_k_way},
            (
                Fault("PixCorr's loop ends at 982, NSD's number of test pictures", "C"),
                Fault("drawings are clamped to 0 to 1 while they run to 255", "C"),
                Fault("the listing of pictures is not sorted, so that pairs depend on the file system", "C"),
                Fault("one drawing of each picture", "C"),
                Fault("EEG subject 8 alone", "C"),
                Fault("k-way distractors are drawn once without a seed", "C"),
                Fault("the epoch is the best one on the test pictures", "C"),
                Fault("multichannel=True on a grey picture: SSIM depends on the version of scikit-image", "C"),
            ),
            (
                "how PixCorr ended with fewer than 982 pictures: here all of them count",
                "which reading of SSIM the paper used: `ssim` and `ssim_columns` are both given",
            ),
        ),
        Preset(
            "as-in-synapse",
            "SYNAPSE, arXiv 2511.17547, released code",
            {
                "ga_50way_top1": synapse_ga,
                "fid": synapse_fid,
                "lpips_alex": lpips_in_unit_range,
                "is": distributions.inception_score,
                "image_topk": synapse_retrieval,
            },
            (
                Fault("the real pictures of FID are darkened by a quarter of the range", "C"),
                Fault("FID by torchvision's Inception (torcheval), 2048 features of 1,223 real pictures", "C"),
                Fault("real pictures count once for each trial, with repeats", "C"),
                _TARGET,
                Fault("GA leaves the last item out", "C"),
                Fault("LPIPS is given 0 to 1 where -1 to 1 is expected", "C"),
                Fault("trials are split at random: a test picture is in training through other subjects", "V"),
                Fault("retrieval in the whole split seeks the EEG of a picture: the two lists are exchanged", "C"),
                Fault("retrieval called local seeks among the 8 to 14 items of a batch", "C"),
                Fault("retrieval by picture name compares empty names, and so is 1", "C"),
                Fault("subject 4's test folder is its validation folder", "C"),
                Fault("a second IS is a softmax of 2048 features, and prints nan", "C"),
            ),
            ("seed of the draws: none was set", "IS, GA and LPIPS of the paper: not accessible"),
        ),
        Preset(
            "as-in-dreamdiffusion",
            "DreamDiffusion, arXiv 2306.16934, released code",
            {"fid": fid_64, "ga_50way_top1": drawn_n_way},
            (
                Fault("FID's features are the 64 of an early layer (feature=64)", "V"),
                _TARGET,
                Fault("the filter i <= len(data) lets one index beyond the data pass", "V"),
            ),
            ("number of draws of its GA: code of this family takes 40 or 50; here 40",),
        ),
        Preset(
            "as-in-brainvis-gwit",
            "BrainVis, arXiv 2312.14871, before March 2025, and GWIT, arXiv 2410.02780",
            {"is": unsplit_is, "ga_50way_top1": drawn_n_way},
            (
                *_OLD_IS,
                _TARGET,
                Fault("num_classes=50 is passed to GA's accuracy", "V"),
                _FEW,
                Fault("old GWIT: indices of the whole list are used in the list of one subject", "V"),
                Fault("GWIT: raw EEG, whose slow drift tells the block", "V"),
            ),
            (
                "number of draws of GA: code of this family takes 40 or 50; here 40",
                "whether num_classes=50 changes a value",
                "whether the network's own input transform was on: here it is as torchvision loads it",
            ),
        ),
        Preset(
            "as-in-eegstylegan",
            "EEGStyleGAN-ADA, arXiv 2310.16532, released code",
            {"signal": own_maximum},
            (
                Fault("each signal is scaled by its own maximum: its size, and the ratio of two trials, are lost", "V"),
                Fault("raw EEG, whose drift tells the block: k-means over 0.9, and 0.14 in 5 to 95 Hz", "V"),
            ),
            ("whether the maximum is of a trial or of a channel: here of a trial",),
        ),
        Preset(
            "as-in-catvis",
            "CATVis, arXiv 2507.11522, released code",
            {"is": unsplit_is, "gallery": answers_gallery},
            (Fault("the caption gallery is made of the test pictures' own captions", "V"), *_OLD_IS),
            ("whether the network's own input transform was on: here it is as torchvision loads it",),
        ),
    )
}


def preset(name: str) -> Preset:
    """The preset of ``name``; `PhospheneError` names the nearest valid one."""
    if name not in PRESETS:
        raise PhospheneError(f"unknown preset '{name}': {nearest(name, PRESETS)}")
    return PRESETS[name]
