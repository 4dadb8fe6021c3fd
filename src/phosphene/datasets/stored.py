"""EEG arrays that a user stored: opened without reading them, and checked for shape, gaps and unit."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from phosphene.eeg.lazy import EEG, chunks
from phosphene.eeg.scale import LIKELY, PLAUSIBLE, SAMPLE, UNITS, WITHOUT_VOLTS, sampled, spread
from phosphene.errors import PhospheneError, nearest
from phosphene.utils.restricted import read_npy

#: the unit of values that vary by less than this: single trials (1 to 100 uV) and averages (0.1 to 5 uV) alike
_LOOKS = ((3e-4, "V"), (0.1, "mV"), (1e3, "uV"), (1e6, "nV"))
_SHARE = 0.2  # of channels and trials whose size is likely: then only some are off


def open_eeg(path: Path, key: str = "dataset.eeg") -> np.ndarray:
    """The array of a `.npy` or `.safetensors` file, as a read-only memory map."""
    if path.is_dir():
        raise PhospheneError(f"{path} is a folder, not a regular file: give the file itself (set {key})")
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*") if p.suffix in (".npy", ".safetensors", ".npz"))
        raise PhospheneError(f"{path} does not exist: {nearest(path.name, near)} (set {key})")
    if path.suffix == ".npz":
        raise PhospheneError(
            f"{path} is a zip archive, which cannot stay on disk: save the array alone, "
            f"np.save('{path.stem}.npy', np.load('{path.name}')['...'])"
        )
    if path.suffix == ".safetensors":
        return _safetensors(path)
    if path.suffix != ".npy":
        raise PhospheneError(f"{path.name} is in an unsupported format: save it with np.save as {path.stem}.npy")
    eeg = read_npy(path)
    if not isinstance(eeg, np.ndarray) or eeg.dtype == object:
        held = f"a dict ({', '.join(map(str, list(eeg)[:5]))})" if isinstance(eeg, dict) else "Python objects"
        raise PhospheneError(
            f"{path} holds {held}, not an array of numbers: save the array alone, as float32: np.save('{path.name}', X)"
        )
    return eeg


def _safetensors(path: Path) -> np.ndarray:
    """The only tensor of a file, or the one called "eeg", mapped where it lies."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:  # checks the header and its offsets
            names = sorted(file.keys())
    except (SafetensorError, OSError) as error:
        raise PhospheneError(f"{path} cannot be read ({error}): save it again") from None
    name = "eeg" if "eeg" in names or len(names) != 1 else names[0]
    if name not in names:
        raise PhospheneError(f"{path} holds the tensors {', '.join(names) or 'none'}: save the EEG alone, or as 'eeg'")
    with path.open("rb") as raw:
        size = int.from_bytes(raw.read(8), "little")
        entry = json.loads(raw.read(size))[name]
    dtypes = {"F16": np.float16, "F32": np.float32, "F64": np.float64}
    if entry["dtype"] not in dtypes:
        raise PhospheneError(f"{path} holds {entry['dtype']} values: save them as float32")
    shape = tuple(entry["shape"])
    if 0 in shape:
        return np.zeros(shape, np.float32)
    first = 8 + size + entry["data_offsets"][0]
    return np.memmap(path, dtypes[entry["dtype"]], "r", first, shape)


def check_shape(eeg: EEG, ch_names: Sequence[str], n_rows: int, name: object, table: object) -> None:
    """Numbers, (n_trials, n_chans, n_times), every channel named, a table row for each trial: all else is refused."""
    shape = eeg.shape
    if np.ma.is_masked(eeg):
        raise PhospheneError(
            f"{name} has masked values, but the mask would be ignored: leave out the masked trials or channels"
        )
    if eeg.dtype.kind not in "fiu":
        raise PhospheneError(f"{name} holds {eeg.dtype}, not real numbers: save it as float32")
    if len(shape) > 3:
        flat = f"X.reshape(-1, {shape[-2]}, {shape[-1]})"
        raise PhospheneError(f"{name} has the axes {shape}: save (n_trials, n_chans, n_times), such as {flat}")
    if len(shape) < 3:
        raise PhospheneError(f"{name} has the axes {shape}: save (n_trials, n_chans, n_times)")
    if shape[1] != len(ch_names):
        swapped = shape[2] == len(ch_names)
        fix = "transpose it, X.transpose(0, 2, 1)" if swapped else "name every channel, in the array's order"
        raise PhospheneError(f"{name} has {shape[1]} channels {shape} and ch_names {len(ch_names)}: {fix}")
    if shape[0] != n_rows:
        raise PhospheneError(
            f"{name} holds {shape[0]} trials and {table} {n_rows} rows: give one row for each trial, in the same order"
        )
    if 0 in shape:
        raise PhospheneError(f"{name} is empty {shape}: save at least one trial")


def check_values(eeg: EEG, unit: str, name: object, key: str = "dataset.unit") -> float:
    """No gap, no infinity, and values as large as EEG is in ``unit``.

    Returns
    -------
    The factor to volts; 1 where the volts are lost.
    """
    if unit not in UNITS and unit not in WITHOUT_VOLTS:
        raise PhospheneError(f"unknown unit '{unit}': {nearest(unit, [*UNITS, *WITHOUT_VOLTS])} (set {key})")
    for first, block in chunks(eeg):
        broken = np.flatnonzero(~np.isfinite(block).all(axis=(1, 2)))
        if len(broken):
            raise PhospheneError(f"{name}: trial {first + broken[0]} (from 0) holds NaN or infinity: leave it out")
    return check_size(eeg, unit, name, f"set {key} to")


def check_size(eeg: EEG, unit: str, name: object, fix: str) -> float:
    """Values as large as EEG is in ``unit``; ``fix`` begins what to do, and a unit follows.

    Returns
    -------
    The factor to volts; 1 where the volts are lost.
    """
    if unit in WITHOUT_VOLTS:
        return 1.0
    some = sampled(eeg, np.arange(len(eeg)), SAMPLE)
    if not np.ptp(some, axis=2).any():
        raise PhospheneError(f"{name} does not vary in time and contains no EEG: save it again")
    sizes = UNITS[unit] * 10 ** spread(some)  # V; NaN where flat
    value = float(np.nanmedian(sizes)) if np.isfinite(sizes).any() else 0.0
    mixed = np.mean((sizes >= PLAUSIBLE[0]) & (sizes <= LIKELY)) >= _SHARE  # what is off, the comparison names
    if value and not mixed and not PLAUSIBLE[0] <= value <= PLAUSIBLE[1]:
        value /= UNITS[unit]
        advice = _advice(some, value, unit, fix)
        raise PhospheneError(f"{name}: a typical value is {value:.3g} {unit}, which is implausible for EEG: {advice}")
    return UNITS[unit]


def _advice(some: np.ndarray, value: float, unit: str, fix: str) -> str:
    lost = "(standardised, if volts are lost)"
    if value > 1 and (some == np.round(some)).all():
        counts = "they are whole numbers, such as the counts of a converter: multiply them by its resolution"
        return f"{counts}, or {fix} uV if they are microvolts"
    likely = next((u for limit, u in _LOOKS if value < limit), unit)
    if value >= PLAUSIBLE[0] and likely != unit:
        return f"they look like {likely}, {fix} {likely} {lost}"
    twice = [f"{10**k:,}" for k in (3, 6, 9) if 3e-7 <= value * UNITS[unit] * 10.0**k < 3e-4]
    return (
        f"they look scaled once too often, multiply them by {twice[0]}" if twice else f"{fix} the one they have {lost}"
    )


def counts_note(eeg: EEG, unit: str, name: object) -> list[str]:
    """A note about whole numbers, which may be the counts of a converter; none for others."""
    if eeg.dtype.kind == "f" or unit in WITHOUT_VOLTS:
        return []
    told = "if they are counts of the converter, multiply them by its resolution"
    return [f"{name} holds whole numbers ({eeg.dtype}), taken as {unit}: {told}"]
