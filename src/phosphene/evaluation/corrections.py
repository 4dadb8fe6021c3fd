"""p-values of many tests, corrected for their number.

References
----------
Benjamini & Hochberg (1995), J. R. Stat. Soc. B 57, 289-300. Benjamini & Yekutieli (2001), Ann. Stat. 29, 1165-1188.
Holm (1979), Scand. J. Stat. 6, 65-70.
"""

from typing import Literal

import numpy as np
from scipy.stats import false_discovery_control

from phosphene.errors import PhospheneError


def corrected(p: np.ndarray, method: Literal["holm", "bh", "by"] = "holm") -> np.ndarray:
    """p-values corrected for their number, (n_tests,); a NaN stays NaN and is no test.

    Parameters
    ----------
    p : (n_tests,) in 0 to 1.
    method : "holm" bounds the chance of any false finding (Holm 1979), under any dependence; "bh" the expected share of
        false findings (Benjamini & Hochberg 1995), for independent or positively dependent tests; "by" the same under
        any dependence (Benjamini & Yekutieli 2001).
    """
    p = np.asarray(p, float)
    if method not in ("holm", "bh", "by"):
        raise PhospheneError(f"unknown correction '{method}': valid: bh, by, holm")
    asked = np.isfinite(p)
    if p.ndim != 1 or ((p[asked] < 0) | (p[asked] > 1)).any():
        raise PhospheneError("p-values must be (n_tests,), each in 0 to 1: pass the uncorrected ones")
    result, own = p.copy(), p[asked]
    if len(own) and method == "holm":
        order = np.argsort(own, kind="stable")
        steps = np.maximum.accumulate((len(own) - np.arange(len(own))) * own[order])
        result[np.flatnonzero(asked)[order]] = np.minimum(steps, 1.0)
    elif len(own):
        result[asked] = false_discovery_control(own, method=method)
    return result
