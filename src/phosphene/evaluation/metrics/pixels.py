"""PixCorr and SSIM as MindEye and ATM define them: pictures at 256 pixels, enlarged to 425, compared in 0 to 1.

Pairs are computed in blocks, so that memory does not grow with their number. A full table of n drawings and m pictures
holds n * m SSIMs, some milliseconds each: take some hundreds of drawings for it, or pass ``truth``.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.ndimage import correlate1d
from torch import Tensor

from phosphene.errors import PhospheneError
from phosphene.evaluation.metrics.pictures import Pictures, pixels, resize

FIRST, SIDE = 256, 425
GREY = (0.2125, 0.7154, 0.0721)
SIGMA, RADIUS = 1.5, 5
C1, C2 = 0.01**2, 0.03**2
BLOCK = 16


def enlarged(pictures: Tensor, side: int = SIDE) -> Tensor:
    """(n, 3, side, side) of (n, 3, height, width): what PixCorr compares."""
    return resize(pictures, side)


def grey(pictures: Tensor) -> Tensor:
    """(n, height, width) luminance of (n, 3, height, width) with scikit-image's weights 0.2125, 0.7154, 0.0721."""
    return torch.einsum("nchw,c->nhw", pictures, torch.tensor(GREY, dtype=pictures.dtype))


def pixcorr(
    drawn: Pictures, real: Pictures, truth: np.ndarray | None = None, *, side: int = SIDE, antialias: bool = True
) -> np.ndarray:
    """Pearson correlation over the flattened RGB of a drawing and a picture; 0 where one of them is flat.

    Parameters
    ----------
    drawn, real : n_drawn and n_real pictures, as for `pictures.pixels`.
    truth : (n_drawn,) picture of each drawing, to compute the true pairs alone.
    side : pixels at which they are compared; 425 is the published one.
    antialias : smooth when shrinking to 256; torchvision's default for tensors changed between versions.

    Returns
    -------
    (n_drawn, n_real), or (n_drawn,) given ``truth``.
    """

    def standard(pictures: Tensor) -> np.ndarray:
        flat = enlarged(pictures, side).flatten(1).double()
        flat = flat - flat.mean(1, keepdim=True)
        return (flat / flat.norm(dim=1, keepdim=True).clamp_min(1e-9)).numpy()

    return _compare(drawn, real, truth, antialias, standard, lambda a, b: b @ a)


def ssim(
    drawn: Pictures,
    real: Pictures,
    truth: np.ndarray | None = None,
    *,
    columns: bool = False,
    side: int = SIDE,
    antialias: bool = True,
) -> np.ndarray:
    """Structural similarity of grey pictures (Wang et al. 2004, equation 13), averaged over the map.

    Gaussian weights of sigma 1.5 (11 pixels), population covariance, data range 1, margins of 5 pixels left out: what
    scikit-image gives for ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1``.

    Parameters
    ----------
    drawn, real, truth, side, antialias : as for `pixcorr`.
    columns : read the columns as channels: the mean of one-dimensional SSIMs down each column. That is what
        scikit-image up to 0.19 made of ``multichannel=True`` on a grey picture; from 0.20 on the word is ignored.

    Returns
    -------
    (n_drawn, n_real), or (n_drawn,) given ``truth``.
    """
    if side <= 2 * RADIUS:
        raise PhospheneError(f"SSIM's window is 11 pixels wide: compare pictures of more than {side} pixels")
    offsets = np.arange(-RADIUS, RADIUS + 1)
    weights = np.exp(-(offsets**2) / (2 * SIGMA**2))
    weights = weights / weights.sum()

    def smooth(maps: np.ndarray) -> np.ndarray:
        down = correlate1d(maps, weights, axis=1)[:, RADIUS:-RADIUS]
        return down if columns else correlate1d(down, weights, axis=2)[:, :, RADIUS:-RADIUS]

    def prepare(pictures: Tensor) -> list[_Grey]:
        maps = grey(enlarged(pictures, side)).double().numpy()
        means = smooth(maps)
        return [_Grey(*parts) for parts in zip(maps, means, smooth(maps**2) - means**2, strict=True)]

    def similarity(a: _Grey, others: Sequence[_Grey]) -> list[float]:
        values = []
        for b in others:
            product, both = a.mean * b.mean, smooth((a.map * b.map)[None])[0]
            shown = (2 * product + C1) * (2 * (both - product) + C2)
            values.append(float(np.mean(shown / ((a.mean**2 + b.mean**2 + C1) * (a.variance + b.variance + C2)))))
        return values

    return _compare(drawn, real, truth, antialias, prepare, similarity)


class _Grey(NamedTuple):
    """A grey picture (side, side) with its local mean and variance, margins left out."""

    map: np.ndarray
    mean: np.ndarray
    variance: np.ndarray


def _compare(
    drawn: Pictures,
    real: Pictures,
    truth: np.ndarray | None,
    antialias: bool,
    prepare: Callable[[Tensor], Any],
    similarity: Callable[[Any, Any], Any],
) -> np.ndarray:
    """``similarity`` of one prepared drawing and a block of prepared pictures, for all pairs or the true ones."""
    ours, theirs = pixels(drawn, FIRST, antialias), pixels(real, FIRST, antialias)
    if truth is not None:
        rows = torch.as_tensor(np.asarray(truth))
        if len(rows) != len(ours):
            raise PhospheneError(f"truth names {len(rows)} pictures for {len(ours)} drawings: give one for each")
        pairs = zip(ours, theirs[rows], strict=True)
        return np.array([float(similarity(prepare(a[None])[0], prepare(b[None]))[0]) for a, b in pairs])
    table = np.empty((len(ours), len(theirs)))
    for i in range(0, len(ours), BLOCK):
        block = prepare(ours[i : i + BLOCK])
        for j in range(0, len(theirs), BLOCK):
            others = prepare(theirs[j : j + BLOCK])
            for k, picture in enumerate(block):
                table[i + k, j : j + BLOCK] = similarity(picture, others)
    return table
