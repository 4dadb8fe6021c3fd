"""The field's picture metrics that a recipe asks for, `evaluation.pictures`: each by a short name.

What a metric needs is looked for before anything is trained: packages when a recipe is checked, weights (downloaded
once) when a run begins.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from phosphene.backbones.table import load_clip
from phosphene.evaluation.metrics import inception, judge, networks, perceptual
from phosphene.evaluation.metrics.paired import correlation_distance, in_blocks, question, two_way
from phosphene.evaluation.metrics.pictures import Pictures
from phosphene.evaluation.metrics.unpaired import Unpaired
from phosphene.evaluation.scores import Question

CLIP = "clip-vit-l14"
SPLITS = 10  # of IS
log = logging.getLogger(__name__)
#: those that compare features -> the metric
_FEATURES = {
    "clip": "clip_2way",
    "alexnet2": "alexnet2_2way",
    "alexnet5": "alexnet5_2way",
    "inception": "inception_2way",
    "effnet": "effnet_distance",
    "swav": "swav_distance",
}


@dataclass(frozen=True)
class Drawings:
    """What is compared.

    Parameters
    ----------
    drawn, shown : n_drawn drawings and n_shown pictures, each of these once; as for `pictures.pixels`.
    truth : (n_drawn,) the picture of each drawing.
    clusters : (n_drawn,) drawings that are not independent share an entry.
    names, concepts : (n_shown,) of the pictures.
    """

    drawn: Pictures
    shown: Pictures
    truth: np.ndarray
    clusters: np.ndarray
    names: np.ndarray
    concepts: np.ndarray

    def both(self, features: Callable[[Pictures], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        return features(self.drawn), features(self.shown)


@cache
def network(name: str) -> Any:
    """The network of a metric, once for a process.

    Raises
    ------
    PhospheneError
        Its package or its weights are missing; the line says how to get them.
    """
    if name == "clip":
        return load_clip(CLIP)[0]
    if name == "lpips":
        return perceptual.load_lpips()
    if name == "ga":
        return judge.load_judge()
    if name in inception.FEATURES:
        return inception.load_fidelity(inception.FEATURES[name])
    return networks.load(_FEATURES[name])


def questions(names: Sequence[str], of: Drawings) -> list[Question | Unpaired]:
    """The metrics as questions, in the order of their names."""
    return [one for name in dict.fromkeys(names) for one in _asked(name, of)]


def _asked(name: str, of: Drawings) -> Sequence[Question | Unpaired]:
    if name == "is" and len(of.drawn) < SPLITS:
        log.warning("IS needs %d splits, but only %d pictures were drawn: it is left out", SPLITS, len(of.drawn))
        return []
    model = network(name)
    if (metric := _FEATURES.get(name)) is not None:
        features = networks.clip_features if name == "clip" else partial(networks.features, metric)
        compared = correlation_distance if metric.endswith("_distance") else two_way
        table = compared(*of.both(partial(features, model=model)))
        return [question(metric, table, of.truth, of.clusters)]
    if name == "lpips":

        def tables(ours: Pictures, theirs: Pictures) -> dict[str, np.ndarray]:
            return {"lpips_alex": perceptual.lpips_distance(ours, theirs, model=model)}

        return in_blocks(tables, of.drawn, of.shown, of.truth, of.clusters, block=10)
    if name == "ga":
        drawn, shown = of.both(lambda p: judge.judged(p, model=model))
        return judge.generation_accuracy(drawn, shown, of.truth, of.clusters)
    drawn, shown = of.both(lambda p: inception.fidelity_features(p, inception.FEATURES[name], model=model))
    return [Unpaired(name, drawn, of.clusters, shown, of.names, of.concepts)]
