"""Paired metrics as `Question`s: each drawing against every real picture, so that chance, interval and p come along."""

import numpy as np

from phosphene.errors import PhospheneError
from phosphene.evaluation import retrieval
from phosphene.evaluation.metrics import pixels
from phosphene.evaluation.metrics.pictures import Pictures
from phosphene.evaluation.metrics.table import metric
from phosphene.evaluation.scores import Question


def two_way(drawn: np.ndarray, real: np.ndarray) -> np.ndarray:
    """2-way identification: (n_drawn, n_real) what a drawing would score if each picture were its truth.

    Parameters
    ----------
    drawn : (n_drawn, dim) features of the drawings.
    real : (n_real, dim) features of the pictures, each once; its other rows are the distractors.
    """
    _features(drawn, real)
    if len(real) < 2:
        raise PhospheneError("2-way identification needs another picture: give two or more real ones")
    return retrieval.two_way(retrieval.ranks(retrieval.correlation(drawn, real)))


def correlation_distance(drawn: np.ndarray, real: np.ndarray) -> np.ndarray:
    """(n_drawn, n_real) 1 - Pearson correlation of features (n_drawn, dim) and (n_real, dim); 0 to 2."""
    _features(drawn, real)
    return 1 - retrieval.correlation(drawn, real)


def question(name: str, table: np.ndarray, truth: np.ndarray, clusters: np.ndarray, backbone: str = "") -> Question:
    """A metric of `METRICS` as a question.

    Parameters
    ----------
    name : of the metric; its direction is used.
    table : (n_drawn, n_real) of `two_way`, `correlation_distance`, `pixels.ssim`, `nway.n_way` and their like.
    truth : (n_drawn,) column of the picture seen.
    clusters : (n_drawn,) queries that are not independent share an entry.
    backbone : the network in fact used; that of the table of metrics by default.
    """
    row = metric(name)
    table, truth, clusters = np.asarray(table, float), np.asarray(truth), np.asarray(clusters)
    if not row.paired:
        raise PhospheneError(f"{row.label} {row.note.split(';')[0]}: it has no pairs to ask about, see `unpaired`")
    if table.ndim != 2 or truth.shape != clusters.shape or truth.shape != table.shape[:1]:
        raise PhospheneError(
            f"{row.label}: table {table.shape}, truth {truth.shape} and clusters {clusters.shape} do not fit: "
            "give (n_drawn, n_real), (n_drawn,) and (n_drawn,)"
        )
    return Question(
        name, table, truth, clusters, higher_is_better=row.higher_is_better, backbone=backbone or row.backbone
    )


def pixel_questions(
    drawn: Pictures, real: Pictures, truth: np.ndarray, clusters: np.ndarray, side: int = pixels.SIDE
) -> list[Question]:
    """PixCorr and both readings of SSIM.

    Parameters
    ----------
    drawn, real : n_drawn and n_real pictures, as for `pictures.pixels`.
    truth, clusters : as for `question`.
    side : pixels at which they are compared; 425 is the published one.
    """
    tables = {
        "pixcorr": pixels.pixcorr(drawn, real, side=side),
        "ssim": pixels.ssim(drawn, real, side=side),
        "ssim_columns": pixels.ssim(drawn, real, side=side, columns=True),
    }
    return [question(name, table, truth, clusters) for name, table in tables.items()]


def _features(drawn: np.ndarray, real: np.ndarray) -> None:
    if drawn.ndim != 2 or real.ndim != 2 or drawn.shape[1] != real.shape[1]:
        raise PhospheneError(
            f"features {drawn.shape} and {real.shape} do not fit: give (n_drawn, dim) and (n_real, dim) of one network"
        )
