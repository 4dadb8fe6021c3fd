"""THINGS-MEG: four people look at 22,448 pictures of 1,854 concepts over twelve sessions (Hebart et al., eLife 2023).

Design rationale
----------------
The preprocessed epochs are FIF files of many gigabytes. They are read a few epochs at a time, cropped, and kept as one
array on disk for each subject, from which everything then works by memory map.

The pictures shown twelve times are the test part, and their concepts are taken out of the training part, as ATM does
(arXiv 2403.07721, appendix): so that test concepts are unseen. Our reading, where the description is silent: an event's
number is the number of the picture in THINGS' list of pictures, from 1.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from phosphene.datasets.base import Dataset, Epoched
from phosphene.datasets.things.checks import differs
from phosphene.datasets.things.concepts import with_category
from phosphene.eeg.trials import Signal
from phosphene.errors import PhospheneError
from phosphene.registry import register
from phosphene.utils.checksums import kept
from phosphene.utils.files import cache_folder, digest
from phosphene.utils.locks import once

if TYPE_CHECKING:
    import mne

CATCH = 999999  # event of a catch trial, which shows no picture of THINGS
TEST_REPEATS = 12
LISTS = ("file_names_THINGS.txt", "image_paths.csv", "things_image_paths.csv")
_FOLDERS = ("object_images", "images", "Images", "things_images", "stimuli")
_CHUNK = 64  # epochs read together


@dataclass(frozen=True)
class Facts:
    """What the preprocessed files hold: counts for each subject, and the array after the crop."""

    subjects: int = 4
    n_chans: int = 271
    n_times: int = 201
    sfreq: float = 200.0
    train_trials: int = 1654 * 12
    train_concepts: int = 1654
    test_trials: int = 200 * TEST_REPEATS
    test_concepts: int = 200


@register("dataset", "things_meg")
class ThingsMEG(Dataset):
    """THINGS-MEG's preprocessed epochs, `preprocessed_P{1..4}-epo.fif` (OpenNeuro ds004212, derivatives).

    271 gradiometers, 0.1 to 40 Hz, 200 Hz, each picture for 500 ms and another one 1.5 s later; cropped to 0 to 1 s,
    both ends included, 201 samples. Values are tesla, not volts. Pictures shown exactly twelve times are the test part;
    catch trials, and training trials of test concepts, are left out.

    Parameters
    ----------
    root : the folder of the files, or one above it.
    subject : "P1" (or 1), several, or "all".
    names : the list of THINGS' pictures in the order of their numbers, one a line (`aardvark/aardvark_01b.jpg`, or the
        file name alone), relative to the root; None looks for `file_names_THINGS.txt` or `image_paths.csv`. Not needed
        where the epochs' metadata has a column `image_path`.
    images : the folder of the pictures, `<concept>/<file>` below it; None looks in the usual places. Without it the
        trials are read, and a note says what cannot run.
    cache : where cropped epochs are kept, about 5 GB for each subject; default `$PHOSPHENE_CACHE`, else
        `~/.cache/phosphene`.
    concepts : THINGS' table of categories (`Categories_..._fixedUniqueID.tsv`), or a folder with it, relative to the
        root or absolute: gives the pictures the column `category`, animate or inanimate, which the audit asks for.
    """

    licence = "as its host states (OpenNeuro ds004212); pictures: THINGS, osf.io/jum2f"
    citation = (
        "Hebart, Contier, Teichmann, Rockter, Zheng, Kidder, Corriveau, Vaziri-Pashkam & Baker (2023). THINGS-data, a "
        "multimodal collection of large-scale datasets for investigating object representations in human brain and "
        "behavior. eLife 12, e82580. doi:10.7554/eLife.82580"
    )
    design = "rapid"
    caveats = (
        "MEG, not EEG: values are tesla, where Phosphene says volts.",
        "Each test concept has one picture: a test score tells pictures apart, and concepts only so far.",
    )
    epoched: ClassVar[bool] = True
    facts: ClassVar[Facts] = Facts()

    def __init__(
        self,
        root: str | Path,
        subject: str | Sequence[str] = "all",
        names: str | None = None,
        images: str | None = None,
        cache: str | None = None,
        concepts: str | None = None,
    ):
        given = [subject] if isinstance(subject, str | int) else list(subject)
        super().__init__(root, [f"P{s}" if str(s).isdigit() else str(s) for s in given])
        self.names, self.images, self.cache, self.concepts = names, images, cache, concepts
        self._tables: dict[str, tuple[pd.DataFrame, list[str]]] = {}

    def files(self) -> dict[str, Path]:
        """Subject -> the first file of its epochs (MNE finds the further ones)."""
        found = sorted(self.root.glob("**/preprocessed_P*-epo.fif"))
        return {m[1]: path for path in found if (m := re.search(r"preprocessed_(P\d+)-epo", path.name))}

    def subjects(self) -> list[str]:
        return list(self.files())

    def stimuli(self) -> pd.DataFrame:
        """The pictures shown to the chosen subjects: `concept`, `split`; `image` and `category` where known."""
        tables = [self.table(subject)[0] for subject in self.chosen()]
        table = pd.concat(tables).drop_duplicates("stimulus").set_index("stimulus")
        folder, columns = self._folder(), ["concept", "split"]
        if folder is not None:
            table["image"] = [str(folder / c / f) for c, f in zip(table["concept"], table["file"], strict=True)]
            columns.append("image")
        return with_category(table[columns].sort_index(), self.root, self.concepts)

    def table(self, subject: str) -> tuple[pd.DataFrame, list[str]]:
        """One row for each trial that is kept, `row` its place in the file; and what was left out."""
        if subject not in self._tables:
            self._tables[subject] = self._events(self._epochs(subject), self.files()[subject])
        return self._tables[subject]

    def recordings(self, subjects: Sequence[str]) -> Iterator[Epoched]:
        for subject in subjects:
            epochs = self._epochs(subject)
            table, notes = self.table(subject)
            eeg, tmin = self._array(epochs, table["row"].to_numpy(), self.files()[subject])
            signal = _signal(epochs, tmin)
            notes = [*notes, *self._check(subject, table, eeg.shape, signal, self.facts)]
            if self._folder() is None:
                notes.append("no picture folder: nothing that needs pictures can run (set dataset.images)")
            trials = table.drop(columns=["row", "file"]).assign(subject=subject)
            yield Epoched(f"{subject}/epochs", eeg, signal, trials, unit="V", notes=notes)

    def check(self, facts: Facts | None = None) -> list[str]:
        """What differs from the known facts, a line for each; empty if all is as published."""
        facts = facts or self.facts
        lines = differs("the folder", "subjects", len(self.subjects()), facts.subjects)
        for subject in self.chosen():
            epochs = self._epochs(subject)
            table = self.table(subject)[0]
            shape = (len(table), len(_sensors(epochs)), int(_window(epochs).sum()))
            lines += self._check(subject, table, shape, _signal(epochs, 0.0), facts)
        return lines

    @staticmethod
    def _check(subject: str, table: pd.DataFrame, shape: tuple[int, ...], signal: Signal, facts: Facts) -> list[str]:
        lines = []
        for part, trials, concepts in (
            ("train", facts.train_trials, facts.train_concepts),
            ("test", facts.test_trials, facts.test_concepts),
        ):
            here = table[table["split"] == part]
            lines += differs(f"{subject}/{part}", "trials", len(here), trials)
            lines += differs(f"{subject}/{part}", "concepts", here["concept"].nunique(), concepts)
        lines += differs(subject, "sensors", shape[1], facts.n_chans)
        lines += differs(subject, "samples", shape[2], facts.n_times)
        return lines + differs(subject, "Hz", signal.sfreq, facts.sfreq)

    def _epochs(self, subject: str) -> "mne.Epochs":
        """The epochs of a subject; their data stay on disk."""
        import mne

        path = self.files()[subject]
        try:
            return mne.read_epochs(path, proj=False, preload=False, verbose="error")
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            line = " ".join(str(error).split())[:300]
            raise PhospheneError(f"{path} cannot be read ({line}): fetch it again, with its further parts") from None

    def _events(self, epochs: "mne.Epochs", path: Path) -> tuple[pd.DataFrame, list[str]]:
        codes = epochs.events[:, 2]
        rows = np.flatnonzero(codes != CATCH)
        metadata = None if epochs.metadata is None else epochs.metadata.iloc[rows]
        if metadata is not None and "image_path" in metadata:
            pictures = [PurePosixPath(str(p).replace("\\", "/")) for p in metadata["image_path"]]
        else:
            pictures = self._listed(codes[rows], path)
        table = pd.DataFrame({"row": rows, "stimulus": [p.stem for p in pictures], "file": [p.name for p in pictures]})
        table["concept"] = [re.sub(r"_\d+[a-z]?$", "", p.stem) for p in pictures]
        for column, names in (("session", ("session", "session_nr")), ("run", ("run", "run_nr"))):
            known = [n for n in names if metadata is not None and n in metadata]
            if metadata is not None and known:
                table[column] = [str(v).removesuffix(".0").zfill(2) for v in metadata[known[0]]]
        times = pd.Series(codes[rows]).map(pd.Series(codes[rows]).value_counts()).to_numpy()
        table["split"] = np.where(times == TEST_REPEATS, "test", "train")
        tested = set(table["concept"][table["split"] == "test"])
        if not tested:
            raise PhospheneError(
                f"{path}: no picture was shown {TEST_REPEATS} times, so there is no test part: restore it"
            )
        seen = (table["split"] == "train") & table["concept"].isin(tested)
        notes = [
            f"{len(codes) - len(rows)} catch trials of {path.name} left out",
            f"{int(seen.sum())} training trials of {path.name} left out, of concepts that the test part shows",
        ]
        table = table[~seen].reset_index(drop=True)
        table["repeat"] = table.groupby("stimulus", sort=False).cumcount()
        return table, notes

    def _listed(self, codes: np.ndarray, path: Path) -> list[PurePosixPath]:
        """The pictures of event numbers, by the list of THINGS' pictures."""
        if self.names is not None:
            found = [self.root / self.names]
        else:
            found = [p for name in LISTS for p in sorted(self.root.glob(f"**/{name}"))]
        if not found or not found[0].is_file():
            raise PhospheneError(
                f"the events of {path.name} are numbers of pictures, and no list of their names is under {self.root}: "
                f"put {LISTS[0]} of THINGS there, or set dataset.names to such a list"
            )
        lines = [line.strip() for line in found[0].read_text(encoding="utf-8").splitlines() if line.strip()]
        if codes.min() < 1 or codes.max() > len(lines):
            odd = codes.min() if codes.min() < 1 else codes.max()
            raise PhospheneError(
                f"{path.name} shows picture {odd} and {found[0]} lists {len(lines)}: set dataset.names"
            )
        return [PurePosixPath(lines[code - 1]) for code in codes]

    def _folder(self) -> Path | None:
        if self.images is not None:
            if not (self.root / self.images).is_dir():
                raise PhospheneError(
                    f"{self.root / self.images} is not a folder: set dataset.images to THINGS' pictures"
                )
            return self.root / self.images
        return next((self.root / name for name in _FOLDERS if (self.root / name).is_dir()), None)

    def _array(self, epochs: "mne.Epochs", rows: np.ndarray, path: Path) -> tuple[np.ndarray, float]:
        """(n_trials, n_chans, n_times) float32, T, on disk; and the time of its first sample, s."""
        facts = path.stat()
        key = digest([str(path), facts.st_size, facts.st_mtime_ns, rows.tolist()])
        cached = cache_folder(self.cache, "things_meg") / f"{path.stem}-{key}.npy"
        window, sensors = _window(epochs), _sensors(epochs)

        def make() -> None:
            with kept(cached) as part:
                shape = (len(rows), len(sensors), int(window.sum()))
                out = np.lib.format.open_memmap(part, "w+", np.float32, shape)
                for start in range(0, len(rows), _CHUNK):
                    some = rows[start : start + _CHUNK]
                    out[start : start + len(some)] = epochs.get_data(sensors, item=some, verbose="error")[..., window]
                out.flush()
                del out

        once(cached, make)
        return np.load(cached, mmap_mode="r", allow_pickle=False), float(epochs.times[window][0])


def _sensors(epochs: "mne.Epochs") -> np.ndarray:
    import mne

    return np.asarray(mne.pick_types(epochs.info, meg=True, ref_meg=False, exclude=()))


def _window(epochs: "mne.Epochs") -> np.ndarray:
    """Which samples lie in 0 to 1 s, both ends included."""
    half = 0.5 / epochs.info["sfreq"]
    window = (epochs.times > -half) & (epochs.times < 1 + half)
    if not window.any():
        raise PhospheneError(
            f"the epochs span {epochs.times[0]:g} to {epochs.times[-1]:g} s, not 0 to 1 s: fetch them again"
        )
    return np.asarray(window)


def _signal(epochs: "mne.Epochs", tmin: float) -> Signal:
    """Sensors with their positions in head coordinates, where the file tells how the head lay."""
    from mne.transforms import apply_trans

    picks = _sensors(epochs)
    located = np.array([epochs.info["chs"][i]["loc"][:3] for i in picks])
    if epochs.info["dev_head_t"] is not None and len(located):
        located = apply_trans(epochs.info["dev_head_t"], located)
    known = len(located) > 0 and np.isfinite(located).all() and located.any()
    return Signal(
        ch_names=tuple(epochs.ch_names[i] for i in picks),
        sfreq=float(epochs.info["sfreq"]),
        tmin=round(tmin, 6) + 0.0,
        positions=tuple(tuple(map(float, p)) for p in located) if known else None,
    )
