"""Contents of a file that holds a dict: each entry is checked for its kind before it is used."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.errors import PhospheneError


def table(value: Any, keys: tuple[str, ...], what: str, path: Path) -> Mapping[str, Any]:
    """A dict that has every key."""
    lost = [key for key in keys if not isinstance(value, Mapping) or key not in value]
    if lost:
        raise PhospheneError(f"{path} holds no '{lost[0]}': this is no {what}, fetch it again")
    return dict(value)


def numbers(value: Any, ndims: tuple[int, ...], axes: str, path: Path) -> np.ndarray:
    """An array of floats, not copied, with one of so many axes and at least one entry."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        kind = f"{value.dtype} values" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
        raise PhospheneError(f"{path} holds {kind}, not numbers of {axes}: fetch it again")
    if value.ndim not in ndims or value.size == 0:
        raise PhospheneError(f"{path} holds {value.shape}, not {axes}: fetch it again")
    return value


def names(value: Any, key: str, path: Path) -> tuple[str, ...]:
    """A list of names."""
    if not isinstance(value, list | tuple | np.ndarray) or any(not isinstance(v, str) for v in list(value)):
        raise PhospheneError(f"{path}: {key} is not a list of names: fetch it again")
    return tuple(str(v) for v in value)


def number(value: Any, key: str, path: Path) -> float:
    """One positive number."""
    found = entries(value, key, path)
    if found.size != 1 or found.dtype.kind not in "fiu" or not np.isfinite(found).all() or not found.item() > 0:
        raise PhospheneError(f"{path}: {key} is {str(value)[:40]!r}, not a positive number: fetch it again")
    return float(found.item())


def entries(value: Any, key: str, path: Path) -> np.ndarray:
    """(n,) entries of an array or a list of any kind."""
    try:
        return np.ravel(np.asarray(value))
    except ValueError:
        raise PhospheneError(f"{path}: {key} is a ragged list: fetch it again") from None
