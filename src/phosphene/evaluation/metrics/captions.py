"""Caption metrics: exact match; BLEU, ROUGE-L and METEOR by their libraries; CLIPScore by a given CLIP.

Tables are (n_said, n_true): what each caption said would score if each true caption were its truth. `corpus_bleu` is
the figure that most papers print; it is of all captions at once, and therefore has no table.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from phosphene.errors import MissingExtra, PhospheneError
from phosphene.evaluation import retrieval

_WORD = re.compile(r"\w+(?:'\w+)?")


def words(caption: str) -> list[str]:
    """Lower-case words without punctuation: what all of these metrics compare."""
    return _WORD.findall(str(caption).casefold())


def exact_match(said: Sequence[str], true: Sequence[str]) -> np.ndarray:
    """(n_said, n_true) 1 where the captions are equal, case and spaces aside."""
    ours, theirs = ([" ".join(str(c).casefold().split()) for c in captions] for captions in (said, true))
    return (np.array(ours, object)[:, None] == np.array(theirs, object)[None, :]).astype(float)


def exact_match_by_slot(said: dict[str, Sequence[str]], true: dict[str, Sequence[str]]) -> dict[str, np.ndarray]:
    """`exact_match` of every caption slot; both must have the same slots."""
    if said.keys() != true.keys():
        odd = sorted(said.keys() ^ true.keys())[0]
        raise PhospheneError(f"caption slot '{odd}' is on one side only: give the same slots on both")
    return {slot: exact_match(said[slot], true[slot]) for slot in said}


def bleu(said: Sequence[str], true: Sequence[str], order: int = 4) -> np.ndarray:
    """(n_said, n_true) BLEU of each caption, smoothed by method 1 (nltk).

    Parameters
    ----------
    said, true : captions.
    order : longest n-gram: 1 for BLEU-1, 4 for BLEU-4.
    """
    score = _nltk_bleu()
    smooth = score.SmoothingFunction().method1
    weights = _weights(order)
    return _table(said, true, lambda a, b: score.sentence_bleu([b], a, weights, smoothing_function=smooth))


def corpus_bleu(said: Sequence[str], true: Sequence[str], order: int = 4) -> float:
    """BLEU over all pairs (said[i], true[i]) at once (Papineni et al. 2002, section 2.3), not smoothed."""
    if len(said) != len(true) or not len(said):
        raise PhospheneError(f"{len(said)} captions said and {len(true)} true ones: give one for each, and some")
    import warnings

    score = _nltk_bleu()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # no common 4-gram: the value is 0 as it should be
        return float(score.corpus_bleu([[words(t)] for t in true], [words(s) for s in said], _weights(order)))


def rouge_l(said: Sequence[str], true: Sequence[str]) -> np.ndarray:
    """(n_said, n_true) ROUGE-L F1 (rouge-score, no stemming)."""
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        raise MissingExtra("rouge-score", "metrics") from None

    class Words:
        def tokenize(self, text: str) -> list[str]:
            return text.split(" ") if text else []

    scorer = RougeScorer(["rougeL"], tokenizer=Words())
    return _table(said, true, lambda a, b: scorer.score(" ".join(b), " ".join(a))["rougeL"].fmeasure)


def meteor(said: Sequence[str], true: Sequence[str], *, wordnet: Any = None) -> np.ndarray:
    """(n_said, n_true) METEOR (nltk); it needs WordNet, which nltk downloads apart.

    Parameters
    ----------
    said, true : captions.
    wordnet : an nltk corpus reader in place of the downloaded one.
    """
    try:
        from nltk.translate.meteor_score import single_meteor_score
    except ImportError:
        raise MissingExtra("nltk", "metrics") from None
    extra = {} if wordnet is None else {"wordnet": wordnet}
    try:
        return _table(said, true, lambda a, b: single_meteor_score(b, a, **extra))
    except LookupError:
        raise PhospheneError("METEOR needs WordNet: python -m nltk.downloader wordnet") from None


def clipscore(pictures: np.ndarray, captions: np.ndarray) -> np.ndarray:
    """(n_pictures, n_captions) CLIPScore 2.5 max(cos, 0) of embeddings by one CLIP.

    Parameters
    ----------
    pictures, captions : (n_pictures, dim) and (n_captions, dim) of `CLIP.images` and `CLIP.texts`.
    """
    if pictures.ndim != 2 or captions.ndim != 2 or pictures.shape[1] != captions.shape[1]:
        raise PhospheneError(f"embeddings {pictures.shape} and {captions.shape} do not fit: use one CLIP for both")
    return 2.5 * np.maximum(retrieval.cosine(pictures, captions), 0)


def gallery_leak(gallery: Sequence[str], training: Sequence[str]) -> float:
    """Share of a caption gallery that no training picture has: 0 means that no answer of the test was put into it."""
    if not len(gallery):
        raise PhospheneError("the caption gallery is empty: give the captions of the training pictures")
    known = set(training)
    return float(np.mean([caption not in known for caption in gallery]))


def _weights(order: int) -> tuple[float, ...]:
    if order not in (1, 2, 3, 4):
        raise PhospheneError(f"BLEU-{order} is not defined: order is 1 to 4")
    return (1 / order,) * order


def _nltk_bleu() -> Any:
    try:
        from nltk.translate import bleu_score
    except ImportError:
        raise MissingExtra("nltk", "metrics") from None
    return bleu_score


def _table(said: Sequence[str], true: Sequence[str], score: Callable[[list[str], list[str]], float]) -> np.ndarray:
    """``score(words said, true words)`` of every pair; equal pairs are computed once, and empty ones score 0."""
    ours, theirs = [tuple(words(c)) for c in said], [tuple(words(c)) for c in true]
    if not ours or not theirs:
        raise PhospheneError("there are no captions to compare: give some on both sides")
    known = {(a, b): float(score(list(a), list(b))) if a and b else 0.0 for a in set(ours) for b in set(theirs)}
    return np.array([[known[a, b] for b in theirs] for a in ours])
