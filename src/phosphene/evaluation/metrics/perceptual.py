"""LPIPS: perceptual distance of pictures."""

from typing import Any
from urllib.error import URLError

import numpy as np
import torch

from phosphene import runtime
from phosphene.errors import MissingExtra, PhospheneError
from phosphene.evaluation.metrics.networks import torchvision
from phosphene.evaluation.metrics.pictures import Pictures, pixels

SIDE = 256


def load_lpips(net: str = "alex") -> Any:
    """The lpips package's network, version 0.1; the ImageNet weights below its own are downloaded once.

    Parameters
    ----------
    net : "alex", "vgg" or "squeeze".
    """
    if net not in ("alex", "vgg", "squeeze"):
        raise PhospheneError(f"unknown LPIPS network '{net}': valid: alex, squeeze, vgg")
    torchvision()
    try:
        import lpips
    except ImportError:
        raise MissingExtra("lpips", "metrics") from None
    try:
        return lpips.LPIPS(net=net, verbose=False).eval().requires_grad_(False)
    except (URLError, OSError) as error:
        raise PhospheneError(
            f"the weights of LPIPS's {net} cannot be downloaded ({error}): run once with a connection, or pass model="
        ) from error


@torch.inference_mode()
def lpips_distance(
    drawn: Pictures,
    real: Pictures,
    truth: np.ndarray | None = None,
    *,
    model: Any = None,
    side: int = SIDE,
    batch_size: int = 32,
) -> np.ndarray:
    """LPIPS distance (Zhang et al. 2018, equation 1), pictures given in -1 to 1.

    Parameters
    ----------
    drawn, real : n_drawn and n_real pictures, as for `pictures.pixels`.
    truth : (n_drawn,) picture of each drawing, to compute the true pairs alone.
    model : of `load_lpips`, which is called by default: (n, 3, side, side) twice -> n distances.
    side : pixels at which they are compared; papers seldom say.
    batch_size : pairs at a time.

    Returns
    -------
    (n_drawn, n_real), or (n_drawn,) given ``truth``.
    """
    model = runtime.place(load_lpips() if model is None else model)
    ours, theirs = 2 * pixels(drawn, side) - 1, 2 * pixels(real, side) - 1
    n, m = len(ours), len(theirs)
    if truth is not None and len(truth) != n:
        raise PhospheneError(f"truth names {len(truth)} pictures for {n} drawings: give one for each")
    rows = np.arange(n) if truth is not None else np.repeat(np.arange(n), m)
    columns = np.asarray(truth) if truth is not None else np.tile(np.arange(m), n)

    def distance(part: slice) -> np.ndarray:
        pair = (x.to(runtime.home(model)) for x in (ours[rows[part]], theirs[columns[part]]))
        found: np.ndarray = model(*pair).reshape(-1).cpu().numpy()
        return found

    values = np.concatenate(list(runtime.Batches(batch_size, "batch_size")(distance, len(rows)))).astype(float)
    return values if truth is not None else values.reshape(n, m)
