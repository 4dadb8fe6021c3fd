"""NaN and infinity are refused where they would be drawn, scored or kept: nothing after them looks wrong at once."""

from collections.abc import Sequence

import torch
from torch import Tensor

from phosphene.errors import PhospheneError

LIKELY = "look for NaN in the EEG or in the trained weights"


def check_finite(values: Tensor, what: str, fix: str = LIKELY, names: Sequence[object] | None = None) -> Tensor:
    """The values, if every one is a finite number.

    Parameters
    ----------
    values : (n, ...) of any kind.
    what : begins the error, such as "image_embeds of trial".
    fix : ends it; the default is for what a method decoded.
    names : (n,) what the rows are called; their numbers from 0 by default.

    Raises
    ------
    PhospheneError
        Names the first row that holds NaN or infinity.
    """
    if values.numel() and values.is_floating_point() and not values.is_meta:  # shapes alone hold no values
        whole = torch.isfinite(values).reshape(len(values), -1).all(dim=1)
        if not bool(whole.all()):
            first = int((~whole).nonzero()[0, 0])
            name = first if names is None else names[first]
            count = int((~whole).sum())
            raise PhospheneError(f"{what} {name} holds NaN or infinity ({count} of {len(values)} such): {fix}")
    return values
