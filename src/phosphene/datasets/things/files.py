"""Where the files of each form of THINGS-EEG2 lie, and which form a folder holds."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from phosphene.errors import PhospheneError, nearest

#: form -> part -> pattern of its files below the folder of the subjects
LAYOUT = {
    "source": {
        "train": "sub-{subject}/ses-*/eeg/sub-*_task-train_part-*_eeg.vhdr",
        "test": "sub-{subject}/ses-*/eeg/sub-*_task-test_part-*_eeg.vhdr",
    },
    "raw": {
        "train": "sub-{subject}/ses-*/raw_eeg_training.npy",
        "test": "sub-{subject}/ses-*/raw_eeg_test.npy",
    },
    "preprocessed_63": {
        "train": "sub-{subject}/preprocessed_eeg_training.npy",
        "test": "sub-{subject}/preprocessed_eeg_test.npy",
    },
    "ubp": {"train": "sub-{subject}/train.pt", "test": "sub-{subject}/test.pt"},
    "neurobridge": {"train": "sub-{subject}/train.npy", "test": "sub-{subject}/test.npy"},
}
LAYOUT["preprocessed_17"] = LAYOUT["preprocessed_63"]  # told apart by their channels
FORMS = tuple(sorted(LAYOUT))
RAW = ("source", "raw")


@dataclass(frozen=True)
class Place:
    """A form and the folder that holds its subjects."""

    form: str
    folder: Path

    def files(self, subject: str, part: str) -> list[Path]:
        """The files of a subject's part ("train" or "test"), by session and part."""
        return sorted(self.folder.glob(LAYOUT[self.form][part].format(subject=subject)))

    def subjects(self) -> list[str]:
        found = {p.relative_to(self.folder).parts[0] for part in ("train", "test") for p in self.files("*", part)}
        return sorted(name.removeprefix("sub-") for name in found)


def places(root: Path) -> list[Place]:
    """Every form under ``root`` or one folder below it; of the preprocessed ones only 63 channels are told here."""
    folders = [root, *sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("sub-"))]
    found = [Place(form, folder) for folder in folders for form in LAYOUT if form != "preprocessed_17"]
    return [place for place in found if place.subjects()]


def choose(found: Iterable[Place], form: str | None, root: Path) -> Place:
    """The one place of the form asked for, or the only one there.

    Raises
    ------
    PhospheneError
        If there is none, or several.
    """
    found = list(found)
    if form is not None and form not in FORMS:
        raise PhospheneError(f"unknown form '{form}': {nearest(form, FORMS)}")
    fitting = [place for place in found if form in (None, place.form)]
    if not fitting:
        if found:
            held = ", ".join(sorted({place.form for place in found}))
            raise PhospheneError(f"{root} holds the form {held}, not {form}: set dataset.form, or another dataset.root")
        looked = LAYOUT[form]["train"] if form else "sub-*/preprocessed_eeg_training.npy, sub-*/ses-*/raw_eeg_*.npy"
        raise PhospheneError(
            f"no recording found under {root} (such as {looked.format(subject='01')}): set dataset.root to the folder "
            "that holds the subjects' folders, or to the one above"
        )
    if len(fitting) > 1:
        forms = sorted({place.form for place in fitting})
        if len(forms) > 1:
            raise PhospheneError(f"{root} holds the forms {', '.join(forms)}: set dataset.form to one")
        names = ", ".join(place.folder.name for place in fitting)
        raise PhospheneError(f"{root} holds form {forms[0]} in {names}: set dataset.root to one of them")
    return fitting[0]
