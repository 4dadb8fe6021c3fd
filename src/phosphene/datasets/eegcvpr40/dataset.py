"""EEGCVPR40: six people, 40 ImageNet classes of 50 pictures, each class in one block (Spampinato et al., CVPR 2017).

Design rationale
----------------
A block for each class and subject means that slow drift of brain and electrodes tells the class as well as any picture
does. The data are read in full, and `block` names subject and class, so that every protocol's count of shared blocks
shows what a score rests on. `caveats` travel in the notes of the trials to every page made of them.

A folder that says in `dataset.json` that it is simulated is read alike, and what it says of itself stands for the facts
of the published study.

The EEG of a record is a view into the file: nothing is copied when trials are made, and a record costs its header only.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from phosphene.datasets.base import Dataset, Epoched
from phosphene.datasets.eegcvpr40.files import PARTS, Signals, read_order, read_signals, read_splits
from phosphene.datasets.eegcvpr40.names import CHANNELS, CLASSES, category_of
from phosphene.eeg.lazy import LazyArray
from phosphene.eeg.montages import standard_montage
from phosphene.eeg.trials import Signal
from phosphene.errors import PhospheneError
from phosphene.registry import register
from phosphene.settings import Count, ZeroOrMore
from phosphene.utils.files import read_json
from phosphene.utils.paths import below

_SUFFIXES = (".JPEG", ".jpeg", ".jpg", ".png")


@register("dataset", "eegcvpr40")
class EEGCVPR40(Dataset):
    """EEG of 40 ImageNet classes shown in blocks: 128 channels, 1000 Hz, 0.5 s a picture, one look at each.

    Parameters
    ----------
    root : the folder of the published `.pth` files. If `image_order.txt` lies there, the place of each picture in it
        becomes the trial column `order`.
    subject : "1" to "6", several, or "all".
    file : "5_95", "14_70" or "55_95" (band, Hz; standardised), "raw" (with means and stddevs), or a file name.
    splits : "all" (split 0 of `block_splits_by_image_all.pth`, whose indices count the whole list), "single"
        (`block_splits_by_image_single.pth`, whose indices count one subject's records), or None: every trial is
        training material, for protocols that leave out whole subjects.
    images : folder of the pictures, `<wnid>/<name>.JPEG` or `<name>.JPEG`, absolute or below ``root``; None: without.
    standardise : of the raw file: (eeg - means) / stddevs. False keeps its values, taken as microvolts.
    samples : first and last + 1 sample of each record that is kept; the published 20 to 460 are 20 to 460 ms.
    """

    licence = "none stated with the files; the pictures are ImageNet's, under its terms"
    citation = (
        "Spampinato, Palazzo, Kavasidis, Giordano, Souly & Shah (2017). Deep Learning Human Mind for Automated Visual "
        "Classification. CVPR. arXiv:1609.00344"
    )
    design = "block"
    caveats = (
        "Block design: each subject saw the 50 pictures of a class in one block. Any split of a subject's trials "
        "leaves test trials in blocks that were trained on, and drift alone then tells their class (Li et al. 2021).",
        "The published splits by image keep pictures apart, not blocks. Filtering is no cure: drift leaves its mark in "
        "every band.",
        "A watermelon recorded in this design scored 88.8 % of 40 classes (Xu et al. 2024, arXiv:2405.17024): a score "
        "within subjects is no evidence that anything was decoded.",
        "One order of pictures was published for all subjects. If all saw it, class and elapsed time stay tied even "
        "where whole subjects are left out.",
    )
    epoched: ClassVar[bool] = True
    sfreq: ClassVar[float] = 1000.0
    #: records of fewer or more samples are left out, as in the authors' code
    bounds: ClassVar[tuple[int, int]] = (450, 600)
    #: what the published files hold; `records_kept`, `all_kept`: within the bounds
    expected: ClassVar[dict[str, Any]] = {
        "subjects": 6,
        "labels": 40,
        "pictures": 1996,
        "records": 11965,
        "records_kept": 11940,
        "all": (7970, 1998, 1997),
        "all_kept": (7959, 1994, 1987),
        "single": (669, 167, 164),
    }

    def __init__(
        self,
        root: str | Path,
        subject: str | Sequence[str] = "all",
        file: str = "55_95",
        splits: Literal["all", "single"] | None = None,
        images: str | None = None,
        standardise: bool = True,
        samples: tuple[ZeroOrMore, Count] = (20, 460),
    ):
        super().__init__(root, subject)
        self._say_if_simulated()
        first, stop = samples
        if not 0 <= first < stop <= self.bounds[1]:
            raise PhospheneError(f"samples are {first} to {stop}: give 0 <= first < last <= {self.bounds[1]}")
        self.file, self.splits, self.standardise, self.samples = file, splits, standardise, (first, stop)
        self.images = None if images is None else self.root / Path(images).expanduser()
        if self.images is not None and not self.images.is_dir():
            raise PhospheneError(f"picture folder {self.images} does not exist: set dataset.images, or null for none")

    def _say_if_simulated(self) -> None:
        """A simulated study's design and caveats in place of the published one's."""
        path = self.root / "dataset.json"
        facts = read_json(path) if path.is_file() else {}
        if not isinstance(facts, dict):
            raise PhospheneError(f"{path} is not as `phosphene simulate` writes it: simulate the study again")
        if not facts.get("simulated"):
            return
        caveats: tuple[str, ...] = (
            "simulated EEG: the scores say how well a method reads a known generative model, not a person",
        )
        if facts.get("design") == "block":
            caveats += self.caveats[:1]
        vars(self).update(
            simulated=True,
            design=facts.get("design", self.design),
            caveats=caveats,
            licence="CC0-1.0",
            citation="Simulated with Phosphene.",
        )

    @cached_property
    def signals(self) -> Signals:
        """The signal file; its EEG stays on disk."""
        return read_signals(self.root, self.file)

    def subjects(self) -> list[str]:
        return [str(s) for s in np.unique(self.signals.subject)]

    def stimuli(self) -> pd.DataFrame:
        names = self.signals.images
        wnid = [name.rpartition("_")[0] for name in names]
        index = pd.Index(names, name="stimulus")
        table = pd.DataFrame({"concept": [CLASSES.get(w, w) for w in wnid], "wnid": wnid}, index=index)
        table["category"] = [category_of(w) for w in wnid]
        if self.images is not None:
            table["image"] = [_picture(self.images, w, name) for w, name in zip(wnid, names, strict=True)]
        return table

    def parts(self) -> np.ndarray:
        """(n_records,) "train", "val" or "test" for each record of the file; "" for one that the split leaves out."""
        n = len(self.signals.eeg)
        if self.splits is None:
            return np.full(n, "train", object)
        own = [np.flatnonzero(self.signals.subject == int(s)) for s in self.chosen()]
        return read_splits(self.root, self.splits, own if self.splits == "single" else [np.arange(n)], n)

    def kept(self) -> np.ndarray:
        """(n_records,) bool: the records whose length lies within `bounds`."""
        return (self.signals.n_times >= self.bounds[0]) & (self.signals.n_times <= self.bounds[1])

    def found(self) -> dict[str, Any]:
        """The keys of `expected` that these files can be asked."""
        signals, kept = self.signals, self.kept()
        found: dict[str, Any] = {
            "subjects": len(self.subjects()),
            "labels": len(signals.labels),
            "pictures": len(signals.images),
            "records": len(signals.eeg),
            "records_kept": int(kept.sum()),
        }
        if self.splits is not None:
            parts = self.parts()
            # what the file says of one list: "single" is the same for every subject
            here = signals.subject == int(self.chosen()[0]) if self.splits == "single" else np.ones(len(parts), bool)
            found[self.splits] = tuple(int((parts[here] == p).sum()) for p in PARTS)
            if self.splits == "all":
                found["all_kept"] = tuple(int((parts[kept] == p).sum()) for p in PARTS)
        return found

    def check(self) -> list[str]:
        """Where these files differ from the published ones, a line for each fact; empty if they do not."""
        found = self.found()
        return [
            f"{key} {found[key]}, published {value}"
            for key, value in self.expected.items()
            if key in found and found[key] != value
        ]

    def recordings(self, subjects: Sequence[str]) -> Iterator[Epoched]:
        signals, parts, table = self.signals, self.parts(), self._table()
        mine = np.isin(signals.subject, [int(s) for s in subjects])
        long, covered = signals.n_times >= self.samples[1], parts != ""
        use = mine & covered & self.kept() & long
        notes = self._notes(parts, mine, covered, long)
        if not use.any():
            raise PhospheneError(f"no trial is left ({'; '.join(notes)}): choose another subject, file or split")
        for subject in subjects:
            rows = np.flatnonzero(use & (signals.subject == int(subject)))
            if len(rows) == 0:
                raise PhospheneError(f"no trial of subject {subject} is left ({'; '.join(notes)}): leave it out")
            volts = signals.means is not None and not self.standardise
            yield Epoched(
                name=f"subject {subject}",
                eeg=self._eeg(rows),
                signal=self._signal,
                table=table.iloc[rows].assign(split=parts[rows]).reset_index(drop=True),
                scale=1e-6 if volts else 1.0,
                unit="V" if volts else "standardised",
                notes=notes,
            )

    def _eeg(self, rows: np.ndarray) -> LazyArray:
        """(n_trials, 128, n_times) of these records, computed on access."""
        first, stop = self.samples
        eeg = LazyArray([self.signals.eeg[i][None, :, first:stop] for i in rows])
        means, stddevs = self.signals.means, self.signals.stddevs
        if means is None or stddevs is None or not self.standardise:
            return eeg
        return eeg.map(lambda x, _: (x - means) / stddevs)

    @cached_property
    def _signal(self) -> Signal:
        """Positions are those of a template head: none were measured."""
        plain = Signal(CHANNELS, self.sfreq, self.samples[0] / self.sfreq)
        info = plain.to_info().set_montage(standard_montage(), verbose="error")
        positions = tuple(tuple(map(float, c["loc"][:3])) for c in info["chs"])
        return Signal(CHANNELS, self.sfreq, plain.tmin, positions)

    def _table(self) -> pd.DataFrame:
        """A row for each record of the file."""
        signals = self.signals
        stimulus = np.array(signals.images, object)[signals.image]
        wnid = np.array(signals.labels, object)[signals.label]
        subject = signals.subject.astype(str).astype(object)
        block = subject + "-" + wnid if self.design == "block" else subject  # of others nothing is known but the visit
        table = pd.DataFrame({"subject": subject, "block": block, "stimulus": stimulus})
        table["concept"] = [CLASSES.get(w, w) for w in wnid]
        table["repeat"] = table.groupby(["subject", "stimulus"]).cumcount()
        table["wnid"], table["record"] = wnid, np.arange(len(table))
        path = self.root / "image_order.txt"
        if path.is_file():
            order = read_order(path, signals.images)
            table["order"] = [order[name] for name in stimulus]
        return table

    def _notes(self, parts: np.ndarray, mine: np.ndarray, covered: np.ndarray, long: np.ndarray) -> list[str]:
        signals, kept, notes = self.signals, self.kept(), []
        low, high = self.bounds
        if not covered[mine].all():
            notes.append(
                f"splits '{self.splits}' name {int((mine & covered).sum()):,} of {int(mine.sum()):,} trials of these "
                "subjects; the others are left out"
            )
        mine = mine & covered
        odd = int((mine & ~kept).sum())
        if odd:
            notes.append(
                f"{odd:,} of {int(mine.sum()):,} trials left out: fewer than {low} or more than {high} samples"
            )
        short = int((mine & kept & ~long).sum())
        if short:
            notes.append(f"{short:,} trials left out: they end before sample {self.samples[1]}")
        use = mine & kept & long
        test = set(signals.image[use & (parts == "test")])
        shared = test & set(signals.image[use & (parts == "train")])
        if shared:
            notes.append(
                f"{len(shared):,} of {len(test):,} test pictures are training pictures of the same or another subject: "
                "by-image splits keep them apart only in the list that they were made for"
            )
        if signals.means is not None and not self.standardise:
            notes.append(
                "raw values taken as microvolts; channels 1 to 32 were recorded in steps of 0.5 uV, others 0.1"
            )
        odds = [] if self.simulated else self.check()
        if odds:
            notes.append(f"these files are not the published ones: {'; '.join(odds)}")
        return notes


def _picture(folder: Path, wnid: str, name: str) -> str:
    """The picture's path; where it is missing, the one that it should have."""
    if not below(f"{wnid}/{name}"):
        raise PhospheneError(f"picture '{name}' of class '{wnid}' lies outside of {folder}: fetch the signals again")
    ways = [folder / wnid / name, folder / name]
    found = (str(way) + suffix for way in ways for suffix in _SUFFIXES if Path(str(way) + suffix).is_file())
    return next(found, str(ways[0]) + _SUFFIXES[0])
