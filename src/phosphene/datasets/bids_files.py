"""What a BIDS study says beside its events: `dataset_description.json`, `channels.tsv`, and how a recording is read."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from phosphene.datasets.brainvision import overrides
from phosphene.errors import PhospheneError, nearest
from phosphene.utils.tables import check_column, places, read_cells, row

if TYPE_CHECKING:
    import mne
    from mne_bids import BIDSPath

_UNKNOWN = ("", "n/a", "nan")
#: types of channels.tsv, and MNE's; every other one is "misc"
_IN_MNE = {"eeg": "eeg", "eog": "eog", "veog": "eog", "heog": "eog", "ecg": "ecg", "emg": "emg", "trig": "stim"}
_VALID = "EEG, EOG, ECG, EMG, TRIG or MISC"


def description(root: Path) -> dict[str, str]:
    """`citation` and `licence` of a study, as its `dataset_description.json` states them; none without the file."""
    path = root / "dataset_description.json"
    if not path.is_file():
        return {}
    try:
        facts = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        what = "is empty" if path.stat().st_size == 0 else f"is not readable JSON ({error})"
        raise PhospheneError(f"{path} {what}: write it again, or remove it") from None
    if not isinstance(facts, dict):
        raise PhospheneError(f'{path} is a {type(facts).__name__}, not an object: write {{"Name": ...}}, or remove it')
    authors, doi = _text(facts.get("Authors")) or "unknown authors", _text(facts.get("DatasetDOI"))
    name = _text(facts.get("Name")) or root.name
    return {
        "citation": f"{authors}. {name}.{f' {doi}' if doi else ''}",
        "licence": _text(facts.get("License")) or "not stated",
    }


def _text(value: Any) -> str:
    """A text, or the texts of a list, in one line."""
    if isinstance(value, list):
        return ", ".join(filter(None, map(_text, value)))
    return " ".join(str(value).split()) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def check_cells(table: pd.DataFrame, text: str, file: Path) -> None:
    """Refuse an `events.tsv` (its ``text``) that mne-bids cannot read: no tabs, no `duration`, words for numbers."""
    check_column(table, "duration", file, "its header right")
    header = next((line for line in text.lstrip("\ufeff").splitlines() if line.strip()), "")
    if "onset" not in [name.strip() for name in header.split("\t")]:
        raise PhospheneError(f"{file}: the cells of a BIDS table are separated by tabs, without quotes: save it so")
    for column, missing in (("onset", _UNKNOWN), ("duration", ("n/a", "nan"))):
        cells = table[column].astype(str).str.strip()
        odd = pd.to_numeric(cells, errors="coerce").isna() & ~cells.isin((*missing, "NaN"))
        for place, cell in zip(places(table.index[odd.to_numpy()]), cells[odd], strict=True):
            raise PhospheneError(f"{file}, {place}: {column} '{cell}' is not a number: correct it, or write n/a")
    negative = pd.to_numeric(table["duration"], errors="coerce") < 0
    if negative.any():
        cell = table["duration"][negative].iloc[0]
        raise PhospheneError(
            f"{file}, {row(table['duration'], negative)}: duration {cell} is below 0: write n/a if it is not known"
        )


def read_recording(path: "BIDSPath", renamed: bool) -> tuple["mne.io.BaseRaw", "mne.Annotations", list[str]]:
    """One recording with its sidecars; the annotations of its own file; and notes of what was repaired in memory.

    Raises
    ------
    PhospheneError
        It cannot be read, or `channels.tsv` does not fit it.
    """
    import mne
    import mne_bids

    changed: dict[str, Any] = {}
    notes: list[str] = []
    try:
        if path.extension == ".vhdr":
            overridden, notes = overrides(path.fpath, renamed)
            changed = {"overrides": overridden} if overridden else {}
        rows = channels(path)
        with mne.utils.use_log_level("error"):
            raw = mne_bids.read_raw_bids(path, {"preload": True, **changed}, on_ch_mismatch="warn", verbose="error")
            own = mne.io.read_raw(path.fpath, **changed).annotations  # mne-bids replaces these by events.tsv
    except PhospheneError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError, ImportError, TypeError) as error:
        line = " ".join(str(error).split())[:300] or type(error).__name__
        raise PhospheneError(f"{path.fpath} cannot be read ({line}): restore it, or check its sidecars") from None
    return raw, own, [*notes, *_typed(raw, rows, path)]


def channels(path: "BIDSPath") -> "tuple[Path, dict[str, tuple[str, bool]]] | None":
    """The `channels.tsv` of a recording: channel -> its type and whether it is bad; None without rows."""
    file = path.find_matching_sidecar(suffix="channels", extension=".tsv", on_error="ignore")
    if file is None:
        return None
    table = read_cells(Path(file), empty=True)
    table.columns = [str(c).strip().lower() for c in table.columns]
    if not len(table):
        return None
    check_column(table, "name", file, "its header right")
    if "type" not in table:
        raise PhospheneError(f"{file} has no column 'type': add it, with {_VALID} for each channel")
    rows: dict[str, tuple[str, bool]] = {}
    status = table["status"] if "status" in table else [""] * len(table)
    for name, kind, state in zip(table["name"], table["type"], status, strict=True):
        if str(name).strip() in rows:
            raise PhospheneError(f"{file} lists channel '{name}' twice: keep one row")
        rows[str(name).strip()] = (str(kind).strip(), str(state).strip().lower() == "bad")
    return Path(file), rows


def _typed(
    raw: "mne.io.BaseRaw", told: "tuple[Path, dict[str, tuple[str, bool]]] | None", path: "BIDSPath"
) -> list[str]:
    """Types and bad channels as `channels.tsv` says, matched by name, whatever its order and case; and notes.

    mne-bids applies a table that lists the recording's channels in their order, and no other.
    """
    if told is None:
        return [f"no channels.tsv lists the channels of {path.fpath.name}: their types are those of the file"]
    file, rows = told
    folded: dict[str, list[str]] = {}
    for name in raw.ch_names:
        folded.setdefault(name.strip().casefold(), []).append(name)
    meant = {}
    for name in rows:
        near = folded.get(name.casefold(), [])
        meant[name] = name if name in raw.ch_names else near[0] if len(near) == 1 else None
    lost = [name for name, own in meant.items() if own is None]
    extra = [name for name in raw.ch_names if name not in meant.values()]
    if lost and extra:
        raise PhospheneError(
            f"{file} lists channel '{lost[0]}', which is not in {path.fpath.name}, but not its '{extra[0]}': "
            f"{nearest(lost[0], extra)} (write the recording's names)"
        )
    kinds: dict[str, str] = {}
    for name, own in meant.items():
        if own is not None and own not in kinds:
            kinds[own] = _IN_MNE.get(rows[name][0].lower(), "misc")
    if list(rows) != raw.ch_names:
        raw.set_channel_types(kinds, on_unit_change="ignore", verbose="error")
        raw.info["bads"] = [own for name, own in meant.items() if own is not None and rows[name][1]]
    notes = []
    if unknown := [name for name, (kind, _) in rows.items() if kind.lower() in _UNKNOWN]:
        notes.append(f"{file.name}: no type of {', '.join(unknown[:5])}{_more(unknown)}: not read as EEG")
    if extra:
        notes.append(f"{file.name} does not list {', '.join(extra[:5])}{_more(extra)}: typed as in the recording")
    if lost:
        notes.append(f"{file.name} lists {', '.join(lost[:5])}{_more(lost)}, which the recording does not have")
    return notes


def _more(names: list[str]) -> str:
    return f" and {len(names) - 5} more" if len(names) > 5 else ""
