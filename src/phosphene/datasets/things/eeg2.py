"""THINGS-EEG2: ten people look at 16,740 pictures of 1,854 concepts (Gifford, Dwivedi, Roig & Cichy, NeuroImage 2022).

Design rationale
----------------
The data circulate in six forms, and mixing them is the commonest mistake (17 channels at 100 Hz for 63 at 250 Hz). So
the form is told from the files, a folder with two forms is refused until one is named, and what differs from the known
facts is said (`ThingsEEG2.check`).

The presets concern raw recordings. "published" repeats NICE's and ATM's choices, so that scores can be compared;
"default" is ours, and differs on purpose:

- every presentation is kept; nothing is drawn at random (published: at most 2 and 20 of a session, which only drops
  surplus presentations);
- the continuous recording is low-passed and decimated, not each epoch resampled: an epoch's edges then hold no ringing
  and samples stand exactly on the 4 ms grid (published: 1,201 samples become 300, a step of 4.003 ms);
- sessions stay apart and named, so that a session can be left out, and whitening, which the recipe sets, is fitted on
  the training trials of a fold alone (published: also on what later selects the epoch);
- the high-pass stays open, as published: at 200 ms between pictures the baseline holds the answer to the previous
  picture, and a filter's own ringing would add to it.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from phosphene.datasets.base import Dataset, Epoched, Recording
from phosphene.datasets.things.channels import CHANNELS
from phosphene.datasets.things.checks import differs, of_raw, of_stored
from phosphene.datasets.things.concepts import with_category
from phosphene.datasets.things.convert import convert, read_converted
from phosphene.datasets.things.facts import FACTS, Facts
from phosphene.datasets.things.files import RAW, Place, choose, places
from phosphene.datasets.things.names import FOLDERS, image_folder, stimuli
from phosphene.datasets.things.preprocessed import Stored, n_channels, read_neurobridge, read_preprocessed, read_ubp
from phosphene.datasets.things.published import PUBLISHED
from phosphene.datasets.things.raw import Continuous, read_raw_dict, read_source
from phosphene.eeg.preprocessing import Preprocessing
from phosphene.eeg.trials import Signal
from phosphene.errors import PhospheneError, nearest
from phosphene.registry import register
from phosphene.utils.files import cache_folder, digest
from phosphene.utils.locks import once

Form = Literal["source", "raw", "preprocessed_63", "preprocessed_17", "ubp", "neurobridge"]
Preset = Literal["default", "published", "published_17"]
_READERS = {"ubp": read_ubp, "neurobridge": read_neurobridge}


@register("dataset", "things_eeg2")
class ThingsEEG2(Dataset):
    """THINGS-EEG2 in every form in which it circulates.

    | form | files below the subjects' folder | yields |
    |---|---|---|
    | `source` | `sub-XX/ses-YY/eeg/*_task-{train,test}_part-PP_eeg.vhdr` | recordings, V |
    | `raw` | `sub-XX/ses-YY/raw_eeg_{training,test}.npy` | recordings, V |
    | `preprocessed_63` | `sub-XX/preprocessed_eeg_{training,test}.npy`, 250 Hz | epochs, whitened |
    | `preprocessed_17` | the same names, 17 channels, 100 Hz | epochs, whitened |
    | `ubp` | `sub-XX/{train,test}.pt` | epochs |
    | `neurobridge` | `sub-XX/{train,test}.npy`, `info.json` | epochs |

    The training concepts are not among the test concepts. Stored epochs stay on disk; where their sessions were merged
    and shuffled, `session` is "merged".

    Parameters
    ----------
    root : the folder of the subjects' folders, or the one above it.
    subject : "01" (or 1), several, or "all".
    form : see the table; None tells it from the files.
    images : the folder with `training_images`, `test_images` and `image_metadata.npy`, relative to the root or
        absolute; None looks in the usual places. Without pictures the trials are read, and a note says what cannot run.
    preset : of raw recordings. "default" yields recordings for the recipe's preprocessing (`preprocessing` holds ours).
        "published" yields the epochs of NICE and ATM, made anew: 63 channels, -0.2 to 1.0 s, baseline, 250 Hz, at most
        2 and 20 presentations in a session, 0 to 1 s, whitened. "published_17" yields those of Gifford et al.: 17
        channels, -0.2 to 0.8 s, 100 Hz, whitened with a covariance that has also seen the test data.
    cache : where published epochs are kept, 5.2 GB for each subject; default `$PHOSPHENE_CACHE`, else
        `~/.cache/phosphene`.
    concepts : THINGS' table of categories (`Categories_..._fixedUniqueID.tsv`), or a folder with it, relative to the
        root or absolute: gives the pictures the column `category`, animate or inanimate, which the audit asks for.

    References
    ----------
    Gifford, Dwivedi, Roig & Cichy (2022), section 2. Song et al. (2024), arXiv 2308.13234, appendix. Li et al. (2024),
    arXiv 2403.07721, appendix.
    """

    licence = "as its hosts state (EEG: osf.io/3jk45; pictures: THINGS, osf.io/jum2f)"
    citation = (
        "Gifford, Dwivedi, Roig & Cichy (2022). A large and rich EEG dataset for modeling human visual object "
        "recognition. NeuroImage 264, 119754. doi:10.1016/j.neuroimage.2022.119754"
    )
    design = "rapid"
    caveats = (
        "A picture every 200 ms: the baseline and the first tenths of a second hold the answer to the picture before.",
        "Each test concept has one picture: a test score tells pictures apart, and concepts only so far.",
    )
    facts: ClassVar[dict[str, Facts]] = FACTS
    #: arguments of `Preprocessing` for preset "default"; reasons stand in the module's docstring
    preprocessing: ClassVar[dict[str, Any]] = {
        "picks": list(CHANNELS),
        "montage": "standard_1005",
        "l_freq": None,
        "h_freq": 100.0,
        "tmin": -0.2,
        "tmax": 1.0,
        "baseline": [None, 0.0],
        "sfreq": 250.0,
    }

    def __init__(
        self,
        root: str | Path,
        subject: str | Sequence[str] = "all",
        form: Form | None = None,
        images: str | None = None,
        preset: Preset = "default",
        cache: str | None = None,
        concepts: str | None = None,
    ):
        names = [subject] if isinstance(subject, str | int) else list(subject)
        super().__init__(root, [str(s).zfill(2) if str(s).isdigit() else str(s) for s in names])
        if preset != "default" and preset not in PUBLISHED:
            raise PhospheneError(f"unknown preset '{preset}': {nearest(preset, ['default', *PUBLISHED])}")
        self.place = _place(self.root, form)
        self.form, self.preset, self.cache, self.concepts = self.place.form, preset, cache, concepts
        vars(self).update(epoched=self.form not in RAW or preset != "default")  # recordings otherwise
        self.images = image_folder(self.root, images) or image_folder(self.place.folder.parent)
        self._opened: dict[str, dict[str, Stored]] = {}
        self._continuous: dict[str, list[Continuous]] = {}  # of the latest subject

    def subjects(self) -> list[str]:
        return self.place.subjects()

    def steps(self, given: Mapping[str, Any]) -> Preprocessing:
        """The preprocessing of these arguments; what is not given of recordings is that of preset "default"."""
        return super().steps(given if self.epoched else {**self.preprocessing, **given})

    def n_recordings(self) -> int:
        chosen = self.chosen()
        if not self.epoched:
            return sum(len(list(r.stretches())) for s in chosen for r in self.continuous(s))
        if self.form in RAW:
            return 2 * len(chosen)
        return sum(len(self.place.files(s, part)) for s in chosen for part in ("train", "test"))

    # -- pictures ------------------------------------------------------------------------------

    def stimuli(self) -> pd.DataFrame:
        """Every picture: `concept`, `split`, `number` (from 1, as in the published files); `image` and `category` where
        they are known."""
        return with_category(self._pictures[0].copy(), self.root, self.concepts)

    @cached_property
    def _pictures(self) -> tuple[pd.DataFrame, list[str]]:
        if self.form == "ubp":
            return self._named()
        return stimuli(self.images, self.facts[self.form])

    def _named(self) -> tuple[pd.DataFrame, list[str]]:
        """The pictures that the files themselves name."""
        tables = [s.table.assign(split=part) for part, s in self.stored(self.chosen()[0]).items()]
        table = pd.concat(tables).drop_duplicates("stimulus").set_index("stimulus")
        table["number"] = table.groupby("split", sort=False).cumcount() + 1
        columns, notes = ["concept", "split", "number"], []
        top = self.images
        if top is not None and all((top / FOLDERS[part]).is_dir() for part in table["split"].unique()):
            rows = zip(table["split"], table["folder"], table["file"], strict=True)
            table["image"] = [str(top / FOLDERS[part] / folder / file) for part, folder, file in rows]
            columns.append("image")
        else:
            notes.append("no picture folders: nothing that needs pictures can run (set dataset.images)")
        return table[columns], notes

    def _names(self, part: str, numbers: np.ndarray, name: str) -> np.ndarray:
        """The stimuli of a part's picture numbers."""
        table = self._pictures[0]
        known = table.index[table["split"] == part].to_numpy()
        whole = len(known) == self.facts[self.form].images(part)  # else a stray file would shift all names after it
        if numbers.max() > len(known) or (self.epoched and not whole and numbers.max() != len(known)):
            raise PhospheneError(
                f"{name} shows picture {numbers.max()} and {len(known)} {part} pictures are known: set dataset.images "
                "to the picture set of this recording"
            )
        return np.asarray(known[numbers - 1])

    # -- trials --------------------------------------------------------------------------------

    def continuous(self, subject: str) -> list[Continuous]:
        """The recordings of a subject of form `source` or `raw`, by session, training before test; not read yet."""
        if subject in self._continuous:
            return self._continuous[subject]
        made = []
        for part in ("train", "test"):
            for path in self.place.files(subject, part):
                session = path.relative_to(self.place.folder).parts[1].removeprefix("ses-")
                read = read_source if self.form == "source" else read_raw_dict
                made.append(read(path, f"sub-{subject}/ses-{session}/{part}", part, session))
        made.sort(key=lambda r: (r.session, r.part == "test", r.run))
        self._continuous = {subject: made}
        return made

    def stored(self, subject: str) -> dict[str, Stored]:
        """Part ("train", "test") -> epochs on disk; made first, and kept, where only raw recordings are there.

        Raises
        ------
        PhospheneError
            If a file is of another form than the first subject's, or the preset is not a published one.
        """
        if subject not in self._opened:
            self._opened[subject] = self._converted(subject) if self.form in RAW else self._files(subject)
        return self._opened[subject]

    def _files(self, subject: str) -> dict[str, Stored]:
        found = {}
        for part in ("train", "test"):
            for path in self.place.files(subject, part):
                found[part] = _READERS.get(self.form, read_preprocessed)(path)
                n_chans, expected = len(found[part].ch_names), self.facts[self.form].n_chans
                if self.form.startswith("preprocessed") and n_chans != expected:
                    raise PhospheneError(
                        f"{path} holds {n_chans} channels at {found[part].sfreq:g} Hz and form {self.form} has "
                        f"{expected}: two forms are mixed, fetch the files of one"
                    )
        return found

    def _converted(self, subject: str) -> dict[str, Stored]:
        if self.preset == "default":
            raise PhospheneError(f"form {self.form} holds no epochs: set dataset.preset to published to make them")
        files = [path for part in ("train", "test") for path in self.place.files(subject, part)]
        content = [[str(p), p.stat().st_size, p.stat().st_mtime_ns] for p in files]
        folder = cache_folder(self.cache, "things_eeg2") / f"sub-{subject}-{self.preset}-{digest(content)}"
        preset = PUBLISHED[self.preset]
        once(folder, lambda: convert(self.continuous(subject), preset, folder, f"sub-{subject}"))
        return read_converted(folder)

    def recordings(self, subjects: Sequence[str]) -> Iterator[Recording | Epoched]:
        for subject in subjects:
            yield from self._epochs(subject) if self.epoched else self._stretches(subject)

    def _epochs(self, subject: str) -> Iterator[Epoched]:
        for part, stored in self.stored(subject).items():
            name = f"sub-{subject}/{'training' if part == 'train' else part}"
            table = stored.table[["repeat", "session"]].copy()
            if "number" in stored.table:
                table["stimulus"] = self._names(part, stored.table["number"].to_numpy(), name)
            else:
                table["stimulus"] = stored.table["stimulus"]
                lost = sorted(set(table["stimulus"]) - set(self._pictures[0].index))
                if lost:
                    raise PhospheneError(
                        f"{name} shows picture '{lost[0]}', which the first subject's file does not list"
                    )
            table = table.assign(subject=subject, split=part)
            signal = Signal(stored.ch_names, stored.sfreq, stored.tmin)
            notes = [*self._pictures[1], *self.check(subjects=[subject]), *stored.notes]
            yield Epoched(name, stored.trials, signal, table, unit=stored.unit, notes=notes)

    def _stretches(self, subject: str) -> Iterator[Recording]:
        seen: dict[str, int] = {}
        notes = [*self._pictures[1], *self.check(subjects=[subject])]
        for recording in self.continuous(subject):
            stimulus = self._names(recording.part, recording.numbers, recording.name)
            repeat = []
            for name in stimulus:
                repeat.append(seen.get(name, 0))
                seen[name] = repeat[-1] + 1
            if recording.n_targets:
                notes.append(f"{recording.n_targets} target trials of {recording.name} left out")
            for i, (start, stop, rows) in enumerate(recording.stretches(), start=1):
                table = pd.DataFrame(
                    {
                        "onset": (recording.samples[rows] - start) / recording.sfreq,
                        "stimulus": stimulus[rows],
                        "repeat": np.array(repeat)[rows],
                    }
                ).assign(subject=subject, session=recording.session, run=recording.run, split=recording.part)
                yield Recording(f"{recording.name}/{i}", recording.raw(start, stop), table, notes)
                notes = []

    # -- facts ---------------------------------------------------------------------------------

    def check(self, facts: Facts | None = None, subjects: Sequence[str] | None = None) -> list[str]:
        """What differs from the known facts of this form, a line for each; empty if all is as published.

        Parameters
        ----------
        facts : what to compare with; None is `facts` of the form.
        subjects : whose files; None is those chosen, and then their number is compared too.
        """
        facts = facts or self.facts[self.form]
        lines = []
        if subjects is None:
            subjects = self.chosen()
            lines += differs("the folder", "subjects", len(self.subjects()), facts.subjects)
        for subject in subjects:
            if self.form in RAW:
                lines += of_raw(f"sub-{subject}", self.continuous(subject), facts)
            else:
                lines += of_stored(f"sub-{subject}", self.stored(subject), facts)
        return lines


def _place(root: Path, form: str | None) -> Place:
    """The place of a form, the preprocessed ones told apart by the channels of one file."""
    found = []
    for place in places(root):
        if place.form == "preprocessed_63":
            path = next(p for part in ("test", "train") for p in place.files("*", part))
            place = Place("preprocessed_17" if n_channels(path) == 17 else place.form, place.folder)
        found.append(place)
    return choose(found, form, root)
