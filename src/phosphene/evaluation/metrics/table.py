"""THE table of metrics: formula, source, direction, backbone and library of each, to stand beside its value."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from phosphene.errors import PhospheneError, nearest

#: what a recipe may ask of drawings, see `chosen`
OfDrawings = Literal["clip", "alexnet2", "alexnet5", "inception", "effnet", "swav", "lpips", "ga", "fid", "kid", "is"]
UNPAIRED = "never sees which EEG made which picture: exchanging the EEG of all trials cannot change it"


@dataclass(frozen=True)
class Metric:
    """What a number is.

    Parameters
    ----------
    name : in `scores.csv`.
    label : the field's name, as it is printed.
    formula : in one line.
    source : paper and place.
    higher_is_better : direction.
    backbone : the frozen network that it rests on; "" for none.
    package : the distribution that computes it or holds the network; phosphene where that is our own code.
    paired : whether it sees which EEG made which picture.
    note : what to know before reading it.
    """

    name: str
    label: str
    formula: str
    source: str
    higher_is_better: bool = True
    backbone: str = ""
    package: str = "phosphene"
    paired: bool = True
    note: str = ""

    @property
    def direction(self) -> str:
        """ "higher" or "lower", whichever is better."""
        return "higher" if self.higher_is_better else "lower"

    @property
    def library(self) -> str:
        """The package and its version in this process; "(not installed)" where it is absent."""
        try:
            return f"{self.package} {version(self.package)}"
        except PackageNotFoundError:
            return f"{self.package} (not installed)"

    def card(self, n: int, backbone: str = "") -> dict[str, Any]:
        """All that stands beside the value: one row of a report.

        Parameters
        ----------
        n : drawings or captions that were scored.
        backbone : the network in fact used, where it is not the usual one.
        """
        return {
            "metric": self.name,
            "label": self.label,
            "formula": self.formula,
            "source": self.source,
            "n": n,
            "better": self.direction,
            "backbone": backbone or self.backbone,
            "library": self.library,
            "paired": self.paired,
            "note": self.note,
        }


_MINDEYE = "Scotti et al. 2023 (MindEye, arXiv 2305.18274), evaluation metrics; ATM (arXiv 2403.07721), table 1"
_TWO_WAY = "share of the other real pictures whose features correlate less with the drawing's than the true one's do"
_DISTANCE = "1 - Pearson correlation of the drawing's features and the picture's"
_TIE = "a tie is a miss; the distractors are real pictures; chance 0.5"
_FRECHET = "|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of the features' means and covariances"
_KID = "squared maximum mean discrepancy, unbiased, kernel (x.y / dim + 1)^3"
_HEUSEL = "Heusel et al. 2017 (FID, arXiv 1706.08500), equation 6"
_BINKOWSKI = "Binkowski et al. 2018 (KID, arXiv 1801.01401), section 4"
_SWEPT = "biased upwards by few pictures, all the more below 2048: compare at equal N only"
_INFINITE = "value at 1 / N = 0 of a line fitted to FID over 1 / N, of 15 sizes N from half of both sets to all"
_CHONG = "Chong and Forsyth 2020 (FID-infinity, arXiv 1911.07023), section 4"
_NEEDS = "refused below as many pictures as features in each half; published: from a tenth, real pictures not reduced"
_GA = "Bai et al. 2023 (DreamDiffusion, arXiv 2306.16934), n-way top-k classification"
_N_WAY = "probability that the target class is among the top k of itself and n - 1 classes drawn at random"


def _rows() -> tuple[Metric, ...]:
    def lower(name: str, label: str, formula: str, source: str, **other: Any) -> Metric:
        return Metric(name, label, formula, source, False, **other)

    return (
        Metric("pixcorr", "PixCorr", "Pearson correlation over flattened RGB at 425 pixels", _MINDEYE),
        Metric(
            "ssim",
            "SSIM",
            "structural similarity of grey pictures at 425 pixels, Gaussian window of sigma 1.5",
            f"Wang et al. 2004, equation 13; {_MINDEYE}",
            note="as scikit-image 0.20 and later read the scripts",
        ),
        Metric(
            "ssim_columns",
            "SSIM (columns)",
            "mean of one-dimensional SSIMs down the columns, else as SSIM",
            _MINDEYE,
            note="as scikit-image up to 0.19 read the scripts; which one a paper used is seldom said",
        ),
        Metric(
            "alexnet2_2way",
            "AlexNet(2)",
            _TWO_WAY,
            _MINDEYE,
            backbone="AlexNet IMAGENET1K_V1 features.4",
            package="torchvision",
            note=_TIE,
        ),
        Metric(
            "alexnet5_2way",
            "AlexNet(5)",
            _TWO_WAY,
            _MINDEYE,
            backbone="AlexNet IMAGENET1K_V1 features.11",
            package="torchvision",
            note=_TIE,
        ),
        Metric(
            "inception_2way",
            "Inception",
            _TWO_WAY,
            _MINDEYE,
            backbone="Inception v3 IMAGENET1K_V1 avgpool",
            package="torchvision",
            note=_TIE,
        ),
        Metric("clip_2way", "CLIP", _TWO_WAY, _MINDEYE, backbone="clip-vit-l14", package="transformers", note=_TIE),
        lower(
            "effnet_distance",
            "EffNet-B",
            _DISTANCE,
            _MINDEYE,
            backbone="EfficientNet-B1 IMAGENET1K_V2 avgpool",
            package="torchvision",
            note="the sources read do not say which of torchvision's two B1 weights",
        ),
        lower(
            "swav_distance",
            "SwAV",
            _DISTANCE,
            _MINDEYE,
            backbone="SwAV ResNet-50 avgpool",
            package="torchvision",
            note="weights of facebookresearch/swav, loaded into torchvision's ResNet-50",
        ),
        lower(
            "lpips_alex",
            "LPIPS (Alex)",
            "weighted squared distance of unit-length features, mean over places, summed over layers",
            "Zhang et al. 2018 (LPIPS, arXiv 1801.03924), equation 1",
            backbone="AlexNet, LPIPS v0.1",
            package="lpips",
            note="pictures are given in -1 to 1, as the network expects",
        ),
        Metric(
            "ga_50way_top1",
            "GA (50-way top-1)",
            f"{_N_WAY}; target: the classifier's argmax on the picture seen",
            _GA,
            backbone="ViT-H/14 IMAGENET1K_SWAG_E2E_V1",
            package="torchvision",
            note="closed form, no draws; the target is what the classifier says of the picture, not its label",
        ),
        Metric(
            "ga_50way_top1_label",
            "GA (50-way top-1, label)",
            f"{_N_WAY}; target: the data set's label",
            _GA,
            backbone="ViT-H/14 IMAGENET1K_SWAG_E2E_V1",
            package="torchvision",
            note="ours: the label is the target",
        ),
        lower(
            "fid",
            "FID",
            _FRECHET,
            _HEUSEL,
            backbone="Inception v3 (TensorFlow, 2048)",
            package="torch-fidelity",
            paired=False,
            note=f"{UNPAIRED}; {_SWEPT}",
        ),
        lower(
            "fid_mini",
            "FID (mini)",
            _FRECHET,
            _HEUSEL,
            backbone="mini",
            paired=False,
            note=f"{UNPAIRED}; not FID: features of the shipped CLIP",
        ),
        lower(
            "fid_infinity",
            "FID-infinity",
            _INFINITE,
            _CHONG,
            backbone="Inception v3 (TensorFlow, 2048)",
            package="torch-fidelity",
            paired=False,
            note=f"{UNPAIRED}; {_NEEDS}",
        ),
        lower(
            "fid_infinity_mini",
            "FID-infinity (mini)",
            _INFINITE,
            _CHONG,
            backbone="mini",
            paired=False,
            note=f"{UNPAIRED}; not FID: features of the shipped CLIP; {_NEEDS}",
        ),
        lower(
            "kid",
            "KID",
            f"{_KID}; over all pictures",
            _BINKOWSKI,
            backbone="Inception v3 (TensorFlow, 2048)",
            package="torch-fidelity",
            paired=False,
            note=f"{UNPAIRED}; ours: all pictures instead of subsets",
        ),
        lower(
            "kid_mini",
            "KID (mini)",
            f"{_KID}; over all pictures",
            _BINKOWSKI,
            backbone="mini",
            paired=False,
            note=f"{UNPAIRED}; not KID: features of the shipped CLIP",
        ),
        lower(
            "kid_subsets",
            "KID (subsets)",
            f"{_KID}; mean over 100 subsets of 1000",
            _BINKOWSKI,
            backbone="Inception v3 (TensorFlow, 2048)",
            package="torch-fidelity",
            paired=False,
            note=f"{UNPAIRED}; its printed +/- is the spread over subsets, not an interval",
        ),
        Metric(
            "is",
            "IS",
            "exp of the mean divergence of a picture's class probabilities from the mean ones; 10 splits",
            "Salimans et al. 2016 (IS, arXiv 1606.03498), section 4",
            backbone="Inception v3 (TensorFlow, logits)",
            package="torch-fidelity",
            paired=False,
            note=f"{UNPAIRED}; at most the number of classes drawn, so that class names alone bring most of it",
        ),
        Metric("exact_match", "Exact match", "share of captions equal to the true one, case and spaces aside", "ours"),
        Metric(
            "bleu1",
            "BLEU-1",
            "clipped unigram precision times brevity penalty, of each caption",
            "Papineni et al. 2002, section 2.3",
            package="nltk",
            note="smoothed (method 1), mean over captions",
        ),
        Metric(
            "bleu4",
            "BLEU-4",
            "geometric mean of 1- to 4-gram precisions times brevity penalty, of each caption",
            "Papineni et al. 2002, section 2.3",
            package="nltk",
            note="smoothed (method 1), mean over captions",
        ),
        Metric(
            "rouge_l",
            "ROUGE-L",
            "F1 of the longest common subsequence of words",
            "Lin 2004, section 3.1",
            package="rouge-score",
            note="no stemming",
        ),
        Metric(
            "meteor",
            "METEOR",
            "harmonic mean of word matches (exact, stem, WordNet), less a penalty for order",
            "Banerjee and Lavie 2005, section 2",
            package="nltk",
            note="needs WordNet: python -m nltk.downloader wordnet",
        ),
        Metric(
            "cider",
            "CIDEr",
            "mean over n = 1 to 4 of the cosine of n-gram counts times log(N / pictures that have them)",
            "Vedantam et al. 2015 (CIDEr, arXiv 1411.5726), section 4",
            note="0 to 1, no stemming; most papers print CIDEr-D under this name; depends on which captions are true",
        ),
        Metric(
            "cider_d",
            "CIDEr-D",
            "as CIDEr with clipped counts, times 10 exp(-(difference of word counts)^2 / 72)",
            "Vedantam et al. 2015 (CIDEr, arXiv 1411.5726), section 4.2",
            note="0 to 10, as the COCO code computes it, which calls it CIDEr; depends on which captions are true",
        ),
        Metric(
            "clipscore",
            "CLIPScore",
            "2.5 max(cos(picture, caption), 0)",
            "Hessel et al. 2021 (CLIPScore, arXiv 2104.08718), section 3",
            backbone="the CLIP given",
            package="transformers",
            note="the published one is of ViT-B/32 and puts 'A photo depicts ' first",
        ),
    )


#: name in `scores.csv` -> what it is
METRICS: dict[str, Metric] = {row.name: row for row in _rows()}


def metric(name: str) -> Metric:
    """The row of ``name``; `PhospheneError` names the nearest valid one."""
    if name not in METRICS:
        raise PhospheneError(f"unknown metric '{name}': {nearest(name, METRICS)}")
    return METRICS[name]


def needs(names: Sequence[str]) -> dict[str, str]:
    """Of metrics that a recipe asks for, the modules that they import -> the extra that brings them."""
    own = {"clip": (), "lpips": ("lpips", "torchvision")}
    own |= dict.fromkeys(("fid", "kid", "is"), ("torch_fidelity", "torchvision"))
    found = {module for name in names for module in own.get(name, ("torchvision",))}
    return dict.fromkeys(sorted(found), "metrics")
