"""Paired metrics as `Question`s: each drawing against every real picture, so that chance, interval and p come along."""

from collections.abc import Callable, Sequence

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
    drawn: Pictures,
    real: Pictures,
    truth: np.ndarray,
    clusters: np.ndarray,
    *,
    side: int = pixels.SIDE,
    block: int = 50,
    backbone: str = "",
) -> list[Question]:
    """PixCorr and both readings of SSIM.

    Pictures are compared in blocks of whole clusters: every drawing with its own picture, and for chance and p with the
    others of its block, so that the work grows with the number of drawings and not with its square.

    Parameters
    ----------
    drawn, real : n_drawn and n_real pictures, as for `pictures.pixels`.
    truth, clusters : (n_drawn,) as for `question`; a picture is of one cluster.
    side : pixels at which they are compared; 425 is the published one.
    block : pictures in a block, or some more; two clusters or more.
    backbone : of the generator, which is named beside the score: the metric itself rests on none.
    """

    def tables(ours: Pictures, theirs: Pictures) -> dict[str, np.ndarray]:
        return {
            "pixcorr": pixels.pixcorr(ours, theirs, side=side),
            "ssim": pixels.ssim(ours, theirs, side=side),
            "ssim_columns": pixels.ssim(ours, theirs, side=side, columns=True),
        }

    return in_blocks(tables, drawn, real, truth, clusters, block=block, backbone=backbone)


def in_blocks(
    tables: Callable[[Pictures, Pictures], dict[str, np.ndarray]],
    drawn: Pictures,
    real: Pictures,
    truth: np.ndarray,
    clusters: np.ndarray,
    *,
    block: int,
    backbone: str = "",
) -> list[Question]:
    """Metrics that compare two pictures at a time, asked as `pixel_questions` says.

    Parameters
    ----------
    tables : (drawings, pictures) of a block -> metric -> (n_drawn, n_real).
    drawn, real, truth, clusters, block, backbone : see `pixel_questions`.
    """
    truth, clusters = np.asarray(truth), np.asarray(clusters)
    parts: dict[str, list[Question]] = {}
    for seen in _blocks(truth, clusters, block):
        rows = np.flatnonzero(np.isin(truth, seen))
        own = np.searchsorted(seen, truth[rows])
        for name, table in tables(_pick(drawn, rows), _pick(real, seen)).items():
            parts.setdefault(name, []).append(question(name, table, own, clusters[rows], backbone))
    return [found[0].join(found[1:]) if len(found) > 1 else found[0] for found in parts.values()]


def _blocks(truth: np.ndarray, clusters: np.ndarray, block: int) -> list[np.ndarray]:
    """Sorted pictures of each block: clusters as they appear, two or more, until it has ``block`` pictures."""
    if len(truth) == 0 or truth.shape != clusters.shape:
        raise PhospheneError(f"truth {truth.shape} and clusters {clusters.shape}: give one of each for each drawing")
    made: list[list[np.ndarray]] = [[]]
    for name in dict.fromkeys(clusters.tolist()):
        if len(made[-1]) >= 2 and sum(map(len, made[-1])) >= block:
            made.append([])
        made[-1].append(np.unique(truth[clusters == name]))
    if len(made) > 1 and len(made[-1]) < 2:
        last = made.pop()
        made[-1] += last
    return [np.unique(np.concatenate(parts)) for parts in made]


def _pick(pictures: Pictures, rows: np.ndarray) -> Pictures:
    return [pictures[i] for i in rows] if isinstance(pictures, Sequence) else pictures[rows]


def _features(drawn: np.ndarray, real: np.ndarray) -> None:
    if drawn.ndim != 2 or real.ndim != 2 or drawn.shape[1] != real.shape[1]:
        raise PhospheneError(
            f"features {drawn.shape} and {real.shape} do not fit: give (n_drawn, dim) and (n_real, dim) of one network"
        )
